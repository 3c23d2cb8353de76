// Files with a JSON object a line: reading them, and repairing what a crash or a full disk did to them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>

namespace kangpt::launcher {

// Calls `use` with each line that is an object; others are passed over, also those whose fields `use` finds to be of
// another type. Returns how many. A missing file has no lines. In memory is one line at a time, and none above
// kLongestLineBytes. Throws IoError.
inline constexpr std::size_t kLongestLineBytes = std::size_t{16} << 20;
std::uint64_t for_each_object(const std::filesystem::path& file, const std::function<void(const nlohmann::json&)>& use);

// Drops the lines that are no objects, the end of one that was cut off too, and those that `keep` does not want.
// Returns how many were no objects. A missing file stays missing. Throws IoError.
std::uint64_t keep_lines(const std::filesystem::path& file, const std::function<bool(const nlohmann::json&)>& keep);

}  // namespace kangpt::launcher
