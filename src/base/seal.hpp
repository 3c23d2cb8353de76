// A last line that tells whether a text file is still as it was written: "# sha256 DIGEST", a comment in protobuf's
// text format.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kangpt::base {

// `body` and the line with its digest.
std::string sealed(const std::string& body);

// The body; nullopt if the last line is not its digest.
std::optional<std::string_view> unseal(std::string_view text);

}  // namespace kangpt::base
