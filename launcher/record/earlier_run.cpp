#include "launcher/record/earlier_run.hpp"

#include <algorithm>
#include <array>
#include <system_error>

#include "base/file.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;

// Of a start that ended before its first step, the configuration and an event file without a curve are all that is
// there.
constexpr std::array<const char*, 3> kMeasured = {"metrics.jsonl", "summary.json", "samples"};
constexpr std::array<const char*, 7> kAlong = {"tensorboard", "trace.json",     "config.textproto", "report.html",
                                               "vocab.bpe",   "tokenizer.json", "vocab.tiktoken"};
constexpr const char* kCrashPrefix = "crash-rank-";
constexpr const char* kBefore = "-before-";

bool holds_something(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error) && !fs::is_empty(path, error);
}

std::string name_before(const fs::path& name, int number) {
  return name.stem().string() + kBefore + std::to_string(number) + name.extension().string();
}

// What goes along with a record that something was measured for.
std::vector<std::string> names_along(const fs::path& run_directory) {
  std::vector<std::string> names(kAlong.begin(), kAlong.end());
  std::error_code error;
  for (fs::directory_iterator entry(run_directory, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(kCrashPrefix) && name.find(kBefore) == std::string::npos) names.push_back(name);
  }
  return names;
}

}  // namespace

std::vector<std::string> set_aside_earlier_run(const fs::path& run_directory, EarlierCheckpoints checkpoints) {
  std::vector<std::string> measured(kMeasured.begin(), kMeasured.end());
  if (checkpoints == EarlierCheckpoints::kSetAside) measured.emplace_back("checkpoints");
  const auto is_there = [&](const std::string& name) { return holds_something(run_directory / name); };
  if (std::ranges::none_of(measured, is_there)) return {};
  std::vector<std::string> names = measured;
  const std::vector<std::string> along = names_along(run_directory);
  names.insert(names.end(), along.begin(), along.end());
  int number = 1;
  const auto is_taken = [&](const std::string& name) { return fs::exists(run_directory / name_before(name, number)); };
  while (is_taken("checkpoints") || std::ranges::any_of(names, is_taken)) ++number;
  std::vector<std::string> aside;
  for (const std::string& name : names) {
    if (!is_there(name)) continue;
    aside.push_back(name_before(name, number));
    base::rename_durably(run_directory / name, run_directory / aside.back());
  }
  return aside;
}

}  // namespace kangpt::launcher
