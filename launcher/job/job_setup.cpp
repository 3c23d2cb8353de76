#include "launcher/job/job_setup.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "base/processor.hpp"
#include "base/version.hpp"
#include "config/context_window.hpp"
#include "config/fault_plan.hpp"
#include "data_pipeline/tokenizer/prompt.hpp"
#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "launcher/job/batch_options.hpp"
#include "launcher/job/changed_settings.hpp"
#include "launcher/job/run_length.hpp"
#include "launcher/job/validation_text.hpp"
#include "launcher/record/run_summary.hpp"
#include "model/parameter_layout.hpp"
#include "model/weight_source.hpp"
#include "sharding/agent_protocol.hpp"
#include "sharding/partition.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kCheckpoints = "checkpoints";

void check_vocabulary(const config::RunConfig& config, const data::DatasetFacts& facts) {
  const auto expected = static_cast<std::uint64_t>(config.model.vocabulary_size);
  if (facts.vocabulary_size == expected) return;
  throw ConfigError("the tokens in " + data_directories(config.data) + " come from a vocabulary of " +
                    std::to_string(facts.vocabulary_size) + ", but model.vocabulary_size is " +
                    std::to_string(expected) + "; set model.vocabulary_size=" + std::to_string(facts.vocabulary_size) +
                    " or use other data");
}

// Samples are written with the GPT-2 vocabulary of the cache. Returns a note, or nothing.
std::string check_samples(const config::RunConfig& config, const data::DatasetFacts& facts) {
  if (config.log.sample_interval_steps == 0) return "";
  const data::Vocabulary vocabulary = data::Vocabulary::load(data::find_vocabulary(""));
  if (vocabulary.sha256() == facts.vocabulary_sha256) {
    const std::string excess = data::prompt_excess(data::prompt_tokens(vocabulary, config.log.sample_prompt).size(),
                                                   config::context_window_tokens(config.data));
    return excess.empty() ? "" : "log.sample_prompt " + excess + "\n";
  }
  throw ConfigError("the tokens in " + data_directories(config.data) +
                    " come from another vocabulary than GPT-2's, so that no text can be written with them; set "
                    "log.sample_interval_steps=0");
}

void check_faults(const config::RunConfig& config, const World& world) {
  for (const config::FaultInjection& fault : config::parse_fault_injections(config.fault.inject)) {
    if (fault.rank < world.size) continue;
    throw ConfigError("fault.inject names rank " + std::to_string(fault.rank) + ", but the ranks are 0 to " +
                      std::to_string(world.size - 1));
  }
}

void use_logical_shards(JobSetup& setup, const World& world, int logical_shards) {
  const sharding::Partition partition(1, logical_shards, world.size);  // throws where they don't fit
  if (setup.config.train.batch_size % logical_shards != 0) {
    throw ConfigError("train.batch_size is " + std::to_string(setup.config.train.batch_size) + ", which " +
                      std::to_string(partition.logical_shards()) +
                      " logical shards can't share equally; valid: a multiple of " + std::to_string(logical_shards));
  }
  setup.state.logical_shards = static_cast<std::uint32_t>(logical_shards);
  const int threads =
      setup.config.run.threads > 0 ? setup.config.run.threads : std::max(1, world.cpus / logical_shards);
  setup.state.threads = static_cast<std::uint32_t>(threads);
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

// With which settings the run has come so far. Imported weights have none.
void compare_settings(JobSetup& setup, const config::RunConfig& theirs, const io::Checkpoint& checkpoint) {
  const io::TrainingState& state = checkpoint.manifest().state;
  if (state.dataset_fingerprint == 0) return;
  const StartSettings before{.config = theirs,
                             .total_steps = run_length_steps(theirs.train, setup.batches_per_epoch),
                             .program_version = checkpoint.manifest().program_version,
                             .training_data = data::to_hexadecimal(state.dataset_fingerprint),
                             .validation_data = read_history(setup.config.run.directory).validation_data};
  const StartSettings now{.config = setup.config,
                          .total_steps = setup.total_steps,
                          .program_version = base::project_version(),
                          .training_data = data::to_hexadecimal(setup.state.dataset_fingerprint),
                          .validation_data = setup.validation_data};
  setup.changes = changed_settings(before, now, state.step);
  for (const std::string& line : describe_changes(setup.changes, before, now, state.step)) setup.notes += line + "\n";
}

// What a checkpoint of imported weights leaves undecided is for this start to choose.
io::TrainingState decided(io::TrainingState state, const io::TrainingState& start) {
  if (state.logical_shards == 0) state.logical_shards = start.logical_shards;
  if (state.threads == 0) state.threads = start.threads;
  if (state.dataset_fingerprint == 0) state.dataset_fingerprint = start.dataset_fingerprint;
  return state;
}

void adopt(JobSetup& setup, const World& world, const io::Checkpoint& checkpoint) {
  const io::TrainingState state = decided(checkpoint.manifest().state, setup.state);
  const std::string new_run = "keep that value, or start another run: --set run.directory=PATH";
  require_same_network(setup.config.model, checkpoint);
  const config::RunConfig theirs = config::parse_configuration(checkpoint.manifest().configuration,
                                                               "configuration in " + checkpoint.folder().string())
                                       .values;
  require_same("run.seed", state.seed, setup.config.run.seed, new_run);
  require_same("train.batch_size", state.batch_size, setup.state.batch_size, new_run);
  if (setup.config.train.logical_shards != 0) {
    require_same("train.logical_shards", state.logical_shards, setup.state.logical_shards, new_run);
  }
  if (!setup.config.data.accept_changed && state.dataset_fingerprint != setup.state.dataset_fingerprint) {
    throw ConfigError("the data in " + data_directories(setup.config.data) + " are not those that " +
                      checkpoint.folder().string() +
                      " was trained on; bring back the old data, or accept the new: --set data.accept_changed=true");
  }
  compare_settings(setup, theirs, checkpoint);
  const std::uint64_t fingerprint = setup.state.dataset_fingerprint;
  use_logical_shards(setup, world, static_cast<int>(state.logical_shards));
  const std::uint32_t threads = setup.config.run.threads > 0 ? setup.state.threads : state.threads;
  if (threads != state.threads) {
    setup.notes += "run.threads changes from " + std::to_string(state.threads) + " to " + std::to_string(threads) +
                   ": results may differ in their last bits from here on\n";
  }
  setup.state = state;
  setup.state.threads = threads;
  setup.state.dataset_fingerprint = fingerprint;
  setup.checkpoint = checkpoint.folder();
}

fs::path check_initial_weights(const fs::path& place, const config::ModelConfig& model) {
  try {
    return model::check_first_weights(place, model);
  } catch (const Error& error) {
    throw Error(error.exit_code(), std::string("model.initial_weights: ") + error.what());
  }
}

std::optional<io::Checkpoint> newest_checkpoint(JobSetup& setup, BadCheckpoints bad, std::uint64_t below_step) {
  const fs::path run = setup.config.run.directory;
  // Said at once: setup.notes would be lost where none is good.
  if (bad == BadCheckpoints::kMoveAway)
    return io::newest_valid_checkpoint(run / kCheckpoints, base::log_warning, below_step);
  try {
    return io::open_checkpoint(run);
  } catch (const MissingInputError&) {
    return std::nullopt;
  }
}

// Identifies what is validated on: weights of sources don't matter there.
std::string validation_data(const config::RunConfig& config) {
  std::vector<std::string> fingerprints;
  for (const data::DataSource& source : data_sources(config.data)) {
    const data::DatasetFacts facts = data::dataset_facts(source.directory, data::kValidationSplit);
    fingerprints.push_back(data::to_hexadecimal(facts.fingerprint));
  }
  return base::join(fingerprints, "+");
}

}  // namespace

JobSetup check_job(const config::RunConfig& config, const World& world) {
  check_faults(config, world);
  const data::DatasetFacts facts = data::dataset_facts(data_sources(config.data));
  check_vocabulary(config, facts);
  JobSetup setup{.config = config};
  setup.notes += check_samples(config, facts);
  setup.state.seed = config.run.seed;
  setup.state.batch_size = static_cast<std::uint64_t>(config.train.batch_size);
  setup.state.dataset_fingerprint = facts.fingerprint;
  use_logical_shards(setup, world, config.train.logical_shards != 0 ? config.train.logical_shards : world.size);
  const auto batches =
      data::open_batches(batch_options(config, static_cast<int>(setup.state.logical_shards), data::kTrainSplit));
  setup.batches_per_epoch = batches->batches_per_epoch();
  setup.total_steps = run_length_steps(config.train, setup.batches_per_epoch);
  if (data::have_split(data_sources(config.data), data::kValidationSplit)) {
    setup.validation_bytes_per_token = validation_bytes_per_token(config);
    setup.validation_data = validation_data(config);
  } else {
    setup.notes +=
        "the data have no validation split, so there is no validation; kangpt_preprocess --validation FILE makes one\n";
  }
  return setup;
}

void choose_device(JobSetup& setup, const World& world) {
  const config::Device wanted = setup.config.run.device;
  if (wanted == config::Device::kCuda && !world.gpu_problem.empty()) {
    throw ConfigError("run.device is CUDA, but " + world.gpu_problem + "; valid here: AUTO, CPU");
  }
  setup.device =
      wanted == config::Device::kCpu || !world.gpu_problem.empty() ? config::Device::kCpu : config::Device::kCuda;
}

std::string describe_products(const JobSetup& setup) {
  if (setup.config.train.precision == config::Precision::kFp32) return "in fp32";
  if (setup.device == config::Device::kCuda) return "in bfloat16 by the GPU";
  const base::Bfloat16Products products = base::bfloat16_products();
  if (products != base::Bfloat16Products::kNone) return "in bfloat16 by " + std::string(base::name_of(products));
  return "in fp32: train.precision is BF16, but this processor has neither AVX512-BF16 nor AMX";
}

void find_checkpoint(JobSetup& setup, const World& world, BadCheckpoints bad, std::uint64_t below_step) {
  if (setup.config.checkpoint.resume == config::Resume::kNever) return;
  const std::optional<io::Checkpoint> checkpoint = newest_checkpoint(setup, bad, below_step);
  if (checkpoint) return adopt(setup, world, *checkpoint);
  if (setup.config.checkpoint.resume == config::Resume::kRequired) {
    throw CheckpointError("there is no checkpoint in " + setup.config.run.directory +
                          ", and checkpoint.resume is REQUIRED; valid: AUTO, NEVER, REQUIRED");
  }
}

void find_initial_weights(JobSetup& setup) {
  const std::string& given = setup.config.model.initial_weights;
  if (given.empty() || !setup.checkpoint.empty()) return;
  setup.initial_weights = check_initial_weights(given, setup.config.model);
}

bool is_done(const JobSetup& setup) {
  return !setup.checkpoint.empty() && setup.state.step >= setup.total_steps;
}

void require_inputs(const JobSetup& setup) {
  const auto shards = static_cast<int>(setup.state.logical_shards);
  data::open_batches(batch_options(setup.config, shards, data::kTrainSplit));
  if (data::have_split(data_sources(setup.config.data), data::kValidationSplit))
    data::open_batches(batch_options(setup.config, shards, data::kValidationSplit));
  if (!setup.initial_weights.empty()) check_initial_weights(setup.initial_weights, setup.config.model);
}

std::function<std::string(std::uint64_t)> batch_describer(const JobSetup& setup) {
  const auto shards = static_cast<int>(setup.state.logical_shards);
  return [samples_of =
              data::samples_of_batches(batch_options(setup.config, shards, data::kTrainSplit))](std::uint64_t batch) {
    std::string text = "batch " + std::to_string(batch) + ": samples";
    for (const std::uint64_t sample : samples_of(batch)) text += " " + std::to_string(sample);
    return text;
  };
}

// The state, a line of JSON, the place of the initial weights, the configuration. Paths, which may hold any bytes,
// stand in the last two alone.
std::string to_text(const JobSetup& setup) {
  json changes = json::array();
  for (const config::FieldChange& change : setup.changes) changes.push_back({change.field, change.before, change.now});
  const std::string weights = setup.initial_weights.string();
  const json head{{"checkpoint", setup.checkpoint.filename().string()},
                  {"initial_weights_bytes", weights.size()},
                  {"total_steps", setup.total_steps},
                  {"on_gpu", setup.device == config::Device::kCuda},
                  {"validation_bytes_per_token", setup.validation_bytes_per_token},
                  {"validation_data", setup.validation_data},
                  {"changes", changes}};
  return std::string(sharding::as_payload(setup.state)) + head.dump(-1, ' ', false, json::error_handler_t::replace) +
         "\n" + weights + config::to_text(setup.config);
}

JobSetup setup_from_text(const std::string& text) {
  JobSetup setup;
  setup.state = sharding::from_payload<io::TrainingState>(text);
  const std::size_t end = text.find('\n', sizeof setup.state);
  const json head = json::parse(text.substr(sizeof setup.state, end - sizeof setup.state));
  const std::size_t weights_bytes = head.at("initial_weights_bytes");
  setup.initial_weights = text.substr(end + 1, weights_bytes);
  setup.config = config::parse_configuration(text.substr(end + 1 + weights_bytes)).values;
  const std::string checkpoint = head.at("checkpoint");
  if (!checkpoint.empty()) setup.checkpoint = fs::path(setup.config.run.directory) / kCheckpoints / checkpoint;
  setup.total_steps = head.at("total_steps");
  setup.device = head.at("on_gpu") ? config::Device::kCuda : config::Device::kCpu;
  setup.validation_bytes_per_token = head.at("validation_bytes_per_token");
  setup.validation_data = head.at("validation_data");
  for (const json& change : head.at("changes")) setup.changes.push_back({change.at(0), change.at(1), change.at(2)});
  return setup;
}

}  // namespace kangpt::launcher
