#include "tools/checkpoint/checkpoint_commands.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "io/checkpoint.hpp"
#include "launcher/command_line.hpp"
#include "launcher/job/run_lock.hpp"
#include "model/parameters/stated_network.hpp"
#include "model/parameters/weight_source.hpp"
#include "tools/checkpoint/checkpoint_report.hpp"
#include "tools/checkpoint/huggingface_folder.hpp"
#include "tools/checkpoint/memory_report.hpp"
#include "tools/checkpoint/offset_report.hpp"
#include "tools/checkpoint/weights_exchange.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;

constexpr int kDifferent = 1;

constexpr const char* kExamples = R"(
PATH is a checkpoint folder (runs/x/checkpoints/step-0000001000) or a run directory (runs/x: its newest valid checkpoint).

Examples:
  kangpt_checkpoint list runs/tinystories_kan
  kangpt_checkpoint show runs/tinystories_kan
  kangpt_checkpoint show --offsets runs/tinystories_deformable_conv
  kangpt_checkpoint verify runs/tinystories_kan             (all its checkpoints; exit 0, or 65 with the bad file)
  kangpt_checkpoint digest runs/tinystories_kan
  kangpt_checkpoint diff runs/a runs/b                      (exit 0: same bits, 1: different)
  kangpt_checkpoint memory                                  (snapshots of killed jobs that were never started again)
  kangpt_checkpoint export --output story.safetensors runs/tinystories_kan
  kangpt_checkpoint export --format huggingface --output story-model runs/tinystories_kan
  kangpt_checkpoint export --average --output average.safetensors runs/tinystories_kan     (of optimizer.ema_decay)
  kangpt_checkpoint import --weights story-model --output runs/tuned
  kangpt_checkpoint import --weights story.safetensors --config configs/tinystories_kan.textproto --output runs/again
)";

struct Arguments {
  std::string path;
  std::string other;
  std::string format = "safetensors";
  std::string output;
  std::string weights;
  std::string config;
  std::vector<std::string> overrides;
  std::string vocabulary;
  bool force = false;
  bool offsets = false;
  bool average = false;
  bool remove = false;
};

void say(const std::string& text) {
  std::fputs(text.c_str(), stdout);
}

int list(const Arguments& arguments) {
  const std::string left = fs::is_directory(arguments.path) ? memory_text(arguments.path) : "";
  if (left.empty()) {
    say(list_text(checkpoints_at(arguments.path)));
  } else {
    if (fs::exists(fs::path(arguments.path) / "checkpoints")) say(list_text(checkpoints_at(arguments.path)));
    say("in the memory of this node:\n" + left);
  }
  return 0;
}

int memory(const Arguments& arguments) {
  say(arguments.remove ? remove_left_memory(arguments.path) : memory_text(arguments.path));
  return 0;
}

int show(const Arguments& arguments) {
  const io::Checkpoint checkpoint = io::open_checkpoint(arguments.path);
  say(arguments.offsets ? offsets_text(checkpoint) : show_text(checkpoint));
  return 0;
}

// Says what is wrong with a checkpoint, and returns the code of that.
ExitCode verify_one(const fs::path& folder) {
  try {
    const io::Checkpoint checkpoint(folder);
    say(folder.filename().string() + ": ok (manifest and " + std::to_string(checkpoint.manifest().files.size()) +
        " state files)\n");
    return ExitCode::kDone;
  } catch (const Error& error) {
    const bool is_bad = error.exit_code() == ExitCode::kData;
    std::fprintf(stderr, "%s: %s: %s\n", folder.filename().c_str(), is_bad ? "BAD" : "NOT READ", error.what());
    return error.exit_code();
  }
}

int verify(const Arguments& arguments) {
  const std::vector<fs::path> folders = checkpoints_at(arguments.path);
  ExitCode code = ExitCode::kDone;
  for (const fs::path& folder : folders) {
    const ExitCode found = verify_one(folder);
    // A job that runs meanwhile deletes those that it need not keep.
    if (found != ExitCode::kDone && folders.size() > 1 && !fs::exists(folder)) {
      say(folder.filename().string() + ": deleted meanwhile\n");
    } else if (code == ExitCode::kDone || found == ExitCode::kData) {
      code = found;
    }
  }
  return static_cast<int>(code);
}

int digest(const Arguments& arguments) {
  say(io::canonical_digest(io::open_checkpoint(arguments.path)) + "\n");
  return 0;
}

int diff(const Arguments& arguments) {
  const CheckpointDifference found =
      difference(io::open_checkpoint(arguments.path), io::open_checkpoint(arguments.other));
  say(found.text);
  return found.equal ? 0 : kDifferent;
}

void refuse_to_overwrite(const fs::path& path, const Arguments& arguments) {
  if (arguments.force || !fs::exists(path)) return;
  throw UsageError(path.string() + " exists already; choose another --output, or overwrite it with --force");
}

fs::path run_directory_of(const fs::path& checkpoint) {
  return fs::absolute(checkpoint).lexically_normal().parent_path().parent_path();
}

// The one that was named, or lies with the run, or GPT-2's where the model has as many tokens. Runs of earlier versions
// may be without.
std::optional<data::Vocabulary> vocabulary_of(const io::Checkpoint& checkpoint, const std::string& given) {
  const auto tokens = static_cast<std::uint32_t>(configuration_of(checkpoint).model.vocabulary_size);
  const fs::path kept = data::vocabulary_in(run_directory_of(checkpoint.folder()));
  const fs::path file = !given.empty() ? data::find_vocabulary(given) : !kept.empty() ? kept : data::gpt2_vocabulary();
  if (!fs::exists(file)) return std::nullopt;
  data::Vocabulary vocabulary = data::Vocabulary::load(file);
  if (vocabulary.size() == tokens) return vocabulary;
  if (given.empty()) return std::nullopt;
  throw ConfigError("the model has a vocabulary of " + std::to_string(tokens) + " tokens, " + given + " has " +
                    std::to_string(vocabulary.size()));
}

io::Weights weights_of(const Arguments& arguments) {
  return arguments.average ? io::Weights::kAverage : io::Weights::kTrained;
}

void export_folder(const io::Checkpoint& checkpoint, const Arguments& arguments) {
  const std::optional<data::Vocabulary> vocabulary = vocabulary_of(checkpoint, arguments.vocabulary);
  if (!vocabulary)
    base::log_warning(
        "without tokenizer.json: no vocabulary of the model lies with its run; name it with --vocabulary");
  export_huggingface(checkpoint, weights_of(arguments), vocabulary ? &*vocabulary : nullptr, arguments.output);
}

int export_weights(const Arguments& arguments) {
  const io::Checkpoint checkpoint = io::open_checkpoint(arguments.path);
  refuse_to_overwrite(arguments.output, arguments);
  if (arguments.format == "huggingface") {
    export_folder(checkpoint, arguments);
  } else {
    export_safetensors(checkpoint, weights_of(arguments), arguments.output);
  }
  say("wrote " + arguments.output + " from " + checkpoint.folder().string() +
      (arguments.average ? ", the average of its weights\n" : "\n"));
  return 0;
}

// Of the run, or the one that the weights state.
config::RunConfig configuration_to_import(const Arguments& arguments) {
  if (!arguments.config.empty()) return config::load_configuration(arguments.config, arguments.overrides).values;
  if (!arguments.overrides.empty()) throw UsageError("--set changes a configuration: name one with --config FILE");
  const model::WeightSource source = model::find_weights(arguments.weights);
  return source.checkpoint ? configuration_of(*source.checkpoint) : model::configuration_of_weights(source.safetensors);
}

int import_into(const Arguments& arguments) {
  const config::RunConfig config = configuration_to_import(arguments);
  const fs::path output(arguments.output);
  const bool names_checkpoint = output.filename() == io::checkpoint_name(0);
  const fs::path checkpoints = names_checkpoint ? fs::absolute(output).parent_path() : output / "checkpoints";
  const bool is_of_run = checkpoints.filename() == "checkpoints";
  const launcher::RunLock lock(is_of_run ? checkpoints.parent_path() : checkpoints, "--output PATH");
  const std::vector<fs::path> present = io::list_checkpoints(checkpoints);
  if (!present.empty()) refuse_to_overwrite(present.front(), arguments);
  const fs::path folder = import_weights(arguments.weights, config, checkpoints);
  if (const fs::path vocabulary = data::vocabulary_in(arguments.weights); is_of_run && !vocabulary.empty()) {
    data::keep_vocabulary(data::Vocabulary::load(vocabulary), checkpoints.parent_path(),
                          data::OtherVocabularies::kRemove);
  }
  say("wrote " + folder.string() + "\n");
  return 0;
}

using Command = int (*)(const Arguments&);

CLI::App* add_command(CLI::App& app, const char* name, const char* description) {
  CLI::App* const command = app.add_subcommand(name, description);
  command->footer(kExamples);
  return command;
}

void add_path(CLI::App* command, Arguments& arguments) {
  command->add_option("PATH", arguments.path, "Checkpoint folder or run directory")->required();
}

void add_exchange_commands(CLI::App& app, Arguments& arguments) {
  CLI::App* const out = add_command(app, "export", "Write the weights to a file that other programs read");
  add_path(out, arguments);
  out->add_option("--format", arguments.format,
                  "safetensors (one file) or huggingface (a folder that transformers load)")
      ->check(CLI::IsMember({"safetensors", "huggingface"}))
      ->capture_default_str();
  out->add_option(
      "--vocabulary", arguments.vocabulary,
      "Of huggingface: tokenizer.json, vocab.json, vocab.bpe, merges.txt or .tiktoken (default: the one that "
      "lies with the run, else GPT-2's from the cache)");
  out->add_flag("--average", arguments.average, "The average of the weights, which optimizer.ema_decay keeps");
  CLI::App* const in = add_command(app, "import", "Make a checkpoint of step 0 from weights");
  in->add_option("--weights", arguments.weights,
                 "A .safetensors file, an exported folder, a checkpoint or a run directory")
      ->required();
  in->add_option(
      "--config", arguments.config,
      "Configuration of the run (its model has to fit the weights; default: what the weights say of their model)");
  in->add_option("--set", arguments.overrides, "section.field=value, over the file's")->allow_extra_args(false);
  out->add_option("--output", arguments.output, "File or folder to write")->required();
  in->add_option("--output", arguments.output, "Run directory to write the checkpoint to")->required();
  for (CLI::App* const command : {out, in}) command->add_flag("--force", arguments.force, "Overwrite what is there");
}

}  // namespace

int run_checkpoint_command(int argc, char** argv) {
  CLI::App app("Looks into checkpoints, checks them, and exchanges weights with other programs.");
  app.footer(kExamples);
  app.require_subcommand(1);
  Arguments arguments;
  add_path(add_command(app, "list", "One line for each checkpoint"), arguments);
  CLI::App* const look = add_command(app, "show", "State, model and statistics of each parameter");
  add_path(look, arguments);
  look->add_flag("--offsets", arguments.offsets, "Instead, where the taps of DEFORMABLE_CONV have moved, by layer");
  add_path(add_command(app, "verify", "Check every digest; exit 0, or 65 naming the bad file"), arguments);
  add_path(add_command(app, "digest", "SHA-256 over parameters and optimizer moments in canonical order"), arguments);
  CLI::App* const compare = add_command(app, "diff", "Differences of two checkpoints; exit 0 if equal, 1 if not");
  add_path(compare, arguments);
  compare->add_option("OTHER", arguments.other, "Checkpoint folder or run directory to compare with")->required();
  CLI::App* const left = add_command(app, "memory", "What jobs keep, or killed ones left, in the memory of this node");
  left->add_option("RUN", arguments.path, "Run directory; all runs of this user where it is left out");
  left->add_flag("--remove", arguments.remove, "Delete what no job uses: for runs that are never started again");
  add_exchange_commands(app, arguments);
  app.set_version_flag("--version", base::version_text("kangpt_checkpoint"));
  if (!launcher::parse_arguments(app, argc, argv)) return 0;
  const std::vector<std::pair<const char*, Command>> commands = {{"list", list},          {"show", show},
                                                                 {"verify", verify},      {"digest", digest},
                                                                 {"diff", diff},          {"export", export_weights},
                                                                 {"import", import_into}, {"memory", memory}};
  for (const auto& [name, command] : commands) {
    if (app.got_subcommand(name)) return command(arguments);
  }
  throw InternalError("a command without a function");
}

}  // namespace kangpt::tools
