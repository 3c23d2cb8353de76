#include "tools/preprocess/preprocess_program.hpp"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/version.hpp"
#include "data_pipeline/preprocess/preprocess.hpp"
#include "data_pipeline/shards/dataset.hpp"
#include "data_pipeline/tokenizer/vocabulary_files.hpp"
#include "data_pipeline/tokenizer/vocabulary_trainer.hpp"
#include "launcher/command_line.hpp"
#include "tools/preprocess/inspect.hpp"
#include "tools/text_options.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;

constexpr char kExamples[] = R"(Examples:
  kangpt_preprocess --input TinyStories-train.txt --validation TinyStories-valid.txt --output data/tinystories
  kangpt_preprocess --input stories.txt --train-vocabulary 8192 --output data/stories
  kangpt_preprocess verify data/tinystories
  kangpt_preprocess show data/tinystories --story 0)";

struct Arguments {
  data::PreprocessRequest request;
  std::string directory;
  std::string split = data::kTrainSplit;
  std::int64_t story = -1;
  bool force = false;
};

void add_making(CLI::App& app, Arguments& arguments) {
  data::PreprocessRequest& request = arguments.request;
  app.add_option("--input", request.inputs, kInputHelp);
  app.add_option("--validation", request.validation, "The same, for the validation split");
  app.add_option("--output", request.output, "Data directory to make");
  app.add_option("--vocabulary", request.options.vocabulary,
                 "tokenizer.json, vocab.json with merges.txt beside it, vocab.bpe, merges.txt or .tiktoken (default: "
                 "GPT-2's, from the cache)");
  app.add_option("--train-vocabulary", request.options.train_vocabulary,
                 "Make a vocabulary of so many tokens from --input first, and take that")
      ->check(CLI::Range(data::kSmallestTrainedVocabulary, data::kMaximumTokens));
  app.add_option("--workers", request.workers,
                 "Encoding threads (default: one a core); the output is the same for any number")
      ->check(CLI::Range(1, 1024));
  app.add_option("--shard-tokens", request.options.shard_tokens, "Largest shard")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 32))
      ->capture_default_str();
  add_text_options(app, request.options);
  app.add_flag("--deduplicate", request.options.deduplicate, "Leave out stories that stood before, word for word");
  app.add_flag("--force", arguments.force, "Replace other data in the output directory");
}

data::Vocabulary vocabulary_of(const Arguments& arguments) {
  const std::string& given = arguments.request.options.vocabulary;
  if (given.empty() && fs::exists(arguments.directory)) {
    const std::string sha256 = data::open_manifest(arguments.directory).vocabulary_sha256;
    if (std::optional<data::Vocabulary> kept = data::kept_vocabulary(arguments.directory, sha256)) return *kept;
  }
  return data::Vocabulary::load(data::find_vocabulary(given));
}

void show(const Arguments& arguments) {
  const data::Vocabulary vocabulary = vocabulary_of(arguments);
  if (arguments.story < 0) return show_directory(arguments.directory, vocabulary);
  const auto story = static_cast<std::uint64_t>(arguments.story);
  std::printf("%s\n", story_text(arguments.directory, arguments.split, story, vocabulary).c_str());
}

void run(const CLI::App& app, Arguments& arguments) {
  if (app.got_subcommand("verify")) return verify_directory(arguments.directory);
  if (app.got_subcommand("show")) return show(arguments);
  if (arguments.request.inputs.empty()) throw UsageError("--input FILE... is missing\nSee kangpt_preprocess --help");
  if (arguments.request.output.empty()) throw UsageError("--output DIR is missing\nSee kangpt_preprocess --help");
  if (arguments.force) arguments.request.existing = data::Existing::kReplace;
  data::preprocess(arguments.request);
}

}  // namespace

int preprocess_program(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Turns text into HDF5 shards of GPT-2 tokens.");
  app.footer(kExamples);
  app.set_version_flag("--version", base::version_text("kangpt_preprocess"));
  add_making(app, arguments);
  CLI::App* const verify = app.add_subcommand("verify", "Re-check every checksum, count and token");
  verify->add_option("DIR", arguments.directory, "Data directory")->required();
  CLI::App* const show = app.add_subcommand("show", "What is in a data directory");
  show->add_option("DIR", arguments.directory, "Data directory")->required();
  show->add_option("--story", arguments.story, "Print this story")->check(CLI::NonNegativeNumber);
  show->add_option("--split", arguments.split, "train or validation")
      ->check(CLI::IsMember({data::kTrainSplit, data::kValidationSplit}))
      ->capture_default_str();
  show->add_option("--vocabulary", arguments.request.options.vocabulary,
                   "The vocabulary the data was made with (default: the one that it keeps)");
  if (launcher::parse_arguments(app, argc, argv)) run(app, arguments);
  return 0;
}

}  // namespace kangpt::tools
