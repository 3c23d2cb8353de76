#include "tools/chaos/harmed_run.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <thread>

#include "base/error.hpp"
#include "io/checkpoint.hpp"
#include "launcher/job/run_id.hpp"
#include "sharding/memory_file.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{5};
constexpr int kMostOtherStarts = 50;  // of one run, beside those that a fault makes necessary
constexpr int kMpirunTerminated = 1;  // what Open MPI's mpirun returns after SIGTERM whatever its processes return
// How often each fault is drawn. A stopped agent costs the job its whole patience.
constexpr std::array<double, kFaultNames.size()> kFaultWeights = {4, 4, 4, 4, 4, 4, 1, 2, 2, 4, 4, 1, 4};
constexpr double kWeightOfLostNode = 4;                        // where that takes no way back to a checkpoint
constexpr int kLongestPauseMilliseconds = 3000;                // of an agent: a laptop's lid, a debugger
constexpr std::chrono::minutes kPatienceWithStoppedAgent{25};  // without fault.hang_timeout_seconds it takes 20
constexpr int kKilledBySignal = 128;  // mpirun returns this and the signal that killed a process

std::discrete_distribution<std::size_t> distribution(const ChaosPlace& place) {
  auto weights = kFaultWeights;
  if (place.nodes.count() > 1) weights[static_cast<std::size_t>(Fault::kLoseNode)] = kWeightOfLostNode;
  const std::vector<std::string>& chosen = place.options.kinds;
  for (std::size_t fault = 0; fault < weights.size(); ++fault) {
    if (!chosen.empty() && std::ranges::find(chosen, word_of(kFaultNames[fault])) == chosen.end()) weights[fault] = 0;
  }
  return {weights.begin(), weights.end()};
}

}  // namespace

HarmedRun::HarmedRun(const ChaosPlace& place, int number, double expected_seconds)
    : place_(place),
      directory_(place.options.directory / ("run-" + std::to_string(number))),
      expected_seconds_(expected_seconds),
      random_(place.options.seed * 1'000'003 + static_cast<std::uint64_t>(number)),
      command_(place.nodes.spread(place.options.command)),
      draw_(distribution(place)) {
  command_.insert(command_.end(), {"--set", "run.directory=" + directory_.string()});
}

std::string HarmedRun::run(int faults) {
  faults_left_ = faults;
  const int most_starts = faults + kMostOtherStarts;
  for (int start = 0; start < most_starts; ++start) {
    may_end_with_ = 0;
    ChaosJob job(command_, fs::path(directory_.string() + ".log"), place_.signals);
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

void HarmedRun::remove_memory() const {
  for (const fs::path& file : place_.nodes.memory_of(launcher::existing_run_id(directory_))) fs::remove(file);
}

MemoryLoss HarmedRun::loss_before(std::size_t start) const {
  if (without_memory_.contains(start)) return MemoryLoss::kAll;
  const auto lost = lost_nodes_.find(start);
  if (lost == lost_nodes_.end()) return MemoryLoss::kNone;
  // The second one may have had the only copies of the first.
  return lost->second.size() > 1 || place_.nodes.count() == 1 ? MemoryLoss::kAll : MemoryLoss::kNode;
}

std::size_t HarmedRun::starts() const {
  return read_events(directory_).steps_lost_by_start.size();
}

// Until a random moment at which training goes on. False if the job ended before.
bool HarmedRun::pass_some_time(ChaosJob& job) {
  const double seconds =
      expected_seconds_ / (place_.options.faults_per_run + 1) * 2e-3 * static_cast<double>(below(1001));
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
void HarmedRun::look_for_first_step() {
  if (!needed_start_) return;
  const RunEvents events = read_events(directory_);
  const auto& [fault, time, starts] = *needed_start_;
  if (events.steps_lost_by_start.size() == starts || last_step_time(directory_) < events.last_start_time) return;
  recoveries_[fault].push_back(std::chrono::duration<double>(Clock::now() - time).count());
  needed_start_.reset();
}

void HarmedRun::expect_start(Fault fault) {
  needed_start_ = {fault, Clock::now(), starts()};
}

// False if the job has to be started again.
bool HarmedRun::harm(ChaosJob& job) {
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
    case Fault::kLoseNode:
      return lose_node(job);
    case Fault::kKillJob:
    case Fault::kCorrupt:
      return kill_job(job, fault);
  }
  return true;
}

// Always false, as of await_end().
bool HarmedRun::kill_job(ChaosJob& job, Fault fault) {
  count(Fault::kKillJob);
  expect_start(fault);
  job.signal(SIGKILL);
  job.wait();
  if (!job.await_descendants()) return false;
  if (fault != Fault::kCorrupt) return false;
  const std::uint64_t step = newest_step();
  if (!corrupt_newest()) return false;
  count(fault);
  if (!is_in_memory(step)) without_memory_.insert(starts());  // that was all there was of it
  return false;
}

// All that runs there and all that lies in its memory; mpirun runs on the first one. False but where nothing runs there
// yet.
bool HarmedRun::lose_node(ChaosJob& job) {
  const int node = static_cast<int>(below(static_cast<std::uint64_t>(place_.nodes.count())));
  std::vector<pid_t> lost;
  for (const char* const name : {"kangpt_dist", "kangpt_worker"}) {
    for (const pid_t process : job.processes(name)) {
      if (place_.nodes.is_on(node, process)) lost.push_back(process);
    }
  }
  if (lost.empty()) return true;
  count(Fault::kLoseNode);
  expect_start(Fault::kLoseNode);
  if (node == 0) job.signal(SIGKILL);
  for (const pid_t process : lost) ::kill(process, SIGKILL);
  may_end_with_ = kKilledBySignal + SIGKILL;
  job.wait();
  if (!job.await_descendants()) return false;
  lost_nodes_[starts()].insert(node);
  for (const fs::path& file : place_.nodes.memory_of(launcher::existing_run_id(directory_), node)) fs::remove(file);
  return false;
}

// On disk; 0: none.
std::uint64_t HarmedRun::newest_step() const {
  const std::vector<fs::path> checkpoints = io::list_checkpoints(directory_ / "checkpoints");
  const std::string name = checkpoints.empty() ? "step-0" : checkpoints.front().filename().string();
  return std::stoull(name.substr(name.find('-') + 1));
}

// Whether what all ranks left there is as new as that.
bool HarmedRun::is_in_memory(std::uint64_t step) const {
  int ranks = 0;
  int world_size = 1;
  for (const fs::path& file : place_.nodes.memory_of(launcher::existing_run_id(directory_))) {
    const std::optional<sharding::LeftMemory> memory = sharding::open_left_memory(file);
    if (!memory || memory->label().kind == sharding::MemoryLabel::Kind::kCopy || memory->noted().empty() ||
        memory->noted().front().publication.state.step < step)
      continue;
    world_size = memory->label().world_size;
    ++ranks;
  }
  return ranks == world_size;
}

bool HarmedRun::harm_workers(ChaosJob& job, Fault fault, int signal) {
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

bool HarmedRun::harm_agent(ChaosJob& job, Fault fault) {
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
bool HarmedRun::await_end(ChaosJob& job) {
  const Clock::time_point deadline = Clock::now() + kPatienceWithStoppedAgent;
  while (!job.poll_end() && Clock::now() < deadline) std::this_thread::sleep_for(kPoll);
  if (job.poll_end()) return false;
  problem_ = "waited for a stopped agent without end";
  job.signal(SIGKILL);
  return false;
}

// One byte of one file of the newest checkpoint, if an older one is there too.
bool HarmedRun::corrupt_newest() {
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

void HarmedRun::count(Fault fault) {
  ++counts_[fault];
  --faults_left_;
}

}  // namespace kangpt::tools
