#include "config/fault_plan.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>

#include "base/error.hpp"
#include "base/format.hpp"

namespace kangpt::config {
namespace {

// In the order of the enumerators.
constexpr std::array<const char*, 7> kKinds = {"SEGV", "KILL", "ABORT", "STOP", "NAN", "BITFLIP", "EXIT"};
constexpr std::array<const char*, 8> kPhases = {"data",   "forward", "backward", "reduce",
                                                "update", "gather",  "snapshot", "checkpoint"};

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

template <std::size_t N>
std::size_t index_of(std::string_view name, const std::array<const char*, N>& names, const char* what) {
  const auto found =
      std::find_if(names.begin(), names.end(), [&](const char* valid) { return equal_ignoring_case(name, valid); });
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  const std::vector<std::string> valid(names.begin(), names.end());
  throw ConfigError("unknown " + std::string(what) + " '" + std::string(name) + "'; valid: " + base::join(valid, ", "));
}

std::uint64_t parse_number(std::string_view key, std::string_view text, std::uint64_t minimum, std::uint64_t maximum) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= minimum && value <= maximum) return value;
  throw ConfigError(std::string(key) + " needs a whole number from " + std::to_string(minimum) + " to " +
                    std::to_string(maximum) + ", found '" + std::string(text) + "'");
}

void set_part(std::string_view part, FaultInjection& injection) {
  const std::size_t equals = part.find('=');
  const std::string_view key = part.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : part.substr(equals + 1);
  if (key == "rank") {
    injection.rank = static_cast<int>(parse_number(key, value, 0, std::numeric_limits<int>::max()));
  } else if (key == "step") {
    injection.step = parse_number(key, value, 1, std::numeric_limits<std::uint64_t>::max());
  } else if (key == "phase") {
    injection.phase = static_cast<StepPhase>(index_of(value, kPhases, "phase"));
  } else {
    throw ConfigError("unknown part '" + std::string(part) + "'; valid: rank=R, step=S, phase=P");
  }
}

}  // namespace

FaultInjection parse_fault_injection(std::string_view text) {
  const std::size_t at = text.find('@');
  FaultInjection injection;
  injection.kind = static_cast<FaultKind>(index_of(text.substr(0, at), kKinds, "kind of fault"));
  std::string_view rest = at == std::string_view::npos ? "" : text.substr(at + 1);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    set_part(rest.substr(0, comma), injection);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  if (injection.step == 0) throw ConfigError("step=S is missing, as in segv@rank=1,step=40,phase=reduce");
  return injection;
}

std::vector<FaultInjection> parse_fault_injections(const std::vector<std::string>& texts) {
  std::vector<FaultInjection> injections;
  for (const std::string& text : texts) injections.push_back(parse_fault_injection(text));
  return injections;
}

std::string to_string(FaultKind kind) {
  return kKinds[static_cast<std::size_t>(kind)];
}

std::string to_string(StepPhase phase) {
  return kPhases[static_cast<std::size_t>(phase)];
}

std::string to_string(const FaultInjection& injection) {
  return to_string(injection.kind) + "@rank=" + std::to_string(injection.rank) +
         ",step=" + std::to_string(injection.step) + ",phase=" + to_string(injection.phase);
}

}  // namespace kangpt::config
