#include "launcher/job/launch.hpp"

#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <utility>

#include "base/file.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "base/paths.hpp"
#include "base/processor.hpp"
#include "base/spinning.hpp"
#include "base/usable_processors.hpp"
#include "launcher/agent/agent.hpp"
#include "launcher/job/agreement.hpp"
#include "launcher/job/gpu_probe.hpp"
#include "launcher/job/job_record.hpp"
#include "launcher/job/job_setup.hpp"
#include "launcher/job/placement.hpp"
#include "launcher/job/plan.hpp"
#include "launcher/job/run_lock.hpp"
#include "launcher/job/slurm_job.hpp"
#include "model/parameter_layout.hpp"

namespace kangpt::launcher {
namespace {

void log_products(const JobSetup& setup) {
  const bool is_bfloat16 =
      setup.device == config::Device::kCuda || base::bfloat16_products() != base::Bfloat16Products::kNone;
  (is_bfloat16 ? base::log_info : base::log_warning)("matrix products " + describe_products(setup));
}

void say_notes(const JobSetup& setup) {
  std::istringstream notes(setup.notes);
  for (std::string line; std::getline(notes, line);) base::log_warning(line);
}

namespace fs = std::filesystem;

// RAM and swap; 0 where the system does not say.
std::uint64_t memory_here() {
  struct sysinfo facts {};
  if (::sysinfo(&facts) != 0) return 0;
  return (std::uint64_t{facts.totalram} + facts.totalswap) * facts.mem_unit;
}

World find_world(sharding::MpiGroup& group, const std::vector<int>& cpus) {
  World world{.size = group.size(), .cpus = 0, .ranks_here = group.local_size(), .memory_bytes = memory_here()};
  const int mine = group.local_rank() == 0 ? base::usable_processors(static_cast<int>(cpus.size())) : 0;
  for (const std::string& count : group.all_gather(std::to_string(mine))) {
    world.cpus += std::stoi(count);
  }
  return world;
}

// Collective: the first rank's problem, or none.
std::string find_gpu_problem(sharding::MpiGroup& group, const fs::path& program_folder) {
  for (const std::string& problem : group.all_gather(gpu_problem(program_folder, probe_gpus(), group.local_rank()))) {
    if (!problem.empty()) return problem;
  }
  return "";
}

// One job's pieces on this rank, from the agreed set-up to the end of training.
class Job {
 public:
  Job(sharding::MpiGroup& group, StopSignals& signals, JobSetup setup, World world)
      : group_(group),
        signals_(signals),
        setup_(std::move(setup)),
        world_(world),
        run_(setup_.config.run.directory),
        table_(model::parameter_layout(setup_.config.model)),
        partition_(table_.flat_size, static_cast<int>(setup_.state.logical_shards), group.size()),
        shared_(base::SharedMemory::create(
            "kangpt", sharding::ExchangeMemory::size_bytes(partition_.padded_size(), partition_.range_size()))),
        memory_(shared_.bytes(), partition_.padded_size(), partition_.range_size()),
        exchanges_(group, memory_),
        checkpoints_(group, partition_, checkpoint_plan(),
                     [this](const CheckpointOutcome& outcome) { report(outcome); }) {}

  ExitCode run(const fs::path& program_folder, const std::vector<int>& cpus) {
    std::function<std::string(std::uint64_t)> describe_batch;
    require_of_all(group_, [&] {
      require_inputs(setup_);
      describe_batch = batch_describer(setup_);
    });
    const std::optional<io::TrainingState> loaded = load(setup_);
    open_log();
    const int threads = static_cast<int>(setup_.state.threads);
    AgentOptions options{.worker_program = program_folder / (on_gpu() ? kGpuWorker : "kangpt_worker"),
                         .command = {.memory_fd = shared_.fd(),
                                     .cpus = worker_cpus(cpus, group_.local_rank(), group_.local_size(), threads)},
                         .fresh_order = {.rank = group_.rank(),
                                         .world_size = group_.size(),
                                         .local_rank = group_.local_rank(),
                                         .fired_faults = fired_faults(),
                                         .state = fresh_state()},
                         .configuration = worker_configuration(),
                         .max_restarts = setup_.config.fault.max_restarts,
                         .no_progress_limit = setup_.config.fault.no_progress_limit,
                         .hang_timeout_seconds = setup_.config.fault.hang_timeout_seconds,
                         .crash_file = run_ / ("crash-rank-" + std::to_string(group_.rank()) + ".txt"),
                         .load_checkpoint = [this] { return load_newest(); },
                         .describe_batch = std::move(describe_batch),
                         .end_code = [this](ExitCode code) { return end_code(code); }};
    const AgentParts parts{group_, memory_, exchanges_, checkpoints_, signals_, log_ ? &*log_ : nullptr};
    const ExitCode code = Agent(parts, std::move(options), loaded).run();
    group_.attend_while([&] {
      if (log_) end_record(setup_, code, *log_);
    });
    if (code == ExitCode::kIo && !checkpoints_.last_error().empty())  // rank 0 knows
      base::log_error("the last checkpoint could not be written; the older ones in " + run_.string() + " are kept");
    return code;
  }

 private:
  bool on_gpu() const noexcept { return setup_.device == config::Device::kCuda; }

  // The device and the place of the first weights are settled in it.
  std::string worker_configuration() const {
    config::RunConfig config = setup_.config;
    config.run.device = setup_.device;
    if (!setup_.initial_weights.empty()) config.model.initial_weights = setup_.initial_weights.string();
    return config::to_text(config);
  }

  CheckpointPlan checkpoint_plan() const {
    return {.directory = run_ / "checkpoints",
            .keep_last = setup_.config.checkpoint.keep_last,
            .keep_every = setup_.config.checkpoint.keep_every,
            .interval_seconds = setup_.config.checkpoint.interval_seconds,
            .configuration = config::to_text(setup_.config),
            .parameters = table_};
  }

  io::TrainingState fresh_state() const {
    io::TrainingState state{.seed = setup_.state.seed, .dataset_fingerprint = setup_.state.dataset_fingerprint};
    state.batch_size = setup_.state.batch_size;
    state.logical_shards = setup_.state.logical_shards;
    state.threads = setup_.state.threads;
    return state;
  }

  void open_log() {
    from_rank_zero(group_, [this] {
      begin_record(setup_, world_, log_);
      return std::string();
    });
  }

  // What fault.inject has done in earlier starts, as rank 0's log knows it.
  std::uint64_t fired_faults() {
    return std::stoull(group_.broadcast(log_ ? std::to_string(log_->fired_faults()) : ""));
  }

  // This rank's range of a checkpoint into slot 0.
  void read_range(const fs::path& folder) {
    const io::Checkpoint checkpoint(folder, io::Checkpoint::Verify::kManifest);
    const sharding::ExchangeMemory::Slot slot = memory_.slot(0);
    checkpoint.read(partition_.range(group_.rank()).begin, slot.parameters, slot.first_moment, slot.second_moment);
  }

  // Loads setup.checkpoint, or the newest one before it that every rank can read, and says so in `setup`. Its state;
  // nullopt where setup names none. Collective.
  std::optional<io::TrainingState> load(JobSetup& setup) {
    while (!setup.checkpoint.empty()) {
      const ExitCode code = common_code(group_, guarded(group_, [&] { read_range(setup.checkpoint); }));
      if (code == ExitCode::kDone) return setup.state;
      const JobSetup older = find_checkpoint_below(setup.state.step);
      if (group_.rank() == 0) {
        const std::string left = setup.checkpoint.string() + " is left where it is, since not every rank can read it; ";
        older.checkpoint.empty()
            ? base::log_error(left +
                              "there is none before it, so this start ends; the same command goes on from it once "
                              "it can be read")
            : base::log_warning(left + "taking " + older.checkpoint.filename().string() + ": " +
                                std::to_string(setup.state.step - older.state.step) + " step(s) are computed again");
      }
      if (older.checkpoint.empty()) throw EndedElsewhere{code};
      setup.checkpoint = older.checkpoint;
      setup.state = older.state;
    }
    return std::nullopt;
  }

  // The newest checkpoint below a step, for a job that has begun: whatever checkpoint.resume says. Collective.
  JobSetup find_checkpoint_below(std::uint64_t step) {
    return setup_from_text(from_rank_zero(group_, [&] {
      JobSetup setup = setup_;
      setup.checkpoint.clear();
      setup.notes.clear();
      setup.config.checkpoint.resume = config::Resume::kAuto;
      find_checkpoint(setup, world_, BadCheckpoints::kMoveAway, step);
      say_notes(setup);
      return to_text(setup);
    }));
  }

  // After a crash without a snapshot in memory. Collective.
  std::optional<io::TrainingState> load_newest() {
    JobSetup found = find_checkpoint_below(io::kNoLimit);
    return load(found);
  }

  // The code with which the job ends where a worker failed with this one. Collective.
  ExitCode end_code(ExitCode code) {
    if (!is_of_input(code)) return code;
    const ExitCode now = common_code(group_, guarded(group_, [this] { require_inputs(setup_); }));
    return now == ExitCode::kGaveUp ? now : code;
  }

  void report(const CheckpointOutcome& outcome) {
    if (outcome.error.empty()) {
      log_->event("checkpoint", {{"step", outcome.step}, {"bytes", outcome.bytes}, {"seconds", outcome.seconds}});
    } else {
      log_->event("checkpoint_failed", {{"step", outcome.step}, {"cause", outcome.error}},
                  "the checkpoint of step " + std::to_string(outcome.step) +
                      " could not be written, the older ones are kept: " + outcome.error);
    }
  }

  sharding::MpiGroup& group_;
  StopSignals& signals_;
  JobSetup setup_;
  World world_;
  fs::path run_;
  base::ParameterTable table_;
  sharding::Partition partition_;
  base::SharedMemory shared_;
  sharding::ExchangeMemory memory_;
  ExchangeRunner exchanges_;
  CheckpointWriter checkpoints_;
  std::optional<RunLog> log_;
};

// Open MPI waits for ever for processes that it could not give its own files to.
void require_file_size() {
  constexpr rlim_t kNeededBytes = 4 << 20;
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur >= kNeededBytes) return;
  throw_io_error("Open MPI can't make its files of " + base::format_bytes(kNeededBytes), "in TMPDIR", EFBIG);
}

int train_or_plan(const LaunchOptions& options, const fs::path& program_folder, sharding::MpiGroup& group,
                  StopSignals& signals) {
  const std::vector<int> cpus = job_cpus();
  World world = find_world(group, cpus);
  if (options.action == LaunchOptions::Action::kTrain) world.gpu_problem = find_gpu_problem(group, program_folder);
  JobSetup setup;
  read_on_rank_zero(group, [&] {
    setup = check_job(config::load_configuration(options.config_file, options.overrides).values, world);
  });
  std::optional<RunLock> lock;
  std::string plan_problem;
  const std::string text = from_rank_zero(group, [&] {
    if (options.action == LaunchOptions::Action::kPlan) {
      find_checkpoint(setup, world, BadCheckpoints::kLeave);
      find_initial_weights(setup);
      base::check_can_make(setup.config.run.directory);
      plan_problem = memory_problem(setup, world);
      return describe_plan(setup, world);
    }
    choose_device(setup, world);
    lock.emplace(setup.config.run.directory);
    if (setup.config.checkpoint.resume == config::Resume::kNever && is_requeued(setup.config.run.directory)) {
      setup.config.checkpoint.resume = config::Resume::kAuto;
      base::log_info("checkpoint.resume is NEVER, but Slurm put this job back into the queue: going on with its run");
    }
    find_checkpoint(setup, world, BadCheckpoints::kMoveAway);
    find_initial_weights(setup);
    require_memory(setup, world);
    if (is_done(setup)) {
      leave_record(setup);
      return std::string();
    }
    say_notes(setup);
    for (const std::string& warning : config::warnings(setup.config)) base::log_warning(warning);
    if (setup.config.train.precision == config::Precision::kBf16) log_products(setup);
    return to_text(setup);
  });
  if (options.action == LaunchOptions::Action::kPlan) {
    if (group.rank() == 0) std::fputs(text.c_str(), stdout);
    from_rank_zero(group, [&]() -> std::string {
      if (!plan_problem.empty()) throw ConfigError(plan_problem);
      return "";
    });
    return static_cast<int>(ExitCode::kDone);
  }
  if (text.empty()) return static_cast<int>(ExitCode::kDone);
  std::optional<Job> job;
  require_of_all(group, [&] { job.emplace(group, signals, setup_from_text(text), world); });
  return static_cast<int>(job->run(program_folder, cpus));
}

}  // namespace

int launch(const LaunchOptions& options, const std::string& program_folder) {
  require_file_size();
  base::flush_denormals();  // as in workers, so that gradients have the same sums here; before there are other threads
  base::limit_spinning();
  StopSignals signals;
  sharding::MpiGroup group;
  base::start_log("kangpt_dist" + (group.rank() == 0 ? std::string() : "[rank " + std::to_string(group.rank()) + "]"));
  try {
    return train_or_plan(options, program_folder, group, signals);
  } catch (const EndedElsewhere& end) {
    return static_cast<int>(end.code);
  } catch (const Error& error) {  // an error that only this rank has: the others can't agree any more
    base::log_error(error.what() + std::string(" (on ") + host_name() + ")");
    const bool others_may_do = group.size() > 1 && is_of_input(error.exit_code());
    group.abort(static_cast<int>(others_may_do ? ExitCode::kGaveUp : error.exit_code()));
  } catch (const std::exception& error) {
    base::log_error(std::string("internal error: ") + error.what());
    group.abort(static_cast<int>(ExitCode::kInternal));
  }
}

}  // namespace kangpt::launcher
