#include "launcher/job/launch.hpp"

#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/file.hpp"
#include "base/format.hpp"
#include "base/launched_rank.hpp"
#include "base/log.hpp"
#include "base/paths.hpp"
#include "base/processor/processor.hpp"
#include "base/processor/spinning.hpp"
#include "base/processor/usable_processors.hpp"
#include "launcher/job/agreement.hpp"
#include "launcher/job/gpu_probe.hpp"
#include "launcher/job/job.hpp"
#include "launcher/job/job_record.hpp"
#include "launcher/job/left_snapshots.hpp"
#include "launcher/job/placement.hpp"
#include "launcher/job/plan.hpp"
#include "launcher/job/run_id.hpp"
#include "launcher/job/run_lock.hpp"
#include "launcher/job/setup_text.hpp"
#include "launcher/job/slurm_job.hpp"
#include "sharding/memory_file.hpp"

namespace kangpt::launcher {
namespace {

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
  world.nodes = find_nodes(group);
  return world;
}

// Collective.
GpuShares find_gpus(sharding::MpiGroup& group, const fs::path& program_folder) {
  std::vector<GpuProbe> probes;
  for (const std::string& text : group.all_gather(to_text(probe_gpus_for(program_folder))))
    probes.push_back(probe_from_text(text));
  return share_gpus(probes);
}

// What all ranks do alike: rank 0 for all of them. Its result; nothing on the others. Collective.
std::optional<CheckedJob> check_job_on_rank_zero(sharding::MpiGroup& group, const LaunchOptions& options,
                                                 const World& world) {
  std::optional<CheckedJob> job;
  read_on_rank_zero(group, [&] {
    job = check_job(config::load_configuration(options.config_file, options.overrides).values, world);
  });
  return job;
}

void print_plan(sharding::MpiGroup& group, std::optional<CheckedJob> job, const World& world) {
  std::string problem;
  const std::string text = from_rank_zero(group, [&] {
    const auto device = config::Device::kCpu;  // a plan may be made on a machine without GPUs
    const JobSetup setup = settle(find_start(std::move(*job), world, BadCheckpoints::kLeave), device);
    base::check_can_make(setup.config.run.directory);
    problem = memory_problem(setup, world);
    return describe_plan(setup, world);
  });
  if (group.rank() == 0) std::fputs(text.c_str(), stdout);
  from_rank_zero(group, [&]() -> std::string {
    if (!problem.empty()) throw ConfigError(problem);
    return "";
  });
}

// A job that Slurm started again goes on with the run that its first start began.
void follow_slurm(config::RunConfig& config) {
  if (config.checkpoint.resume != config::Resume::kNever || !is_requeued(config.run.directory)) return;
  config.checkpoint.resume = config::Resume::kAuto;
  base::log_info("checkpoint.resume is NEVER, but Slurm put this job back into the queue: going on with its run");
}

void say_how(const JobSetup& setup) {
  say_notes(setup);
  for (const std::string& warning : config::warnings(setup.config)) base::log_warning(warning);
  const bool on_gpu = setup.device == config::Device::kCuda;
  const config::Precision precision = choose_precision(setup);
  if (on_gpu && precision == config::Precision::kFp32)
    base::log_info("matrix products in fp32, which GPUs compute many times slower than --set train.precision=BF16");
  if (precision != config::Precision::kBf16) return;
  const bool is_bfloat16 = on_gpu || base::bfloat16_products() != base::Bfloat16Products::kNone;
  (is_bfloat16 ? base::log_info : base::log_warning)("matrix products " + describe_products(setup));
}

// Before anything else is done there. The run's id, then the directory.
std::string take_directory(CheckedJob& job, const World& world, std::optional<RunLock>& lock) {
  choose_device(job.config, world);  // nothing is made for a job that can't begin
  lock.emplace(job.config.run.directory);
  follow_slurm(job.config);
  return run_id(job.config.run.directory) + job.config.run.directory;
}

// What is to be done in the run directory; nothing where all steps are done.
std::optional<JobSetup> settle_in_directory(CheckedJob job, const World& world) {
  const config::Device device = choose_device(job.config, world);
  JobSetup setup = settle(find_start(std::move(job), world, BadCheckpoints::kMoveAway), device);
  setup.run_id = run_id(setup.config.run.directory);
  require_memory(setup, world);
  if (is_done(setup)) {
    leave_record(setup);
    return std::nullopt;
  }
  say_how(setup);
  return setup;
}

struct Place {
  fs::path program_folder;
  std::vector<int> cpus;  // of this node
  World world;
};

void save_left_snapshots_of(sharding::MpiGroup& group, const Nodes& nodes, const std::string& run) {
  save_left_snapshots(group, run.substr(sharding::kRunIdDigits), run.substr(0, sharding::kRunIdDigits),
                      is_first_of_node(nodes, group.rank()) ? Voice::kOfNode : Voice::kSilent);
}

// Of all nodes of this job, which may be more than can train. Collective.
void save_memory(sharding::MpiGroup& group, const LaunchOptions& options) {
  std::optional<RunLock> lock;
  const std::string run = from_rank_zero(group, [&]() -> std::string {
    const fs::path directory = config::load_configuration(options.config_file, options.overrides).values.run.directory;
    const std::string id = existing_run_id(directory);
    if (!id.empty()) lock.emplace(directory);
    return id.empty() ? "" : id + directory.string();
  });
  const Nodes nodes = find_nodes(group);
  if (!run.empty()) save_left_snapshots_of(group, nodes, run);
}

ExitCode train(sharding::MpiGroup& group, StopSignals& signals, std::optional<CheckedJob> checked, const Place& place) {
  std::optional<RunLock> lock;
  const std::string run = from_rank_zero(group, [&] { return take_directory(*checked, place.world, lock); });
  save_left_snapshots_of(group, place.world.nodes, run);
  std::optional<JobSetup> setup;
  const std::string text = from_rank_zero(group, [&] {
    setup = settle_in_directory(std::move(*checked), place.world);
    return setup ? to_text(*setup) : "";
  });
  if (text.empty()) return ExitCode::kDone;
  std::optional<Job> job;
  require_of_all(group,
                 [&] { job.emplace(group, signals, setup ? std::move(*setup) : setup_from_text(text), place.world); });
  return job->run(place.program_folder, place.cpus);
}

ExitCode train_or_plan(const LaunchOptions& options, const fs::path& program_folder, sharding::MpiGroup& group,
                       StopSignals& signals) {
  if (options.action == LaunchOptions::Action::kSaveMemory) {
    save_memory(group, options);
    return ExitCode::kDone;
  }
  const bool trains = options.action == LaunchOptions::Action::kTrain;
  const std::vector<int> cpus = job_cpus();
  World world = find_world(group, cpus);
  if (trains) world.gpus = find_gpus(group, program_folder);
  std::optional<CheckedJob> job = check_job_on_rank_zero(group, options, world);
  if (trains) return train(group, signals, std::move(job), {program_folder, cpus, world});
  print_plan(group, std::move(job), world);
  return ExitCode::kDone;
}

// Open MPI waits for ever for processes that it could not give its own files to.
void require_file_size() {
  constexpr rlim_t kNeededBytes = 4 << 20;
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur >= kNeededBytes) return;
  throw_io_error("Open MPI can't make its files of " + base::format_bytes(kNeededBytes), "in TMPDIR", EFBIG);
}

}  // namespace

int launch(const LaunchOptions& options, const std::string& program_folder) {
  require_file_size();
  base::flush_denormals();  // as in workers, so that gradients have the same sums here; before there are other threads
  base::limit_spinning();
  StopSignals signals;
  const auto launched = base::launched_rank();  // before MPI starts, which adds what a job of one rank would see
  sharding::MpiGroup group;
  if (launched && launched->size > 1 && group.size() == 1) {
    if (launched->rank == 0) throw UsageError(mixture_problem(*launched, group.library()));
    return static_cast<int>(ExitCode::kUsage);
  }
  base::start_log("kangpt_dist" + (group.rank() == 0 ? std::string() : "[rank " + std::to_string(group.rank()) + "]"));
  try {
    return static_cast<int>(train_or_plan(options, program_folder, group, signals));
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
