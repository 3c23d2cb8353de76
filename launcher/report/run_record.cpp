#include "launcher/report/run_record.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/command.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "config/configuration.hpp"
#include "config/field_changes.hpp"
#include "io/checkpoint.hpp"

namespace kangpt::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kCheckpointPrefix = "step-";

// The step of "step-0000001000" or of a file with that name; none for other names.
std::optional<std::uint64_t> step_in_name(const fs::path& path) {
  const std::string stem = path.stem().string();
  const std::string digits = stem.substr(std::min(stem.size(), kCheckpointPrefix.size()));
  const bool is_step = stem.starts_with(kCheckpointPrefix) && !digits.empty() && digits.size() <= 18 &&
                       std::ranges::all_of(digits, [](unsigned char c) { return c >= '0' && c <= '9'; });
  if (!is_step) return std::nullopt;
  return std::stoull(digits);
}

void require_run(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error))
    throw MissingInputError(directory.string() +
                            " is no folder. RUN is a run directory (run.directory of a training), " +
                            "such as runs/tinystories_kan");
  for (const char* name : {"metrics.jsonl", "events.jsonl", "summary.json", "config.textproto"}) {
    if (fs::exists(directory / name, error)) return;
  }
  throw MissingInputError(
      directory.string() + " is no run directory: it has neither metrics.jsonl nor events.jsonl, " +
      "summary.json or config.textproto. Training writes them: " +
      base::shell_command({"mpirun", "-np", "2", "kangpt_dist", "--set", "run.directory=" + directory.string()}));
}

// Calls `read`, and says of what it could not.
template <typename Read>
void attempt(const std::string& what, std::vector<std::string>& problems, Read read) {
  try {
    read();
  } catch (const std::exception& error) {
    problems.push_back(what + ": " + error.what());
  }
}

void read_configuration(const fs::path& file, RunRecord& run) {
  if (!fs::exists(file)) {
    run.problems.emplace_back("config.textproto is missing, so nothing is known about the settings");
    return;
  }
  const config::RunConfig config = config::parse_configuration(base::read_file(file), "config.textproto").values;
  run.total_steps = config.train.steps;
  run.sample_prompt = config.log.sample_prompt;
  for (const config::FieldChange& change : config::field_changes(config::parse_configuration("").values, config)) {
    run.settings.push_back({change.field, change.now, change.before});
  }
}

void read_summary(const fs::path& file, RunRecord& run) {
  if (!fs::exists(file)) return;  // written at the end
  const json summary = json::parse(base::read_file(file));
  run.digest = summary.at("digest");
  run.digest_step = summary.at("steps");
  if (summary.contains("parameters")) run.parameters = summary["parameters"].get<std::uint64_t>();
}

void read_checkpoints(const fs::path& folder, RunRecord& run) {
  const std::vector<fs::path> newest_first = io::list_checkpoints(folder);
  for (const fs::path& checkpoint : newest_first) {
    if (const auto step = step_in_name(checkpoint)) run.checkpoints_on_disk.push_back(*step);
  }
  std::ranges::sort(run.checkpoints_on_disk);
  if (run.parameters || newest_first.empty()) return;
  const io::Checkpoint newest(newest_first.front(), io::Checkpoint::Verify::kManifest);
  run.parameters = newest.manifest().parameters.parameter_count;
}

// `count` of the numbers below `size`, evenly, the first and the last among them.
std::vector<std::size_t> spread(std::size_t size, std::size_t count) {
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < std::min(size, count); ++i) {
    chosen.push_back(size <= count ? i : i * (size - 1) / (count - 1));
  }
  return chosen;
}

std::string beginning_of(const fs::path& file) {
  std::string text;
  base::read_in_pieces(file, [&](std::span<const std::byte> bytes) {
    if (text.size() <= kLongestSampleBytes) text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  if (text.size() > kLongestSampleBytes) return text.substr(0, kLongestSampleBytes) + " ...";
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

void read_samples(const fs::path& folder, RunRecord& run) {
  std::vector<std::pair<std::uint64_t, fs::path>> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (const auto step = step_in_name(entry->path()); step && entry->path().extension() == ".txt")
      files.emplace_back(*step, entry->path());
  }
  std::ranges::sort(files);
  run.sample_files = files.size();
  for (const std::size_t i : spread(files.size(), kMostSamples)) {
    attempt("samples", run.problems, [&] { run.samples.push_back({files[i].first, beginning_of(files[i].second)}); });
  }
}

}  // namespace

RunRecord read_run(const fs::path& directory, std::size_t detail) {
  require_run(directory);
  std::vector<std::string> problems;
  RunRecord run{.directory = directory,
                .name = fs::absolute(directory / "").lexically_normal().parent_path().filename().string(),
                .events = read_events(directory, problems),
                .metrics = read_metrics(directory, detail, problems)};
  run.problems = std::move(problems);
  attempt("config.textproto", run.problems, [&] { read_configuration(directory / "config.textproto", run); });
  attempt("summary.json", run.problems, [&] { read_summary(directory / "summary.json", run); });
  attempt("checkpoints", run.problems, [&] { read_checkpoints(directory / "checkpoints", run); });
  read_samples(directory / "samples", run);
  std::deque<Start>& starts = run.events.starts.values;
  if (!starts.empty() && !starts.back().exit_code)
    starts.back().last_time = std::max(starts.back().last_time, run.metrics.last_time);
  return run;
}

}  // namespace kangpt::report
