#include "launcher/job/job_setup.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "base/processor/processor.hpp"
#include "base/version.hpp"
#include "config/context_window.hpp"
#include "config/fault_plan.hpp"
#include "data_pipeline/batches/data_vocabulary.hpp"
#include "data_pipeline/tokenizer/prompt.hpp"
#include "launcher/job/batch_options.hpp"
#include "launcher/job/changed_settings.hpp"
#include "launcher/job/run_length.hpp"
#include "launcher/job/validation_text.hpp"
#include "launcher/record/run_summary.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "model/parameters/weight_source.hpp"
#include "sharding/partition.hpp"
#include "training/patience.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;

// model.vocabulary_size 0 becomes that of the data.
void settle_vocabulary_size(config::RunConfig& config, const std::vector<data::OpenedSource>& sources,
                            const data::DatasetFacts& facts) {
  if (config.model.vocabulary_size == 0) config.model.vocabulary_size = static_cast<int>(facts.vocabulary_size);
  const auto expected = static_cast<std::uint64_t>(config.model.vocabulary_size);
  if (facts.vocabulary_size == expected) return;
  throw ConfigError("the tokens in " + data::directories(sources) + " come from a vocabulary of " +
                    std::to_string(facts.vocabulary_size) + ", but model.vocabulary_size is " +
                    std::to_string(expected) + "; set model.vocabulary_size=" + std::to_string(facts.vocabulary_size) +
                    ", or 0 for as many as the data have, or use other data");
}

// Samples are written with the vocabulary of the data. Returns a note, or nothing.
std::string check_samples(const config::RunConfig& config, const std::vector<data::OpenedSource>& sources) {
  if (config.log.sample_interval_steps == 0) return "";
  if (const std::optional<data::Vocabulary> vocabulary = data::vocabulary_of(sources)) {
    const std::string excess = data::prompt_excess(data::prompt_tokens(*vocabulary, config.log.sample_prompt).size(),
                                                   config::context_window_tokens(config.data));
    return excess.empty() ? "" : "log.sample_prompt " + excess + "\n";
  }
  throw ConfigError("the tokens in " + data::directories(sources) +
                    " come from a vocabulary that is neither there nor GPT-2's in the cache, so that no text can be "
                    "written with them; make the data again with kangpt_preprocess, which keeps it there, or set "
                    "log.sample_interval_steps=0");
}

void check_faults(const config::RunConfig& config, const World& world) {
  for (const config::FaultInjection& fault : config::parse_fault_injections(config.fault.inject)) {
    if (fault.rank < world.size) continue;
    throw ConfigError("fault.inject names rank " + std::to_string(fault.rank) + ", but the ranks are 0 to " +
                      std::to_string(world.size - 1));
  }
}

void check_logical_shards(const config::RunConfig& config, const World& world, std::uint32_t logical_shards) {
  const auto shards = static_cast<int>(logical_shards);
  const sharding::Partition partition(1, shards, world.size);  // throws where they don't fit
  if (config.train.batch_size % shards == 0) return;
  throw ConfigError("train.batch_size is " + std::to_string(config.train.batch_size) + ", which " +
                    std::to_string(partition.logical_shards()) +
                    " logical shards can't share equally; valid: a multiple of " + std::to_string(shards));
}

// One that is new begins with the weights there.
std::uint64_t averaged_weights(const config::RunConfig& config, std::uint64_t before) {
  return config.optimizer.ema_decay > 0 ? std::max<std::uint64_t>(before, 1) : 0;
}

io::TrainingState fresh_state(const config::RunConfig& config, const World& world, std::uint64_t fingerprint) {
  const int shards = config.train.logical_shards != 0 ? config.train.logical_shards : world.size;
  const int threads = config.run.threads > 0 ? config.run.threads : std::max(1, world.cpus / shards);
  return {.seed = config.run.seed,
          .dataset_fingerprint = fingerprint,
          .batch_size = static_cast<std::uint64_t>(config.train.batch_size),
          .logical_shards = static_cast<std::uint32_t>(shards),
          .threads = static_cast<std::uint32_t>(threads),
          .averaged_weights = averaged_weights(config, 0)};
}

// A checkpoint's value and the configuration's, where they have to be the same.
void require_same(const std::string& what, std::uint64_t in_checkpoint, std::uint64_t configured,
                  const std::string& advice) {
  if (in_checkpoint == configured) return;
  throw ConfigError("the checkpoint was made with " + what + " " + std::to_string(in_checkpoint) + ", this start has " +
                    std::to_string(configured) + "; " + advice);
}

void require_same_network(const config::ModelConfig& mine, const io::Checkpoint& checkpoint) {
  const std::string difference = model::difference_from(mine, checkpoint);
  if (difference.empty()) return;
  throw ConfigError(
      checkpoint.folder().string() + " holds another network than the configuration describes: " + difference +
      " as there; use the configuration of that run, or another one's directory: --set run.directory=PATH");
}

// What this start says otherwise than the settings with which the run has come so far, which imported weights don't
// have: in the job and its notes.
void compare_settings(StartedJob& job, const config::RunConfig& theirs, const io::CheckpointManifest& manifest) {
  const io::TrainingState& state = manifest.state;
  if (state.dataset_fingerprint == 0) return;
  const StartSettings before{.config = theirs,
                             .total_steps = run_length_steps(theirs.train, job.batches_per_epoch),
                             .program_version = manifest.program_version,
                             .training_data = data::to_hexadecimal(state.dataset_fingerprint),
                             .validation_data = read_history(job.config.run.directory).validation_data};
  const StartSettings now{.config = job.config,
                          .total_steps = job.total_steps,
                          .program_version = base::project_version(),
                          .training_data = data::to_hexadecimal(job.fresh_state.dataset_fingerprint),
                          .validation_data = job.validation_data};
  job.changes = changed_settings(before, now, state.step);
  for (const std::string& line : describe_changes(job.changes, before, now, state.step)) job.notes += line + "\n";
}

// What a checkpoint of imported weights leaves undecided is for this start to choose.
io::TrainingState decided(io::TrainingState state, const io::TrainingState& start) {
  if (state.logical_shards == 0) state.logical_shards = start.logical_shards;
  if (state.threads == 0) state.threads = start.threads;
  if (state.dataset_fingerprint == 0) state.dataset_fingerprint = start.dataset_fingerprint;
  return state;
}

void require_same_run(const CheckedJob& job, const io::TrainingState& state, const fs::path& checkpoint) {
  const config::RunConfig& mine = job.config;
  const std::string new_run = "keep that value, or start another run: --set run.directory=PATH";
  require_same("run.seed", state.seed, mine.run.seed, new_run);
  require_same("train.batch_size", state.batch_size, job.fresh_state.batch_size, new_run);
  if (mine.train.logical_shards != 0) {
    require_same("train.logical_shards", state.logical_shards, job.fresh_state.logical_shards, new_run);
  }
  if (!mine.data.accept_changed && state.dataset_fingerprint != job.fresh_state.dataset_fingerprint) {
    throw ConfigError("the data in " + data::directories(job.sources) + " are not those that " + checkpoint.string() +
                      " was trained on; bring back the old data, or accept the new: --set data.accept_changed=true");
  }
}

StartedJob go_on(CheckedJob job, const World& world, const io::Checkpoint& checkpoint) {
  require_same_network(job.config.model, checkpoint);
  const config::RunConfig theirs = config::parse_configuration(checkpoint.manifest().configuration,
                                                               "configuration in " + checkpoint.folder().string())
                                       .values;
  const io::TrainingState saved = decided(checkpoint.manifest().state, job.fresh_state);
  require_same_run(job, saved, checkpoint.folder());
  StartedJob started{std::move(job), {checkpoint.folder(), saved}, {}};
  compare_settings(started, theirs, checkpoint.manifest());
  check_logical_shards(started.config, world, saved.logical_shards);
  const int threads = started.config.run.threads;
  if (threads > 0 && static_cast<std::uint32_t>(threads) != saved.threads) {
    started.state.threads = static_cast<std::uint32_t>(threads);
    started.notes += "run.threads changes from " + std::to_string(saved.threads) + " to " + std::to_string(threads) +
                     ": results may differ in their last bits from here on\n";
  }
  started.state.dataset_fingerprint = started.fresh_state.dataset_fingerprint;
  started.state.averaged_weights = averaged_weights(started.config, saved.averaged_weights);
  started.fresh_state.logical_shards = started.state.logical_shards;
  started.fresh_state.threads = started.state.threads;
  return started;
}

fs::path check_initial_weights(const fs::path& place, const config::ModelConfig& model) {
  try {
    return model::check_first_weights(place, model);
  } catch (const Error& error) {
    throw Error(error.exit_code(), std::string("model.initial_weights: ") + error.what());
  }
}

std::optional<io::Checkpoint> newest_checkpoint(const fs::path& run, BadCheckpoints bad, std::uint64_t below_step) {
  // Said at once: notes would be lost where none is good.
  if (bad == BadCheckpoints::kMoveAway)
    return io::newest_valid_checkpoint(run / kCheckpoints, base::log_warning, below_step);
  try {
    return io::open_checkpoint(run);
  } catch (const MissingInputError&) {
    return std::nullopt;
  }
}

// Identifies what is validated on: weights of sources don't matter there.
std::string validation_data(const std::vector<data::OpenedSource>& sources) {
  std::vector<std::string> fingerprints;
  for (const data::OpenedSource& source : sources) {
    fingerprints.push_back(data::to_hexadecimal(data::dataset_facts(source, data::kValidationSplit).fingerprint));
  }
  return base::join(fingerprints, "+");
}

data::BatchOptions batches_of(const CheckedJob& job, const io::TrainingState& state, const std::string& split) {
  return batch_options(job.config, job.sources, static_cast<int>(state.logical_shards), split);
}

}  // namespace

bool has_copies(const config::RunConfig& config, const World& world) {
  return config.checkpoint.copy_interval_steps > 0 && count_nodes(world.nodes) > 1;
}

CheckedJob check_job(const config::RunConfig& config, const World& world) {
  check_faults(config, world);
  CheckedJob job{.config = config, .sources = open_data(config.data)};
  const data::DatasetFacts facts = data::dataset_facts(job.sources);
  settle_vocabulary_size(job.config, job.sources, facts);
  job.notes = check_samples(config, job.sources);
  job.fresh_state = fresh_state(config, world, facts.fingerprint);
  check_logical_shards(config, world, job.fresh_state.logical_shards);
  job.batches_per_epoch = data::open_batches(batches_of(job, job.fresh_state, data::kTrainSplit))->batches_per_epoch();
  job.total_steps = run_length_steps(config.train, job.batches_per_epoch);
  if (data::have_split(job.sources, data::kValidationSplit)) {
    job.validation_bytes_per_token = validation_bytes_per_token(config, job.sources);
    job.validation_data = validation_data(job.sources);
  } else {
    job.notes +=
        "the data have no validation split, so there is no validation; kangpt_preprocess --validation FILE makes one, "
        "data.holdout=0.01 takes the last stories for it\n";
  }
  return job;
}

config::Device choose_device(const config::RunConfig& config, const World& world) {
  const config::Device wanted = config.run.device;
  const std::string& problem = world.gpus.problem;
  if (wanted == config::Device::kCpu) return config::Device::kCpu;
  if (world.gpus.is_out_of_order) {
    throw Error(
        ExitCode::kGaveUp,
        problem + "; the same command on another node goes on, and with --set run.device=CPU it does without GPUs");
  }
  if (wanted == config::Device::kCuda && !problem.empty())
    throw ConfigError("run.device is CUDA, but " + problem + "; valid here: AUTO, CPU");
  return problem.empty() ? config::Device::kCuda : config::Device::kCpu;
}

config::Precision choose_precision(const JobSetup& setup) {
  const config::Precision wanted = setup.config.train.precision;
  if (wanted != config::Precision::kAuto) return wanted;
  return setup.device == config::Device::kCuda ? config::Precision::kBf16 : config::Precision::kFp32;
}

std::string describe_products(const JobSetup& setup) {
  if (choose_precision(setup) == config::Precision::kFp32) return "in fp32";
  if (setup.device == config::Device::kCuda) return "in bfloat16 by the GPU";
  const base::Bfloat16Products products = base::bfloat16_products();
  if (products != base::Bfloat16Products::kNone) return "in bfloat16 by " + std::string(base::name_of(products));
  return "in fp32: train.precision is BF16, but this processor has neither AVX512-BF16 nor AMX";
}

StartedJob find_start(CheckedJob job, const World& world, BadCheckpoints bad, std::uint64_t below_step) {
  const config::Resume resume = job.config.checkpoint.resume;
  const std::string& run = job.config.run.directory;
  const std::optional<io::Checkpoint> checkpoint =
      resume == config::Resume::kNever ? std::nullopt : newest_checkpoint(run, bad, below_step);
  if (checkpoint) return go_on(std::move(job), world, *checkpoint);
  if (resume == config::Resume::kRequired) {
    throw CheckpointError("there is no checkpoint in " + run +
                          ", and checkpoint.resume is REQUIRED; valid: AUTO, NEVER, REQUIRED");
  }
  const io::TrainingState state = job.fresh_state;
  return {std::move(job), {"", state}, {}};
}

JobSetup settle(StartedJob job, config::Device device) {
  const std::string& given = job.config.model.initial_weights;
  const bool needs_weights = !given.empty() && job.checkpoint.empty();
  const fs::path weights = needs_weights ? check_initial_weights(given, job.config.model) : fs::path();
  JobSetup setup{std::move(job)};
  setup.device = device;
  setup.initial_weights = weights;
  return setup;
}

bool is_done(const StartedJob& job) {
  if (job.checkpoint.empty()) return false;
  return job.state.step >= job.total_steps || training::is_out_of_patience(job.state, job.config.train.patience);
}

BatchDescriber require_inputs(const JobSetup& setup) {
  auto samples_of = data::samples_of_batches(batches_of(setup, setup.state, data::kTrainSplit));
  if (data::have_split(setup.sources, data::kValidationSplit))
    data::open_batches(batches_of(setup, setup.state, data::kValidationSplit));
  if (!setup.initial_weights.empty()) check_initial_weights(setup.initial_weights, setup.config.model);
  return [samples_of = std::move(samples_of)](std::uint64_t batch) {
    std::string text = "batch " + std::to_string(batch) + ": samples";
    for (const std::uint64_t sample : samples_of(batch)) text += " " + std::to_string(sample);
    return text;
  };
}

}  // namespace kangpt::launcher
