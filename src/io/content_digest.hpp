// Size, XXH3 and SHA-256 of a file's content.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/unique_fd.hpp"

namespace kangpt::io {

struct ContentDigest {
  std::uint64_t size_bytes = 0;
  std::uint64_t xxh3 = 0;
  std::string sha256;

  bool operator==(const ContentDigest&) const = default;
};

// Reads `fd` from its present position to the end, in one pass and with a small buffer. `path` is for messages.
// Throws IoError.
ContentDigest digest_content(const base::UniqueFd& fd, const std::filesystem::path& path);

}  // namespace kangpt::io
