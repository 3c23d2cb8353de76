#include "tools/vocabulary/vocabulary_program.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/version.hpp"
#include "data_pipeline/preprocess/vocabulary_training.hpp"
#include "data_pipeline/text/input_files.hpp"
#include "data_pipeline/tokenizer/vocabulary_files.hpp"
#include "data_pipeline/tokenizer/vocabulary_trainer.hpp"
#include "launcher/command_line.hpp"
#include "tools/text_options.hpp"

namespace kangpt::tools {
namespace {

constexpr char kExamples[] = R"(Examples:
  kangpt_vocabulary train --input stories.txt --size 8192 --output tokenizer.json
  kangpt_preprocess --input stories.txt --vocabulary tokenizer.json --output data/stories)";

struct Arguments {
  data::VocabularyRequest request;
  std::string output = "tokenizer.json";
};

bool is_merges_name(const data::fs::path& file) {
  return file.extension() == ".bpe" || file.extension() == ".txt";
}

void train(Arguments& arguments) {
  const data::fs::path output = arguments.output;
  if (output.extension() != ".json" && !is_merges_name(output)) {
    throw UsageError("--output " + arguments.output +
                     " has no known ending; valid: .json (a tokenizer.json), .bpe or .txt (a list of merges)");
  }
  data::VocabularyRequest& request = arguments.request;
  request.files = data::expand_inputs(request.files, output).files;
  const data::Vocabulary vocabulary = data::train_vocabulary(request);
  if (output.has_parent_path()) base::make_directories(output.parent_path());
  base::write_file_atomically(output,
                              is_merges_name(output) ? data::merges_text(vocabulary) : vocabulary.file().content);
  std::printf("written to %s\n", output.c_str());
}

void add_train(CLI::App& app, Arguments& arguments) {
  CLI::App* const train = app.add_subcommand("train", "Byte-level BPE with GPT-2's splitting of text into words");
  data::VocabularyRequest& request = arguments.request;
  train->add_option("--input", request.files, kInputHelp)->required();
  train->add_option("--size", request.size, "Tokens, all 256 bytes and <|endoftext|> included")
      ->check(CLI::Range(data::kSmallestTrainedVocabulary, data::kMaximumTokens))
      ->required();
  train->add_option("--output", arguments.output, "File to write: NAME.json, or NAME.bpe or .txt for its merges alone")
      ->capture_default_str();
  train
      ->add_option("--workers", request.workers,
                   "Counting threads (default: one a core); the vocabulary is the same for any number")
      ->check(CLI::Range(1, 1024));
  add_text_options(*train, request.options);
}

}  // namespace

int vocabulary_program(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Makes a vocabulary of its own for a text.");
  app.footer(kExamples);
  app.set_version_flag("--version", base::version_text("kangpt_vocabulary"));
  app.require_subcommand(1);
  add_train(app, arguments);
  if (launcher::parse_arguments(app, argc, argv)) train(arguments);
  return 0;
}

}  // namespace kangpt::tools
