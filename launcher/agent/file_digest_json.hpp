// Digests of written files as JSON, from rank to rank 0.
#pragma once

#include <nlohmann/json.hpp>

#include "io/checkpoint.hpp"

namespace kangpt::io {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FileDigest, name, size_bytes, begin, end, xxh3, sha256)

}  // namespace kangpt::io
