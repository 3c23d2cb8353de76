#include "launcher/job/job.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "base/log.hpp"
#include "launcher/job/agreement.hpp"
#include "launcher/job/batch_options.hpp"
#include "launcher/job/gpu_probe.hpp"
#include "launcher/job/job_record.hpp"
#include "launcher/job/placement.hpp"
#include "launcher/job/setup_text.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "training/learning_rate.hpp"

namespace kangpt::launcher {

namespace fs = std::filesystem;

Job::Job(sharding::MpiGroup& group, StopSignals& signals, JobSetup setup, World world)
    : group_(group),
      signals_(signals),
      setup_(std::move(setup)),
      world_(std::move(world)),
      run_(setup_.config.run.directory),
      table_(model::parameter_layout(setup_.config.model)),
      partition_(table_.flat_size, static_cast<int>(setup_.state.logical_shards), group.size()),
      shared_(memory_label(), copied_ranks()),
      memory_(shared_.bytes(), partition_.padded_size(), partition_.range_size(), {shared_.slots(), arrays_of_slots()}),
      exchanges_(group, memory_),
      checkpoints_(group, partition_, checkpoint_plan(),
                   [this](const CheckpointOutcome& outcome) { report(outcome); }) {}

ExitCode Job::run(const fs::path& program_folder, const std::vector<int>& cpus) {
  BatchDescriber describe_batch;
  require_of_all(group_, [&] { describe_batch = require_inputs(setup_); });
  const std::optional<io::TrainingState> loaded = load(setup_);
  open_log();
  AgentOptions options = agent_options(program_folder, cpus);
  options.describe_batch = std::move(describe_batch);
  const bool outlives_job = settle_memory();
  NeighbourCopies copies(group_, memory_, settle_copies());
  const AgentParts parts{group_,      memory_, exchanges_, checkpoints_, signals_, copies, log_ ? &*log_ : nullptr,
                         outlives_job};
  const ExitCode code = Agent(parts, std::move(options), loaded).run();
  copies.finish();
  close_log(code);
  give_memory_back();
  return code;
}

AgentOptions Job::agent_options(const fs::path& program_folder, const std::vector<int>& cpus) {
  const config::FaultSection& fault = setup_.config.fault;
  return {.worker_program = program_folder / (on_gpu() ? kGpuWorker : "kangpt_worker"),
          .command = worker_command(cpus),
          .fresh_order = {.rank = group_.rank(),
                          .world_size = group_.size(),
                          .gpu = on_gpu() ? world_.gpus.of_ranks.at(static_cast<std::size_t>(group_.rank())) : 0,
                          .slots = shared_.slots(),
                          .fired_faults = fired_faults(),
                          .state = setup_.fresh_state},
          .configuration = worker_configuration(),
          .max_restarts = fault.max_restarts,
          .no_progress_limit = fault.no_progress_limit,
          .hang_timeout_seconds = fault.hang_timeout_seconds,
          .crash_file = run_ / ("crash-rank-" + std::to_string(group_.rank()) + ".txt"),
          .load_checkpoint = [this] { return load_newest(); },
          .describe_batch = {},
          .end_code = [this](ExitCode code) { return end_code(code); }};
}

WorkerCommand Job::worker_command(const std::vector<int>& cpus) const {
  const int threads = static_cast<int>(setup_.state.threads);
  return {.memory_fd = shared_.fd(), .cpus = worker_cpus(cpus, group_.local_rank(), group_.local_size(), threads)};
}

// The device, the precision and the place of the first weights are settled in it.
std::string Job::worker_configuration() const {
  config::RunConfig config = setup_.config;
  config.run.device = setup_.device;
  config.train.precision = choose_precision(setup_);  // config.model.precision follows where it is read
  if (!setup_.initial_weights.empty()) config.model.initial_weights = setup_.initial_weights.string();
  return config::to_text(config);
}

CheckpointPlan Job::checkpoint_plan() const {
  return {.directory = run_ / kCheckpoints,
          .kept = {.last = setup_.config.checkpoint.keep_last,
                   .every = setup_.config.checkpoint.keep_every,
                   .step = training::decay_begin(setup_.config.optimizer, setup_.total_steps),
                   .keeps_best = setup_.config.checkpoint.keep_best},
          .interval_seconds = setup_.config.checkpoint.interval_seconds,
          .configuration = config::to_text(setup_.config),
          .parameters = table_};
}

sharding::MemoryLabel Job::memory_label() const {
  return {.run_id = setup_.run_id,
          .run_directory = fs::absolute(run_).string(),
          .configuration = config::to_text(setup_.config),
          .rank = group_.rank(),
          .world_size = group_.size(),
          .padded_size = partition_.padded_size(),
          .range_size = partition_.range_size(),
          .arrays = arrays_of_slots()};
}

int Job::arrays_of_slots() const {
  return sharding::ExchangeMemory::arrays_for(setup_.config.optimizer.ema_decay);
}

// Whose copies this rank keeps; nullopt: there are none.
std::optional<std::vector<int>> Job::copied_ranks() const {
  if (!has_copies(setup_.config, world_)) return std::nullopt;
  return copy_sources(world_.nodes, group_.rank());
}

// Whether a next start finds the snapshots, which takes those of all ranks. Collective.
bool Job::settle_memory() {
  const std::vector<std::string> problems = group_.all_gather(shared_.problem());
  const auto problem = std::ranges::find_if(problems, [](const std::string& text) { return !text.empty(); });
  if (problem == problems.end()) return true;
  shared_.forget_with_job();
  if (group_.rank() == 0) {
    base::log_warning("rank " + std::to_string(problem - problems.begin()) + ": " + *problem +
                      ": if this whole job is killed, or its mpirun, all steps since the last checkpoint are computed "
                      "again; more room there, or another memory file system in KANGPT_SHM, avoids that");
  }
  return false;
}

// Copies are of use only where those of all ranks have a place. Collective.
CopyPlan Job::settle_copies() {
  if (!has_copies(setup_.config, world_)) return {};
  const std::vector<std::string> problems = group_.all_gather(shared_.copies_problem());
  const auto problem = std::ranges::find_if(problems, [](const std::string& text) { return !text.empty(); });
  if (problem != problems.end()) {
    shared_.drop_copies();
    if (group_.rank() == 0) {
      base::log_warning("no copies of snapshots on other nodes, since rank " +
                        std::to_string(problem - problems.begin()) + " has no place for them: " + *problem +
                        "; if a node is lost, all steps since the last checkpoint are computed again");
    }
    return {};
  }
  CopyPlan plan{.holder = copy_holder(world_.nodes, group_.rank()),
                .held = {},
                .interval_steps = setup_.config.checkpoint.copy_interval_steps};
  for (const KeptCopy& copy : shared_.copies())
    plan.held.push_back({copy.label.rank, sharding::exchange_memory(copy.memory.bytes(), copy.label)});
  return plan;
}

void Job::open_log() {
  from_rank_zero(group_, [this] {
    begin_record(setup_, world_, log_);
    return std::string();
  });
}

void Job::close_log(ExitCode code) {
  group_.attend_while([&] {
    if (log_) end_record(setup_, code, *log_);
  });
}

// Unless it is all there is of the last steps. Collective.
void Job::give_memory_back() {
  const std::string error = group_.broadcast(checkpoints_.last_error());  // rank 0 knows
  if (error.empty()) return shared_.remove();
  if (group_.rank() != 0) return;
  base::log_error("the last checkpoint could not be written; the older ones in " + run_.string() + " are kept" +
                  (shared_.outlives_job()
                       ? ", and so is what is in memory: once the disk can be written again, the same "
                         "command goes on from there"
                       : ""));
}

// What fault.inject has done in earlier starts, as rank 0's log knows it.
std::uint64_t Job::fired_faults() {
  return std::stoull(group_.broadcast(log_ ? std::to_string(log_->fired_faults()) : ""));
}

void Job::report(const CheckpointOutcome& outcome) {
  if (outcome.error.empty()) {
    log_->event("checkpoint", {{"step", outcome.step}, {"bytes", outcome.bytes}, {"seconds", outcome.seconds}});
  } else {
    log_->event("checkpoint_failed", {{"step", outcome.step}, {"cause", outcome.error}},
                "the checkpoint of step " + std::to_string(outcome.step) +
                    " could not be written, the older ones are kept: " + outcome.error);
  }
}

// Loads the checkpoint that `start` names, or the newest one before it that every rank can read, which it names then.
// Its state; nullopt where it names none. Collective.
std::optional<io::TrainingState> Job::load(StartPoint& start) {
  while (!start.checkpoint.empty()) {
    const ExitCode code = common_code(group_, guarded(group_, [&] { read_range(start.checkpoint); }));
    if (code == ExitCode::kDone) return start.state;
    StartPoint older = find_start_below(start.state.step);
    if (group_.rank() == 0) {
      const std::string left = start.checkpoint.string() + " is left where it is, since not every rank can read it; ";
      older.checkpoint.empty()
          ? base::log_error(left +
                            "there is none before it, so this start ends; the same command goes on from it once "
                            "it can be read")
          : base::log_warning(left + "taking " + older.checkpoint.filename().string() + ": " +
                              std::to_string(start.state.step - older.state.step) + " step(s) are computed again");
    }
    if (older.checkpoint.empty()) throw EndedElsewhere{code};
    start = std::move(older);
  }
  return std::nullopt;
}

// After a crash without a snapshot in memory. Collective.
std::optional<io::TrainingState> Job::load_newest() {
  StartPoint newest = find_start_below(io::kNoLimit);
  return load(newest);
}

// For a job that has begun: whatever checkpoint.resume says. Collective.
StartPoint Job::find_start_below(std::uint64_t step) {
  const std::string text = from_rank_zero(group_, [&] {
    CheckedJob job = setup_;
    job.notes.clear();  // those were said at the start
    job.config.checkpoint.resume = config::Resume::kAuto;
    const StartedJob started = find_start(std::move(job), world_, BadCheckpoints::kMoveAway, step);
    say_notes(started);
    return to_text(static_cast<const StartPoint&>(started));
  });
  return start_from_text(text, run_);
}

// This rank's range of a checkpoint into slot 0. An average that is new begins with the parameters, as go_on() has it.
void Job::read_range(const fs::path& folder) {
  const io::Checkpoint checkpoint(folder, io::Checkpoint::Verify::kManifest);
  const sharding::ExchangeMemory::Slot slot = memory_.slot(0);
  const std::uint64_t begin = partition_.range(group_.rank()).begin;
  checkpoint.read(begin, slot.parameters, slot.first_moment, slot.second_moment);
  if (slot.average.empty()) return;
  checkpoint.has_average() ? checkpoint.read_average(begin, slot.average)
                           : void(std::ranges::copy(slot.parameters, slot.average.begin()));
}

// The code with which the job ends where a worker failed with this one: what it could not read may have gone since the
// start, on this machine alone. So it is opened anew. Collective.
ExitCode Job::end_code(ExitCode code) {
  if (!is_of_input(code)) return code;
  const ExitCode now = common_code(group_, guarded(group_, [this] {
                                     JobSetup again = setup_;
                                     again.sources = open_data(again.config.data);
                                     require_inputs(again);
                                   }));
  return now == ExitCode::kGaveUp ? now : code;
}

void say_notes(const CheckedJob& job) {
  std::istringstream notes(job.notes);
  for (std::string line; std::getline(notes, line);) base::log_warning(line);
}

}  // namespace kangpt::launcher
