#include "launcher/job/job_record.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "config/fault_plan.hpp"
#include "config/field_values.hpp"
#include "data_pipeline/batches/data_vocabulary.hpp"
#include "launcher/job/agreement.hpp"
#include "launcher/job/run_blocks.hpp"
#include "launcher/job/slurm_job.hpp"
#include "launcher/record/earlier_run.hpp"
#include "launcher/record/run_summary.hpp"
#include "launcher/report/run_report.hpp"
#include "model/parameters/model_cost.hpp"
#include "model/parameters/parameter_layout.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool is_new_run(const JobSetup& setup) {
  return setup.config.checkpoint.resume == config::Resume::kNever;
}

std::vector<std::string> fault_names(const JobSetup& setup) {
  std::vector<std::string> names;
  for (const config::FaultInjection& fault : config::parse_fault_injections(setup.config.fault.inject)) {
    names.push_back(to_string(fault));
  }
  return names;
}

// Newest first, as in the checkpoint.
std::vector<std::uint64_t> left_out_batches(const JobSetup& setup) {
  const io::LeftOutBatches& left_out = setup.state.left_out;
  return {left_out.newest.begin(), left_out.newest.begin() + left_out.count};
}

json changed_settings(const JobSetup& setup) {
  json changes = json::array();
  for (const config::FieldChange& change : setup.changes) {
    changes.push_back({{"field", change.field}, {"before", change.before}, {"now", change.now}});
  }
  return changes;
}

// Said because a missing GPU makes training many times slower.
std::string where(const JobSetup& setup, const World& world) {
  if (setup.device == config::Device::kCuda) return "a GPU each";
  const bool fell_back = setup.config.run.device == config::Device::kAuto;
  return fell_back ? "on the CPU (run.device is AUTO, and " + world.gpus.problem + ")" : "on the CPU";
}

std::string start_message(const JobSetup& setup, const World& world) {
  const std::string from = setup.checkpoint.empty() ? "a fresh start" : "going on from " + setup.checkpoint.string();
  return "training " + base::format_count(model::parameter_layout(setup.config.model).parameter_count) +
         " parameters on " + std::to_string(world.size) + " rank(s) x " + std::to_string(setup.state.threads) +
         " thread(s), " + where(setup, world) + ", " + base::format_count(setup.total_steps) + " steps, in " +
         setup.config.run.directory + ": " + from + start_block(setup);
}

// A run that begins from nothing must not write over what an earlier one measured.
std::vector<std::string> set_aside(const JobSetup& setup) {
  if (!setup.checkpoint.empty()) return {};
  const std::string& run = setup.config.run.directory;
  const auto checkpoints = is_new_run(setup) ? EarlierCheckpoints::kSetAside : EarlierCheckpoints::kLeave;
  const std::vector<std::string> aside = set_aside_earlier_run(run, checkpoints);
  if (aside.empty()) return aside;
  const std::string why =
      is_new_run(setup) ? "checkpoint.resume is NEVER" : "there is no checkpoint in " + run + " to go on from";
  base::log_warning(why + ", so this run begins anew; what an earlier start left is now in " + run + " as " +
                    base::join(aside, ", "));
  return aside;
}

std::string how_it_was_stopped(const fs::path& run) {
  const std::vector<fs::path> checkpoints = io::list_checkpoints(run / kCheckpoints);
  return checkpoints.empty() ? "stopped by a signal before there was a step to save; the same command begins anew"
                             : "stopped by a signal after a checkpoint, " + checkpoints.front().string() +
                                   "; the same command goes on from it";
}

}  // namespace

void begin_record(const JobSetup& setup, const World& world, std::optional<RunLog>& log) {
  const fs::path run = setup.config.run.directory;
  const std::uint64_t logged = is_new_run(setup) ? 0 : last_logged_step(run);
  const std::vector<std::string> aside = set_aside(setup);
  if (is_new_run(setup)) remember_slurm_job(run);  // not before: what it would go on with is another run's until then
  base::write_file_atomically(run / "config.textproto", config::to_text(setup.config));
  if (const std::optional<data::Vocabulary> vocabulary = data::vocabulary_of(setup.sources))
    data::keep_vocabulary(*vocabulary, run, data::OtherVocabularies::kRemove);
  log.emplace(RunLogOptions{.directory = run,
                            .total_steps = setup.total_steps,
                            .interval_steps = setup.config.log.interval_steps,
                            .world_size = world.size,
                            .validation_bytes_per_token = setup.validation_bytes_per_token,
                            .tensorboard = setup.config.log.tensorboard,
                            .settings = config::field_values(setup.config),
                            .flops_per_token = model::flops_per_token(setup.config.model).total(),
                            .trace = setup.config.log.profile,
                            .faults = fault_names(setup),
                            .is_new_run = is_new_run(setup)},
              setup.state.step);
  log->event("start",
             {{"step", setup.state.step},
              {"steps_lost", logged - std::min(logged, setup.state.step)},
              {"world_size", world.size},
              {"logical_shards", setup.state.logical_shards},
              {"threads", setup.state.threads},
              {"device", setup.device == config::Device::kCuda ? "CUDA" : "CPU"},
              {"new_run", is_new_run(setup)},
              {"left_out_batches", left_out_batches(setup)},
              {"changed_settings", changed_settings(setup)},
              {"set_aside", aside},
              {"validation_data", setup.validation_data},
              {"version", base::project_version()},
              {"host", host_name()}},
             start_message(setup, world));
}

void end_record(const JobSetup& setup, ExitCode code, RunLog& log) {
  const std::string& run = setup.config.run.directory;
  log.event("end", {{"step", log.last_step()}, {"exit_code", static_cast<int>(code)}});
  log.finish();
  if (code == ExitCode::kDone) {
    const io::Checkpoint checkpoint = io::open_checkpoint(run);
    const std::string digest = write_summary(run, checkpoint);
    base::log_info("done: " + base::format_count(checkpoint.manifest().state.step) + " steps, digest " + digest +
                   results_block(setup) + next_commands(setup));
  }
  if (code == ExitCode::kStopped) base::log_info(how_it_was_stopped(run) + results_block(setup));
  report::write_end_report(run);
}

void leave_record(const JobSetup& setup) {
  const std::string& run = setup.config.run.directory;
  const bool has_all = setup.state.step >= setup.total_steps;
  base::log_info("nothing to do, already at step " + std::to_string(setup.state.step) + ", and " +
                 (has_all ? std::to_string(setup.total_steps) + " are asked for; "
                          : "the last " + std::to_string(setup.state.validations_since_best) +
                                " validations were no better than that of step " +
                                std::to_string(setup.state.best_step) + "; ") +
                 run + " is left as it is; to train on, raise " +
                 (has_all ? "train.steps, or train.epochs where that is 0" : "train.patience"));
  if (lacks_summary_of(setup.state.step, run)) write_summary(run, io::open_checkpoint(run));
}

}  // namespace kangpt::launcher
