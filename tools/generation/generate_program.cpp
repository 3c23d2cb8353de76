#include "tools/generation/generate_program.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "data_pipeline/tokenizer/prompt.hpp"
#include "launcher/command_line.hpp"
#include "model/generation.hpp"
#include "operations/computing.hpp"
#include "tools/generation/text_writer.hpp"
#include "tools/trained_network.hpp"

namespace kangpt::tools {
namespace {

constexpr char kExamples[] = R"(
PATH is a run directory (its newest valid checkpoint), a checkpoint folder, a .safetensors file or a folder of an export.
In a prompt, <|endoftext|> is the token that ends a story: '<|endoftext|>Once' begins a story with "Once".

Examples:
  kangpt_generate --checkpoint runs/tinystories_kan --prompt 'Once upon a time'
  kangpt_generate --checkpoint runs/tinystories_kan --prompt 'The cat' --temperature 0
  kangpt_generate --checkpoint story.safetensors --prompt '' --count 3 --top-p 0.9 --seed 7
  kangpt_generate --checkpoint runs/tinystories_kan --prompt 'The cat' --prompt 'The dog' --json
  kangpt_generate --checkpoint runs/tinystories_kan --prompt - < beginning.txt
  kangpt_generate --checkpoint runs/tinystories_kan --interactive)";

struct Arguments {
  NetworkSource source;
  std::vector<std::string> prompts;
  std::string vocabulary;
  model::GenerationOptions generation{.sampling = {.temperature = 0.8, .top_k = 40}, .seed = 1, .max_tokens = 200};
  WriterOptions writer;
  bool interactive = false;
  int threads = 0;
};

// CLI11 itself takes -1 for 2^64 - 1, and that for everything above it.
std::string seed_problem(const std::string& text) {
  std::uint64_t seed = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, seed);
  if (read.ec == std::errc() && read.ptr == end) return "";
  return text + " is no whole number from 0 to 18446744073709551615";
}

void add_options(CLI::App& app, Arguments& arguments) {
  model::GenerationOptions& generation = arguments.generation;
  app.add_option("--checkpoint", arguments.source.path, "Where the weights are")->required();
  app.add_option(
         "--prompt", arguments.prompts,
         "How the text begins; '' lets the network begin a story, - reads standard input; may stand several times")
      ->allow_extra_args(false);
  app.add_flag("--interactive", arguments.interactive, "Each line of standard input is a prompt, until its end");
  app.add_flag("--json", arguments.writer.json,
               "One object a text and line: prompt, text, seed, end (end_of_text or tokens), prompt_ids, ids");
  app.add_option("--tokens", generation.max_tokens,
                 "Longest continuation in tokens; an end-of-text token ends it sooner")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  app.add_option("--temperature", generation.sampling.temperature, "0: always the most probable token; 1: as trained")
      ->check(CLI::Range(0.0, 1000.0))
      ->capture_default_str();
  app.add_option("--top-k", generation.sampling.top_k, "Choose among the K most probable tokens; 0: among all")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--top-p", generation.sampling.top_p,
                 "Choose among the fewest tokens that together have this probability; above 0, at most 1")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--seed", generation.seed, "The same seed gives the same text; sample i has seed S + i - 1")
      ->check(seed_problem)
      ->capture_default_str();
  app.add_option("--count", arguments.writer.count, "Number of samples of each prompt")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--config", arguments.source.config_file, "Configuration of a .safetensors file that names no model");
  app.add_flag("--average", arguments.source.average,
               "Of a checkpoint: the average of the weights, which optimizer.ema_decay keeps");
  app.add_option("--vocabulary", arguments.vocabulary,
                 "tokenizer.json, vocab.json, vocab.bpe, merges.txt or .tiktoken (default: the one that lies with the "
                 "weights, else GPT-2's from the cache)");
  app.add_option("--threads", arguments.threads, "CPU threads (default: one a core)")->check(CLI::Range(1, 1024));
}

data::Vocabulary vocabulary_for(const TrainedNetwork& trained, const std::string& given) {
  const config::RunConfig& config = trained.config();
  const data::fs::path file = data::find_vocabulary(given, trained.folders());
  data::Vocabulary vocabulary = data::Vocabulary::load(file);
  if (vocabulary.size() == static_cast<std::uint32_t>(config.model.vocabulary_size)) return vocabulary;
  throw ConfigError("the model has a vocabulary of " + std::to_string(config.model.vocabulary_size) + " tokens, " +
                    file.string() + " has " + std::to_string(vocabulary.size()) +
                    "; name the one it was trained with: --vocabulary FILE");
}

// Says what of a prompt is not taken as it stands.
void explain_prompt(const std::string& prompt, const std::vector<std::int64_t>& tokens, const Arguments& arguments) {
  const std::int64_t end_of_text = arguments.generation.end_token.value();
  if (!prompt.empty() && std::ranges::find(tokens, end_of_text) != tokens.end())
    base::log_info("<|endoftext|> in the prompt is taken as the token that ends a story");
  const std::string excess = data::prompt_excess(tokens.size(), static_cast<int>(arguments.generation.window_tokens));
  if (!excess.empty()) base::log_warning("the prompt " + excess);
}

// All of standard input, without the end of its last line.
std::string read_standard_input() {
  std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

void read_prompts(Arguments& arguments) {
  if (arguments.interactive != arguments.prompts.empty())
    throw UsageError(
        "how do the texts begin? Name either --prompt TEXT (or several, or - for standard input) or --interactive");
  const std::ptrdiff_t from_input = std::ranges::count(arguments.prompts, "-");
  if (from_input > 1)
    throw UsageError("--prompt - stands " + std::to_string(from_input) + " times; standard input can be read once");
  for (std::string& prompt : arguments.prompts)
    if (prompt == "-") prompt = read_standard_input();
}

void write_interactively(TextWriter& writer, const data::Vocabulary& vocabulary, const Arguments& arguments) {
  const bool asks = ::isatty(STDIN_FILENO) != 0;
  std::uint64_t seed = arguments.generation.seed;
  for (std::string prompt;; seed += static_cast<std::uint64_t>(arguments.writer.count)) {
    if (asks) std::fputs("> ", stderr);
    if (!std::getline(std::cin, prompt)) return;
    explain_prompt(prompt, data::prompt_tokens(vocabulary, prompt), arguments);
    writer.write({prompt}, seed);
  }
}

void write_texts(Arguments arguments) {
  model::Sampler(arguments.generation.sampling, 0);  // refuses bad options before anything is read
  read_prompts(arguments);
  const TrainedNetwork trained({arguments.source});
  const data::Vocabulary vocabulary = vocabulary_for(trained, arguments.vocabulary);
  arguments.generation.window_tokens = trained.window_tokens();
  arguments.generation.end_token = vocabulary.end_of_text();
  base::log_info("weights of " + trained.origin());
  TextWriter writer(trained.network(), vocabulary, arguments.generation, arguments.writer);
  if (arguments.interactive) return write_interactively(writer, vocabulary, arguments);
  for (const std::string& prompt : arguments.prompts)
    explain_prompt(prompt, data::prompt_tokens(vocabulary, prompt), arguments);
  writer.write(arguments.prompts, arguments.generation.seed);
  base::log_info(writer.speed());
}

}  // namespace

int generate_program(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Writes text with a trained network.");
  app.footer(kExamples);
  app.set_version_flag("--version", base::version_text("kangpt_generate"));
  add_options(app, arguments);
  if (!launcher::parse_arguments(app, argc, argv)) return 0;
  operations::start_computing(arguments.threads);
  write_texts(std::move(arguments));
  return 0;
}

}  // namespace kangpt::tools
