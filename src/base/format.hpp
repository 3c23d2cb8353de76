// Text for people: sizes, rates, durations, suggestions for misspelt names.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kangpt::base {

std::string format_bytes(double bytes);         // "1.5 MB" (powers of 1000)
std::string format_count(std::uint64_t count);  // "15,375,360"
std::string format_duration(double seconds);    // "850 ms", "12.3 s", "4 min 05 s", "2 h 07 min"
std::string join(const std::vector<std::string>& parts, std::string_view separator);

// The candidate with the least edit distance to `name` if that is near enough to be a misspelling, else "".
std::string closest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace kangpt::base
