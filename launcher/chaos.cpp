#include "launcher/chaos.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "io/checkpoint.hpp"
#include "launcher/chaos_job.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{5};
constexpr int kMostStarts = 50;       // of one run
constexpr int kMpirunTerminated = 1;  // what Open MPI's mpirun returns after SIGTERM whatever its processes return

enum class Fault { kSegv, kKill, kAbort, kStop, kKillJob, kStopJob, kCorrupt };
constexpr std::array<const char*, 7> kFaultNames = {"worker SEGV", "worker KILL", "worker ABRT",    "worker STOP",
                                                    "mpirun KILL", "mpirun TERM", "checkpoint byte"};

json read_json(const fs::path& file) {
  return fs::exists(file) ? json::parse(base::read_file(file), nullptr, false) : json();
}

std::string digest_of(const fs::path& run_directory) {
  const json summary = read_json(run_directory / "summary.json");
  return summary.is_object() ? summary.value("digest", "") : "";
}

// Starts the same command until it is done, and harms it meanwhile.
class HarmedRun {
 public:
  HarmedRun(const ChaosOptions& options, int number, double expected_seconds)
      : options_(options),
        directory_(options.directory / ("run-" + std::to_string(number))),
        expected_seconds_(expected_seconds),
        random_(options.seed * 1'000'003 + static_cast<std::uint64_t>(number)) {
    command_ = options.command;
    command_.insert(command_.end(), {"--set", "run.directory=" + directory_.string()});
  }

  // "" or why it did not end well.
  std::string run(int faults) {
    faults_left_ = faults;
    for (int start = 0; start < kMostStarts; ++start) {
      terminated_ = false;
      ChaosJob job(command_, fs::path(directory_.string() + ".log"));
      while (faults_left_ > 0 && pass_some_time(job)) {
        if (!harm(job)) break;
      }
      if (orphans_) return "left processes behind when mpirun was killed";
      const ProcessEnd end = job.wait();
      if (end.signal == 0 && end.exit_code == 0) return "";
      const bool may_go_on = end.exit_code == static_cast<int>(ExitCode::kStopped) ||
                             end.exit_code == static_cast<int>(ExitCode::kGaveUp) ||
                             (terminated_ && end.exit_code == kMpirunTerminated);
      if (end.signal == 0 && !may_go_on) return "ended with exit code " + std::to_string(end.exit_code);
    }
    return "was not done after " + std::to_string(kMostStarts) + " starts";
  }

  const fs::path& directory() const noexcept { return directory_; }
  const std::map<Fault, int>& counts() const noexcept { return counts_; }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  // Until a random moment at which training goes on. False if the job ended before.
  bool pass_some_time(ChaosJob& job) {
    const double seconds = expected_seconds_ / (options_.faults_per_run + 1) * 2e-3 * static_cast<double>(below(1001));
    const Clock::time_point end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    while (Clock::now() < end) {
      if (job.poll_end()) return false;
      std::this_thread::sleep_for(kPoll);
    }
    return !job.poll_end();
  }

  // False if the job has to be started again.
  bool harm(ChaosJob& job) {
    const auto fault = static_cast<Fault>(below(kFaultNames.size()));
    switch (fault) {
      case Fault::kSegv:
        return harm_worker(job, fault, SIGSEGV);
      case Fault::kKill:
        return harm_worker(job, fault, SIGKILL);
      case Fault::kAbort:
        return harm_worker(job, fault, SIGABRT);
      case Fault::kStop:
        return harm_worker(job, fault, SIGSTOP);
      case Fault::kStopJob:
        count(fault);
        job.signal(SIGTERM);
        terminated_ = true;
        return false;
      case Fault::kKillJob:
      case Fault::kCorrupt:
        count(Fault::kKillJob);
        orphans_ = !job.kill_and_await_descendants();
        if (fault == Fault::kCorrupt && corrupt_newest()) count(fault);
        return false;
    }
    return true;
  }

  bool harm_worker(ChaosJob& job, Fault fault, int signal) {
    const std::vector<pid_t> workers = job.workers();
    if (workers.empty()) return true;  // they are just being started
    const int recovered = read_events(directory_).recovered;
    if (::kill(workers[below(workers.size())], signal) != 0) return true;
    count(fault);
    while (!job.poll_end() && read_events(directory_).recovered == recovered) std::this_thread::sleep_for(4 * kPoll);
    return true;
  }

  // One byte of one file of the newest checkpoint, if an older one is there too.
  bool corrupt_newest() {
    const std::vector<fs::path> checkpoints = io::list_checkpoints(directory_ / "checkpoints");
    if (checkpoints.size() < 2) return false;
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(checkpoints.front())) files.push_back(entry.path());
    std::ranges::sort(files);
    const fs::path& file = files[below(files.size())];
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto offset = static_cast<std::streamoff>(below(fs::file_size(file)));
    stream.seekg(offset);
    const int byte = stream.get();
    stream.seekp(offset);
    stream.put(static_cast<char>(byte ^ (1 << below(8))));
    return stream.good();
  }

  void count(Fault fault) {
    ++counts_[fault];
    --faults_left_;
  }

  const ChaosOptions& options_;
  fs::path directory_;
  double expected_seconds_;
  std::mt19937_64 random_;
  std::vector<std::string> command_;
  std::map<Fault, int> counts_;
  int faults_left_ = 0;
  bool orphans_ = false;
  bool terminated_ = false;
};

void add_run(ChaosReport& report, std::vector<double>& seconds, const HarmedRun& run) {
  const RunEvents events = read_events(run.directory());
  seconds.insert(seconds.end(), events.recovery_seconds.begin(), events.recovery_seconds.end());
  for (const std::uint64_t lost : events.steps_lost) {
    report.worker_restarts += 1;
    report.steps_lost += lost;
    report.most_steps_lost = std::max(report.most_steps_lost, lost);
  }
  for (const auto& [fault, count] : run.counts()) {
    report.faults_by_kind[static_cast<std::size_t>(fault)].second += count;
    report.faults += count;
  }
}

}  // namespace

ChaosReport run_chaos(const ChaosOptions& options) {
  if (fs::exists(options.directory)) throw ConfigError(options.directory.string() + " exists; choose another folder");
  base::make_directories(options.directory);
  const SegmentFolder segments;
  ChaosReport report;
  for (const char* name : kFaultNames) report.faults_by_kind.emplace_back(name, 0);
  const Clock::time_point start = Clock::now();
  HarmedRun reference(options, 0, 0);
  const std::string problem = reference.run(0);
  const double expected_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const std::string digest = digest_of(reference.directory());
  if (!problem.empty() || digest.empty())
    throw InternalError("the undisturbed run failed: " + problem + "; see " + reference.directory().string() + ".log");
  report.steps = read_json(reference.directory() / "summary.json").value("steps", std::uint64_t{0});
  base::log_info("undisturbed: " + std::to_string(expected_seconds) + " s, digest " + digest);
  std::vector<double> seconds;
  for (int number = 1; number <= options.runs; ++number) {
    HarmedRun run(options, number, expected_seconds);
    std::string what = run.run(options.faults_per_run);
    if (what.empty() && digest_of(run.directory()) != digest) what = "ended with another digest";
    add_run(report, seconds, run);
    ++report.runs;
    what.empty() ? void(++report.equal_digests)
                 : report.problems.push_back("run " + std::to_string(number) + " " + what + "; see " +
                                             run.directory().string() + ".log");
    base::log_info("run " + std::to_string(number) + " of " + std::to_string(options.runs) + ": " +
                   std::to_string(report.faults) + " faults so far" + (what.empty() ? "" : "; it " + what));
  }
  std::ranges::sort(seconds);
  if (!seconds.empty()) {
    report.median_recovery_seconds = seconds[seconds.size() / 2];
    report.worst_recovery_seconds = seconds.back();
  }
  return report;
}

std::string to_table(const ChaosReport& report) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2);
  const auto line = [&](const std::string& name, const auto& value) {
    text << "  " << std::left << std::setw(40) << name << value << '\n';
  };
  line("runs of " + std::to_string(report.steps) + " steps", report.runs);
  line("digest equal to the undisturbed run's", report.equal_digests);
  line("faults", report.faults);
  for (const auto& [name, count] : report.faults_by_kind) line("  " + name, count);
  line("restarts of the workers inside a job", report.worker_restarts);
  line("steps lost by them, all together", report.steps_lost);
  line("steps lost by one of them, at most", report.most_steps_lost);
  line("seconds to recover, median", report.median_recovery_seconds);
  line("seconds to recover, worst", report.worst_recovery_seconds);
  for (const std::string& problem : report.problems) text << "  " << problem << '\n';
  return text.str();
}

std::string to_json(const ChaosReport& report) {
  json kinds = json::object();
  for (const auto& [name, count] : report.faults_by_kind) kinds[name] = count;
  return json{{"runs", report.runs},
              {"steps", report.steps},
              {"equal_digests", report.equal_digests},
              {"faults", report.faults},
              {"faults_by_kind", kinds},
              {"worker_restarts", report.worker_restarts},
              {"steps_lost", report.steps_lost},
              {"most_steps_lost", report.most_steps_lost},
              {"median_recovery_seconds", report.median_recovery_seconds},
              {"worst_recovery_seconds", report.worst_recovery_seconds},
              {"problems", report.problems}}
             .dump(2) +
         "\n";
}

}  // namespace kangpt::launcher
