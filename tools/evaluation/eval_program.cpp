#include "tools/evaluation/eval_program.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/progress_line.hpp"
#include "base/version.hpp"
#include "data_pipeline/batches/data_vocabulary.hpp"
#include "data_pipeline/batches/observed_batches.hpp"
#include "launcher/command_line.hpp"
#include "launcher/job/batch_options.hpp"
#include "operations/computing.hpp"
#include "sharding/local_communicator.hpp"
#include "tools/trained_network.hpp"
#include "training/validation.hpp"

namespace kangpt::tools {
namespace {

constexpr char kExamples[] = R"(
PATH is a run directory (its newest valid checkpoint), a checkpoint folder, a .safetensors file or a folder of an export.

Examples:
  kangpt_eval --checkpoint runs/tinystories_kan --data data/tinystories
  kangpt_eval --checkpoint runs/tinystories_kan --data data/tinystories --split train --mode story --json)";

const std::map<std::string, config::DataMode> kModes = {
    {"packed", config::DataMode::kPacked}, {"story", config::DataMode::kStory}, {"padded", config::DataMode::kPadded}};

struct Arguments {
  NetworkSource source;
  std::string data;
  std::string split = data::kValidationSplit;
  std::string mode;  // empty: the configuration's
  std::string vocabulary;
  int threads = 0;
  bool json = false;
};

struct Evaluation {
  operations::LossSum sum;
  double text_bytes = 0;
  bool exact_bytes = false;
  double seconds = 0;

  double loss() const { return sum.loss / std::max(sum.tokens, 1.0); }
  double bits_per_byte() const { return sum.loss / std::numbers::ln2 / text_bytes; }
};

void add_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--checkpoint", arguments.source.path, "Where the weights are")->required();
  app.add_option("--data", arguments.data, "Folder that kangpt_preprocess wrote")->required();
  app.add_option("--split", arguments.split, "validation or train")
      ->check(CLI::IsMember({data::kValidationSplit, data::kTrainSplit}))
      ->capture_default_str();
  app.add_option("--mode", arguments.mode, "packed, story or padded (default: as in training)")
      ->transform(CLI::IsMember(kModes, CLI::ignore_case));
  app.add_flag("--json", arguments.json, "Print one JSON object");
  app.add_option("--config", arguments.source.config_file, "Configuration of a .safetensors file that names no model");
  app.add_flag("--average", arguments.source.average,
               "Of a checkpoint: the average of the weights, which optimizer.ema_decay keeps");
  app.add_option(
      "--vocabulary", arguments.vocabulary,
      "The vocabulary the data were made with (default: the one in their folder, else GPT-2's from the cache)");
  app.add_option("--threads", arguments.threads, "CPU threads (default: one a core)")->check(CLI::Range(1, 1024));
}

// The vocabulary of the data if it is at hand. One that was named has to be it.
std::optional<data::Vocabulary> vocabulary_for(const std::vector<data::OpenedSource>& sources,
                                               const Arguments& arguments) {
  if (arguments.vocabulary.empty()) return data::vocabulary_of(sources);
  data::Vocabulary vocabulary = data::Vocabulary::load(data::find_vocabulary(arguments.vocabulary));
  if (vocabulary.sha256() == sources.at(0).manifest.vocabulary_sha256) return vocabulary;
  throw DataError(arguments.data + " was made with another vocabulary file than " + arguments.vocabulary);
}

// Says how far an evaluation is.
class EvaluationProgress {
 public:
  explicit EvaluationProgress(std::uint64_t batches) : batches_(batches) {}

  // All batches before `batch` are done.
  void show(std::uint64_t batch) {
    const double done = static_cast<double>(batch) / static_cast<double>(batches_);
    line_.show({done,
                {{"batch " + base::format_count(batch) + "/" + base::format_count(batches_), 1},
                 {batch == 0 ? "" : "  ETA " + base::format_duration(seconds() * (1 - done) / done), 0}}});
  }
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::uint64_t batches_;
  base::ProgressLine line_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

Evaluation evaluate(const TrainedNetwork& trained, const data::BatchOptions& options, const Arguments& arguments) {
  const data::DatasetFacts facts = data::dataset_facts(options.sources, options.split);
  const std::optional<data::Vocabulary> vocabulary = vocabulary_for(options.sources, arguments);
  std::unique_ptr<training::BatchSource> source = data::open_batches(options);
  EvaluationProgress progress(source->batches_per_epoch());
  data::ObservedBatches batches(std::move(source), vocabulary ? &*vocabulary : nullptr,
                                [&](std::uint64_t batch) { progress.show(batch); });
  sharding::LocalCommunicator local;
  Evaluation result;
  result.sum = training::validation_loss(trained.network(), batches, {0, options.logical_shards}, local, 0);
  progress.show(batches.batches_per_epoch());
  result.exact_bytes = vocabulary.has_value();
  result.text_bytes =
      vocabulary ? static_cast<double>(batches.text_bytes()) : result.sum.tokens * facts.bytes_per_token;
  result.seconds = progress.seconds();
  return result;
}

// Rows of another mode have as many inputs as those that the network was trained with. STORY rows, which have one less
// than tokens, are long enough anyway.
data::BatchOptions options_for(const TrainedNetwork& trained, const Arguments& arguments) {
  if (arguments.data.empty()) throw UsageError("--data is empty; name a folder that kangpt_preprocess wrote");
  config::RunConfig config = trained.config();
  config.data.directory = arguments.data;
  config.data.sources.clear();
  if (!arguments.mode.empty()) config.data.mode = kModes.at(arguments.mode);
  if (config.data.mode != config::DataMode::kStory) config.data.sequence_length = trained.window_tokens();
  const int shards = config.train.batch_size % trained.logical_shards() == 0 ? trained.logical_shards() : 1;
  data::BatchOptions options = launcher::batch_options(config, shards, arguments.split);
  options.shuffle = config::Shuffle::kNone;
  options.tail = data::Tail::kMask;
  return options;
}

std::string mode_name(config::DataMode mode) {
  for (const auto& [name, value] : kModes) {
    if (value == mode) return name;
  }
  throw InternalError("unknown data mode");
}

void print_json(const Evaluation& e, const data::BatchOptions& options, const std::string& origin) {
  const nlohmann::ordered_json json = {{"loss", e.loss()},
                                       {"perplexity", std::exp(e.loss())},
                                       {"bits_per_byte", e.bits_per_byte()},
                                       {"tokens", static_cast<std::uint64_t>(e.sum.tokens)},
                                       {"text_bytes", e.text_bytes},
                                       {"bytes_from", e.exact_bytes ? "vocabulary" : "manifest"},
                                       {"mode", mode_name(options.mode)},
                                       {"split", options.split},
                                       {"data", options.sources.front().directory.string()},
                                       {"checkpoint", origin},
                                       {"seconds", e.seconds}};
  std::printf("%s\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

void print_text(const Evaluation& e, const data::BatchOptions& options, const std::string& origin) {
  std::printf("%s on the %s split of %s, mode %s\n", origin.c_str(), options.split.c_str(),
              options.sources.front().directory.c_str(), mode_name(options.mode).c_str());
  std::printf("  loss           %.6f nats per token\n", e.loss());
  std::printf("  perplexity     %.4f\n", std::exp(e.loss()));
  std::printf("  bits per byte  %.6f (%s)\n", e.bits_per_byte(),
              e.exact_bytes ? "bytes of the targets, counted with the vocabulary"
                            : "mean bytes per token of the split, since its vocabulary is not here");
  std::printf("  tokens         %s in %s\n", base::format_count(static_cast<std::uint64_t>(e.sum.tokens)).c_str(),
              base::format_duration(e.seconds).c_str());
}

}  // namespace

int eval_program(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Measures a trained network on a split: each sample once, in file order.");
  app.footer(kExamples);
  app.set_version_flag("--version", base::version_text("kangpt_eval"));
  add_options(app, arguments);
  if (!launcher::parse_arguments(app, argc, argv)) return 0;
  operations::start_computing(arguments.threads);
  const TrainedNetwork trained(arguments.source);
  const data::BatchOptions options = options_for(trained, arguments);
  const Evaluation evaluation = evaluate(trained, options, arguments);
  if (!std::isfinite(evaluation.loss())) {
    throw DataError("the loss of " + trained.origin() + " is not a finite number; its weights are damaged");
  }
  (arguments.json ? print_json : print_text)(evaluation, options, trained.origin());
  return 0;
}

}  // namespace kangpt::tools
