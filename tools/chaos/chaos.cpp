#include "tools/chaos/chaos.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "io/checkpoint.hpp"
#include "launcher/job/run_id.hpp"
#include "sharding/memory_file.hpp"
#include "tools/chaos/chaos_job.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{5};
constexpr int kMostOtherStarts = 50;  // of one run, beside those that a fault makes necessary
constexpr int kMpirunTerminated = 1;  // what Open MPI's mpirun returns after SIGTERM whatever its processes return

enum class Fault {
  kSegv,
  kKill,
  kAbort,
  kStop,
  kKillAllWorkers,
  kPauseAgent,
  kStopAgent,
  kKillAgent,
  kKillAgentAndWorker,
  kKillJob,
  kStopJob,
  kLoseNode,
  kCorrupt
};
constexpr std::array<const char*, 13> kFaultNames = {"worker SEGV",    "worker KILL",      "worker ABRT",
                                                     "worker STOP",    "all workers KILL", "agent paused",
                                                     "agent STOP",     "agent KILL",       "agent and worker KILL",
                                                     "mpirun KILL",    "mpirun TERM",      "node lost with its memory",
                                                     "checkpoint byte"};
// How often each is drawn. A stopped agent costs the job its whole patience.
constexpr std::array<double, 13> kFaultWeights = {4, 4, 4, 4, 4, 4, 1, 2, 2, 4, 4, 1, 4};
constexpr int kLongestPauseMilliseconds = 3000;                // of an agent: a laptop's lid, a debugger
constexpr std::chrono::minutes kPatienceWithStoppedAgent{25};  // without fault.hang_timeout_seconds it takes 20
constexpr int kKilledBySignal = 128;  // mpirun returns this and the signal that killed a process

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
  HarmedRun(const ChaosOptions& options, int number, double expected_seconds, launcher::StopSignals& signals)
      : options_(options),
        signals_(signals),
        directory_(options.directory / ("run-" + std::to_string(number))),
        expected_seconds_(expected_seconds),
        random_(options.seed * 1'000'003 + static_cast<std::uint64_t>(number)) {
    command_ = options.command;
    command_.insert(command_.end(), {"--set", "run.directory=" + directory_.string()});
  }

  // "" or why it did not end well.
  std::string run(int faults) {
    faults_left_ = faults;
    const int most_starts = faults + kMostOtherStarts;
    for (int start = 0; start < most_starts; ++start) {
      may_end_with_ = 0;
      ChaosJob job(command_, fs::path(directory_.string() + ".log"), signals_);
      while (faults_left_ > 0 && pass_some_time(job)) {
        if (!harm(job)) break;
      }
      const launcher::ProcessEnd end = job.wait();
      if (!job.await_descendants()) return "left processes behind";
      if (!problem_.empty()) return problem_;
      if (end.signal == 0 && end.exit_code == 0) return "";
      const bool may_go_on = end.exit_code == static_cast<int>(ExitCode::kStopped) ||
                             end.exit_code == static_cast<int>(ExitCode::kGaveUp) || end.exit_code == may_end_with_;
      if (end.signal == 0 && !may_go_on) return "ended with exit code " + std::to_string(end.exit_code);
    }
    return "was not done after " + std::to_string(most_starts) + " starts";
  }

  // What it holds in memory for a next start.
  void remove_memory() const {
    const std::string id = launcher::existing_run_id(directory_);
    if (id.empty()) return;
    for (const fs::path& file : sharding::find_memory_files(id)) fs::remove(file);
  }

  const fs::path& directory() const noexcept { return directory_; }
  const std::map<Fault, int>& counts() const noexcept { return counts_; }
  const std::map<Fault, std::vector<double>>& recoveries() const noexcept { return recoveries_; }
  // Whether the memory of the start before this one (the first is 0) was lost too.
  bool began_without_memory(std::size_t start) const { return without_memory_.contains(start); }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  // Until a random moment at which training goes on. False if the job ended before.
  bool pass_some_time(ChaosJob& job) {
    const double seconds = expected_seconds_ / (options_.faults_per_run + 1) * 2e-3 * static_cast<double>(below(1001));
    const Clock::time_point end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    const bool is_measured = below(2) == 0;  // else starts are harmed too
    while (Clock::now() < end || (is_measured && needed_start_)) {
      if (job.poll_end()) return false;
      look_for_first_step();
      std::this_thread::sleep_for(kPoll);
    }
    return !job.poll_end();
  }

  // The first step after a start that a fault made necessary ends what that one cost.
  void look_for_first_step() {
    if (!needed_start_) return;
    const RunEvents events = read_events(directory_);
    const auto& [fault, time, starts] = *needed_start_;
    if (events.steps_lost_by_start.size() == starts || last_step_time(directory_) < events.last_start_time) return;
    recoveries_[fault].push_back(std::chrono::duration<double>(Clock::now() - time).count());
    needed_start_.reset();
  }

  void expect_start(Fault fault) {
    needed_start_ = {fault, Clock::now(), read_events(directory_).steps_lost_by_start.size()};
  }

  // False if the job has to be started again.
  bool harm(ChaosJob& job) {
    const auto fault = static_cast<Fault>(draw_(random_));
    needed_start_.reset();
    switch (fault) {
      case Fault::kSegv:
        return harm_workers(job, fault, SIGSEGV);
      case Fault::kKill:
      case Fault::kKillAllWorkers:
        return harm_workers(job, fault, SIGKILL);
      case Fault::kAbort:
        return harm_workers(job, fault, SIGABRT);
      case Fault::kStop:
        return harm_workers(job, fault, SIGSTOP);
      case Fault::kPauseAgent:
      case Fault::kStopAgent:
      case Fault::kKillAgent:
      case Fault::kKillAgentAndWorker:
        return harm_agent(job, fault);
      case Fault::kStopJob:
        count(fault);
        expect_start(fault);
        job.signal(SIGTERM);
        may_end_with_ = kMpirunTerminated;
        return false;
      case Fault::kKillJob:
      case Fault::kLoseNode:
      case Fault::kCorrupt:
        return kill_job(job, fault);
    }
    return true;
  }

  // Always false, as of await_end().
  bool kill_job(ChaosJob& job, Fault fault) {
    count(fault == Fault::kLoseNode ? fault : Fault::kKillJob);
    expect_start(fault);
    job.signal(SIGKILL);
    job.wait();
    if (!job.await_descendants()) return false;
    if (fault == Fault::kLoseNode) {
      remove_memory();
      expect_loss();
    }
    if (fault != Fault::kCorrupt) return false;
    const std::uint64_t step = newest_step();
    if (!corrupt_newest()) return false;
    count(fault);
    if (!is_in_memory(step)) expect_loss();  // that was all there was of it
    return false;
  }

  // At the next start, since more than the job was harmed.
  void expect_loss() { without_memory_.insert(read_events(directory_).steps_lost_by_start.size()); }

  // On disk; 0: none.
  std::uint64_t newest_step() const {
    const std::vector<fs::path> checkpoints = io::list_checkpoints(directory_ / "checkpoints");
    const std::string name = checkpoints.empty() ? "step-0" : checkpoints.front().filename().string();
    return std::stoull(name.substr(name.find('-') + 1));
  }

  // Whether what all ranks left there is as new as that.
  bool is_in_memory(std::uint64_t step) const {
    int ranks = 0;
    int world_size = 1;
    for (const fs::path& file : sharding::find_memory_files(launcher::existing_run_id(directory_))) {
      const std::optional<sharding::LeftMemory> memory = sharding::open_left_memory(file);
      if (!memory || memory->noted().empty() || memory->noted().front().publication.state.step < step) continue;
      world_size = memory->label().world_size;
      ++ranks;
    }
    return ranks == world_size;
  }

  bool harm_workers(ChaosJob& job, Fault fault, int signal) {
    std::vector<pid_t> workers = job.processes("kangpt_worker");
    if (workers.empty()) return true;  // they are just being started
    if (fault != Fault::kKillAllWorkers) workers = {workers[below(workers.size())]};
    const int recovered = read_events(directory_).recovered;
    for (const pid_t worker : workers) ::kill(worker, signal);
    count(fault);
    while (!job.poll_end() && read_events(directory_).recovered == recovered) std::this_thread::sleep_for(4 * kPoll);
    const std::vector<double> seconds = read_events(directory_).recovery_seconds;
    if (static_cast<int>(seconds.size()) > recovered)
      recoveries_[fault].push_back(seconds[static_cast<std::size_t>(recovered)]);
    return true;
  }

  bool harm_agent(ChaosJob& job, Fault fault) {
    const std::vector<pid_t> agents = job.processes("kangpt_dist");
    if (agents.empty()) return true;
    const pid_t agent = agents[below(agents.size())];
    const std::vector<pid_t> workers = job.processes("kangpt_worker");
    if (workers.empty()) return true;  // nobody can tell a stopped agent within Open MPI's own start
    count(fault);
    if (fault != Fault::kPauseAgent) expect_start(fault);
    if (fault == Fault::kPauseAgent || fault == Fault::kStopAgent) {
      ::kill(agent, SIGSTOP);
      if (fault == Fault::kStopAgent) return await_end(job);
      std::this_thread::sleep_for(std::chrono::milliseconds(below(kLongestPauseMilliseconds)));
      ::kill(agent, SIGCONT);
      return true;
    }
    if (fault == Fault::kKillAgentAndWorker) ::kill(workers[below(workers.size())], SIGKILL);
    ::kill(agent, SIGKILL);
    may_end_with_ = kKilledBySignal + SIGKILL;
    return false;
  }

  // Always false: the job has to be started again.
  bool await_end(ChaosJob& job) {
    const Clock::time_point deadline = Clock::now() + kPatienceWithStoppedAgent;
    while (!job.poll_end() && Clock::now() < deadline) std::this_thread::sleep_for(kPoll);
    if (job.poll_end()) return false;
    problem_ = "waited for a stopped agent without end";
    job.signal(SIGKILL);
    return false;
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

  struct NeededStart {
    Fault fault;
    Clock::time_point time;
    std::size_t starts = 0;  // before
  };

  const ChaosOptions& options_;
  launcher::StopSignals& signals_;
  fs::path directory_;
  double expected_seconds_;
  std::mt19937_64 random_;
  std::vector<std::string> command_;
  std::map<Fault, int> counts_;
  std::map<Fault, std::vector<double>> recoveries_;
  std::set<std::size_t> without_memory_;
  std::optional<NeededStart> needed_start_;
  std::discrete_distribution<std::size_t> draw_{kFaultWeights.begin(), kFaultWeights.end()};
  int faults_left_ = 0;
  int may_end_with_ = 0;  // an exit code that the last fault excuses
  std::string problem_;
};

void add_run(ChaosReport& report, const HarmedRun& run) {
  const RunEvents events = read_events(run.directory());
  report.recovery_seconds.insert(report.recovery_seconds.end(), events.recovery_seconds.begin(),
                                 events.recovery_seconds.end());
  for (const std::uint64_t lost : events.steps_lost) {
    report.worker_restarts += 1;
    report.steps_lost += lost;
    report.most_steps_lost = std::max(report.most_steps_lost, lost);
  }
  for (std::size_t start = 1; start < events.steps_lost_by_start.size(); ++start) {
    const std::uint64_t lost = events.steps_lost_by_start[start];
    report.starts += 1;
    report.steps_lost_by_starts += lost;
    if (!run.began_without_memory(start))
      report.most_steps_lost_by_start = std::max(report.most_steps_lost_by_start, lost);
  }
  for (const auto& [fault, count] : run.counts()) {
    report.kinds[static_cast<std::size_t>(fault)].faults += count;
    report.faults += count;
  }
  for (const auto& [fault, found] : run.recoveries()) {
    std::vector<double>& all = report.kinds[static_cast<std::size_t>(fault)].recovery_seconds;
    all.insert(all.end(), found.begin(), found.end());
  }
}

// Leaves nothing of it in memory, however it ends.
std::string run_and_clean_up(HarmedRun& run, int faults) {
  try {
    const std::string problem = run.run(faults);
    run.remove_memory();
    return problem;
  } catch (const ChaosStopped&) {
    run.remove_memory();
    throw;
  }
}

struct Undisturbed {
  double seconds = 0;
  std::string digest;
};

Undisturbed run_undisturbed(const ChaosOptions& options, launcher::StopSignals& signals) {
  const Clock::time_point start = Clock::now();
  HarmedRun run(options, 0, 0, signals);
  const std::string problem = run_and_clean_up(run, 0);
  const Undisturbed reference{std::chrono::duration<double>(Clock::now() - start).count(), digest_of(run.directory())};
  if (!problem.empty() || reference.digest.empty())
    throw InternalError("the undisturbed run failed: " + problem + "; see " + run.directory().string() + ".log");
  base::log_info("undisturbed: " + std::to_string(reference.seconds) + " s, digest " + reference.digest);
  return reference;
}

void harm_one(const ChaosOptions& options, HarmedRun& run, const std::string& digest, ChaosReport& report) {
  std::string what = run_and_clean_up(run, options.faults_per_run);
  if (what.empty() && digest_of(run.directory()) != digest) what = "ended with another digest";
  add_run(report, run);
  const std::string number = std::to_string(++report.runs);
  what.empty() ? void(++report.equal_digests)
               : report.problems.push_back("run " + number + " " + what + "; see " + run.directory().string() + ".log");
  base::log_info("run " + number + " of " + std::to_string(options.runs) + ": " + std::to_string(report.faults) +
                 " faults so far" + (what.empty() ? "" : "; it " + what));
}

}  // namespace

ChaosReport run_chaos(const ChaosOptions& options) {
  if (fs::exists(options.directory)) throw ConfigError(options.directory.string() + " exists; choose another folder");
  base::make_directories(options.directory);
  launcher::StopSignals signals;
  const SegmentFolder segments;
  ChaosReport report;
  for (const char* name : kFaultNames) report.kinds.push_back({name});
  try {
    const Undisturbed reference = run_undisturbed(options, signals);
    report.steps = read_json(options.directory / "run-0" / "summary.json").value("steps", std::uint64_t{0});
    for (int number = 1; number <= options.runs; ++number) {
      HarmedRun run(options, number, reference.seconds, signals);
      harm_one(options, run, reference.digest, report);
    }
  } catch (const ChaosStopped&) {
    report.was_stopped = true;
  }
  return report;
}

}  // namespace kangpt::tools
