#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/configuration.hpp"
#include "io/checkpoint.hpp"
#include "io/safetensors.hpp"
#include "launcher/job/run_lock.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "model/parameters/stated_network.hpp"
#include "tests/io/checkpoint_fixture.hpp"
#include "tests/support/files.hpp"
#include "tests/support/program.hpp"
#include "tools/checkpoint/weights_exchange.hpp"

namespace kangpt::tools {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
namespace fs = std::filesystem;

constexpr const char* kModel = R"(
data { sequence_length: 8 }
model { vocabulary_size: 50 d_model: 8 layers: 2 heads: 2 head_dim: 4 feed_forward: HYBRID kan_degree: 3 mlp_hidden: 16 }
train { batch_size: 4 }
)";

// A run directory with checkpoints of steps 10 (one file) and 20 (two files) of one random state.
class CheckpointCommandsTest : public ::testing::Test {
 protected:
  CheckpointCommandsTest() {
    test::write_text(config_, kModel);
    write(10, 1);
    write(20, 2);
  }

  fs::path folder(std::uint64_t step, const std::string& run = "run") const {
    return directory_ / run / "checkpoints" / io::checkpoint_name(step);
  }

  void write(std::uint64_t step, int world_size, const std::string& run = "run") const {
    io::CheckpointManifest manifest = test::manifest_for(table_, step);
    manifest.flat_size = state_.parameters.size();
    manifest.state.averaged_weights = state_.average.empty() ? 0 : test::kAveragedWeights;
    manifest.configuration = config::to_text(config::parse_configuration(kModel).values);
    const fs::path writing = io::begin_checkpoint(directory_ / run / "checkpoints", step);
    const std::uint64_t size = manifest.flat_size / static_cast<std::uint64_t>(world_size);
    for (int rank = 0; rank < world_size; ++rank) {
      const std::uint64_t begin = static_cast<std::uint64_t>(rank) * size;
      manifest.files.push_back(io::write_range(writing, {rank, world_size}, step, state_.range(begin, size)));
    }
    io::commit_checkpoint(writing, manifest);
  }

  test::ProgramResult run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), test::program_path("kangpt_checkpoint"));
    return test::run_program(arguments, {.working_directory = directory_.path()});
  }

  test::TemporaryDirectory directory_;
  fs::path config_ = directory_ / "model.textproto";
  base::ParameterTable table_ = model::parameter_layout(config::parse_configuration(kModel).values.model);
  test::FlatState state_ = test::random_flat_state(table_, (table_.flat_size + 63) / 64 * 64, 3);
};

TEST_F(CheckpointCommandsTest, DigestIsOneLineAndIndependentOfTheWorldSize) {
  const test::ProgramResult newest = run({"digest", "run"});
  EXPECT_EQ(newest.exit_code, 0);
  EXPECT_THAT(newest.stdout_text, MatchesRegex("[0-9a-f]{64}\n"));
  EXPECT_EQ(newest.stdout_text, run({"digest", folder(10)}).stdout_text);
}

TEST_F(CheckpointCommandsTest, AnAverageIsShownComparedAndExported) {
  ASSERT_EQ(run({"export", "run", "--output", "plain.safetensors"}).exit_code, 0);
  const test::ProgramResult refused = run({"export", "run", "--average", "--output", "none.safetensors"});
  EXPECT_EQ(refused.exit_code, 64);
  EXPECT_THAT(refused.stderr_text, HasSubstr("optimizer.ema_decay"));
  state_.average = state_.parameters;
  const base::ParameterEntry& entry = table_.entries.at(3);
  state_.average[entry.offset + 1] = 42;
  write(30, 4);
  EXPECT_THAT(run({"show", "run"}).stdout_text, HasSubstr("average of weights   of 9\n"));
  const test::ProgramResult difference = run({"diff", folder(20), folder(30)});
  EXPECT_EQ(difference.exit_code, 1);
  EXPECT_THAT(difference.stdout_text, HasSubstr("only B has an average of the weights\n"));
  ASSERT_EQ(run({"export", "run", "--output", "trained.safetensors"}).exit_code, 0);
  ASSERT_EQ(run({"export", "run", "--average", "--output", "average.safetensors"}).exit_code, 0);
  EXPECT_EQ(test::read_text(directory_ / "trained.safetensors"), test::read_text(directory_ / "plain.safetensors"));
  std::vector<float> values(entry.size);
  io::SafetensorsFile(directory_ / "average.safetensors").read(entry.name, entry.shape, values);
  EXPECT_EQ(values[1], 42.0F);
}

TEST_F(CheckpointCommandsTest, ListShowsEveryCheckpointAndMarksBadOnes) {
  test::truncate_file(folder(20) / "state-01-of-02.h5", 100);
  const test::ProgramResult result = run({"list", "run"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.stdout_text, HasSubstr("step-0000000010"));
  EXPECT_THAT(result.stdout_text, MatchesRegex("(.|\n)*step-0000000020 +BAD: [^\n]*state-01-of-02.h5(.|\n)*"));
}

TEST_F(CheckpointCommandsTest, ShowHasStateModelAndTensors) {
  const test::ProgramResult result = run({"show", "run"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.stdout_text, HasSubstr("step                 20 ("));
  EXPECT_THAT(result.stdout_text, HasSubstr("feed_forward: HYBRID"));
  EXPECT_THAT(result.stdout_text, HasSubstr("layers.1.kan.coefficients"));
  EXPECT_THAT(result.stdout_text, HasSubstr("[8, 8, 4]"));
}

TEST_F(CheckpointCommandsTest, VerifyNamesTheBadFile) {
  EXPECT_EQ(run({"verify", "run"}).exit_code, 0);
  test::flip_byte(folder(20) / "state-01-of-02.h5", 5000);
  const test::ProgramResult bad = run({"verify", "run"});
  EXPECT_EQ(bad.exit_code, 65);
  EXPECT_THAT(bad.stderr_text, HasSubstr("state-01-of-02.h5"));
  EXPECT_THAT(bad.stdout_text, HasSubstr("step-0000000010: ok"));
  EXPECT_EQ(run({"verify", folder(20)}).exit_code, 65);
  EXPECT_EQ(run({"verify", folder(10)}).exit_code, 0);
  EXPECT_EQ(run({"digest", folder(20)}).exit_code, 65);
  EXPECT_EQ(run({"digest", "run"}).exit_code, 0) << "the newest valid one";
  fs::remove(folder(20) / "manifest.textproto");
  EXPECT_EQ(run({"verify", "run"}).exit_code, 65);
  EXPECT_EQ(run({"verify", folder(20)}).exit_code, 65);
  EXPECT_EQ(run({"verify", folder(20) / ""}).exit_code, 65);
}

TEST_F(CheckpointCommandsTest, DiffTellsEqualFromDifferent) {
  EXPECT_EQ(run({"diff", folder(10), folder(20)}).exit_code, 0);
  const base::ParameterEntry& entry = table_.entries[4];
  state_.parameters[entry.offset] += 0.5F;
  state_.second_moment[entry.offset] += 0.25F;
  write(20, 2, "other");
  const test::ProgramResult result = run({"diff", "run", "other"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.stdout_text, MatchesRegex("(.|\n)*" + entry.name + " +parameters +0.5 (.|\n)*"));
  EXPECT_THAT(result.stdout_text, MatchesRegex("(.|\n)*" + entry.name + " +second moment +0.25 (.|\n)*"));
  EXPECT_THAT(result.stdout_text, Not(HasSubstr(table_.entries[3].name)));
}

TEST_F(CheckpointCommandsTest, DiffOfDifferentModelsNamesTheTensors) {
  table_.entries.back().name = "another.weight";
  write(20, 2, "other");
  const test::ProgramResult result = run({"diff", "run", "other"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.stdout_text, HasSubstr("only in B: another.weight"));
}

TEST_F(CheckpointCommandsTest, ExportImportExportGivesTheSameBytes) {
  ASSERT_EQ(run({"export", "run", "--output", "a.safetensors"}).exit_code, 0);
  const test::ProgramResult imported =
      run({"import", "--weights", "a.safetensors", "--config", config_, "--output", "again"});
  ASSERT_EQ(imported.exit_code, 0) << imported.stderr_text;
  EXPECT_THAT(run({"list", "again"}).stdout_text, ContainsRegex("step-0000000000 +0 +- ")) << "no loss yet";
  EXPECT_THAT(run({"show", "again"}).stdout_text, HasSubstr("last loss            none yet"));
  ASSERT_EQ(run({"export", "again", "--output", "b.safetensors"}).exit_code, 0);
  EXPECT_EQ(test::read_text(directory_ / "a.safetensors"), test::read_text(directory_ / "b.safetensors"));

  const io::Checkpoint checkpoint(folder(0, "again"));
  EXPECT_EQ(checkpoint.manifest().state.step, 0u);
  std::vector<float> parameters(table_.flat_size), first(table_.flat_size, 1), second(table_.flat_size, 1);
  checkpoint.read(0, parameters, first, second);
  EXPECT_TRUE(std::equal(parameters.begin(), parameters.end(), state_.parameters.begin()));
  EXPECT_EQ(first, std::vector<float>(table_.flat_size, 0.0F));
  EXPECT_EQ(second, first);
}

TEST_F(CheckpointCommandsTest, ExportedWeightsHaveTheirNamesAndSayTheirModel) {
  ASSERT_EQ(run({"export", "run", "--output", "a.safetensors"}).exit_code, 0);
  const io::SafetensorsFile file(directory_ / "a.safetensors");
  EXPECT_EQ(file.tensors().size(), table_.entries.size());
  for (const base::ParameterEntry& entry : table_.entries) {
    std::vector<float> values(entry.size);
    file.read(entry.name, entry.shape, values);
    EXPECT_TRUE(std::equal(values.begin(), values.end(), state_.parameters.begin() + static_cast<long>(entry.offset)));
  }
  EXPECT_EQ(model::parameter_layout(model::configuration_of_weights(directory_ / "a.safetensors").model), table_);
}

TEST_F(CheckpointCommandsTest, ExportsAHuggingFaceFolder) {
  ASSERT_EQ(run({"export", "run", "--format", "huggingface", "--output", "hf"}).exit_code, 0);
  EXPECT_NO_THROW(io::SafetensorsFile{directory_ / "hf" / "model.safetensors"});
  const auto json = nlohmann::json::parse(test::read_text(directory_ / "hf" / "config.json"));
  EXPECT_EQ(json["model_type"], "kangpt");
  EXPECT_EQ(json["vocab_size"], 50);
  EXPECT_EQ(json["feed_forward"], "hybrid");
  EXPECT_EQ(json["max_position_embeddings"], 8);
  EXPECT_EQ(json["context_length"], 8);
  EXPECT_EQ(json["data_mode"], "packed");
  EXPECT_FALSE(json.contains("eos_token_id")) << "no vocabulary is there";
  EXPECT_FALSE(fs::exists(directory_ / "hf/tokenizer.json"));
  EXPECT_EQ(json["auto_map"]["AutoModelForCausalLM"], "modeling_kangpt.KanGptForCausalLM");
  for (const char* file : {"configuration_kangpt.py", "modeling_kangpt.py"}) {
    EXPECT_EQ(test::read_text(directory_ / "hf" / file),
              test::read_text(test::source_directory() / "tools/checkpoint/huggingface" / file));
  }
  EXPECT_EQ(nlohmann::json::parse(test::read_text(directory_ / "hf/generation_config.json"))["top_k"], 40);
}

TEST_F(CheckpointCommandsTest, TheModelCardSaysWhatTheRunMeasuredUpToThere) {
  const auto card = [&] {
    EXPECT_EQ(run({"export", "run", "--format", "huggingface", "--output", "hf", "--force"}).exit_code, 0);
    return test::read_text(directory_ / "hf" / "README.md");
  };
  EXPECT_THAT(card(), HasSubstr("no losses are known"));
  test::write_text(directory_ / "run/metrics.jsonl",
                   R"({"step":20,"loss":2.5})"
                   "\n"
                   R"({"step":20,"validation_loss":2.25,"perplexity":9.4877,"bits_per_byte":0.75})"
                   "\n"
                   R"({"step":30,"loss":1.5})"
                   "\n");
  const std::string text = card();
  EXPECT_THAT(text, HasSubstr("| Training loss, nats a token at step 20 | 2.5000 |"));
  EXPECT_THAT(text, HasSubstr("| Validation loss, nats a token at step 20 | 2.2500 |"));
  EXPECT_THAT(text, HasSubstr("| Bits a byte | 0.7500 |"));
  EXPECT_THAT(text, Not(HasSubstr("1.5000"))) << "measured later";
}

// As after Python's save_pretrained(): the weights say nothing themselves.
TEST_F(CheckpointCommandsTest, AFolderIsImportedAsTheNetworkThatItsConfigurationSays) {
  ASSERT_EQ(run({"export", "run", "--format", "huggingface", "--output", "hf"}).exit_code, 0);
  const fs::path weights = directory_ / "hf/model.safetensors";
  std::vector<io::TensorToWrite> tensors;
  for (const base::ParameterEntry& entry : table_.entries)
    tensors.push_back({entry.name, entry.shape, std::span(state_.parameters).subspan(entry.offset, entry.size)});
  io::write_safetensors(weights, tensors, {{"format", "pt"}});
  ASSERT_EQ(run({"import", "--weights", "hf", "--output", "stated"}).exit_code, 0);
  ASSERT_EQ(run({"import", "--weights", "hf", "--config", config_, "--output", "named"}).exit_code, 0);
  EXPECT_EQ(run({"digest", "stated"}).stdout_text, run({"digest", "named"}).stdout_text);
  EXPECT_EQ(run({"import", "--weights", "hf", "--set", "model.layers=2", "--output", "x"}).exit_code, 64);
  test::write_text(directory_ / "hf/config.json", "{");
  EXPECT_EQ(run({"import", "--weights", "hf", "--output", "x"}).exit_code, 65);
}

TEST_F(CheckpointCommandsTest, FilesFoldersCheckpointsAndRunsAreImportedAlike) {
  ASSERT_EQ(run({"export", "run", "--output", "a.safetensors"}).exit_code, 0);
  ASSERT_EQ(run({"export", "run", "--format", "huggingface", "--output", "hf"}).exit_code, 0);
  const auto digest_of_import = [&](const std::string& weights) {
    const std::string output = "of-" + fs::path(weights).filename().string();
    const auto result = run({"import", "--weights", weights, "--config", config_, "--output", output});
    EXPECT_EQ(result.exit_code, 0) << result.stderr_text;
    return run({"digest", output}).stdout_text;
  };
  const std::string expected = digest_of_import("a.safetensors");
  EXPECT_THAT(expected, MatchesRegex("[0-9a-f]{64}\n"));
  for (const std::string& weights : {std::string("hf"), std::string("run"), folder(20).string()})
    EXPECT_EQ(digest_of_import(weights), expected) << weights;
}

TEST_F(CheckpointCommandsTest, NothingIsOverwrittenWithoutForce) {
  test::write_text(directory_ / "a.safetensors", "mine");
  const test::ProgramResult refused = run({"export", "run", "--output", "a.safetensors"});
  EXPECT_EQ(refused.exit_code, 64);
  EXPECT_THAT(refused.stderr_text, HasSubstr("--force"));
  EXPECT_EQ(test::read_text(directory_ / "a.safetensors"), "mine");
  EXPECT_EQ(run({"export", "run", "--output", "a.safetensors", "--force"}).exit_code, 0);
  EXPECT_EQ(run({"import", "--weights", "a.safetensors", "--config", config_, "--output", "run"}).exit_code, 64);
}

// A job holds the lock of its run directory; what it is writing must stay.
TEST_F(CheckpointCommandsTest, NothingIsImportedIntoTheRunDirectoryOfAJob) {
  ASSERT_EQ(run({"export", "run", "--output", "a.safetensors"}).exit_code, 0);
  const fs::path writing = io::begin_checkpoint(directory_ / "run" / "checkpoints", 30);
  const auto import_into = [&](const fs::path& output) {
    return run({"import", "--force", "--weights", "a.safetensors", "--config", config_, "--output", output});
  };
  {
    const launcher::RunLock job(directory_ / "run");
    for (const fs::path& output : {directory_ / "run", folder(0)}) {
      const test::ProgramResult refused = import_into(output);
      EXPECT_EQ(refused.exit_code, 78) << refused.stderr_text;
      EXPECT_THAT(refused.stderr_text, ContainsRegex("in use by process [0-9]+ on .*--output"));
    }
    EXPECT_TRUE(fs::exists(writing));
    for (const std::string command : {"list", "show", "verify", "digest"})
      EXPECT_EQ(run({command, "run"}).exit_code, 0);
  }
  EXPECT_EQ(import_into(directory_ / "run").exit_code, 0);
  EXPECT_FALSE(fs::exists(writing)) << "nobody writes there any more";
}

TEST_F(CheckpointCommandsTest, BadInputsHaveTheirExitCodes) {
  EXPECT_EQ(run({"digest", "nothing"}).exit_code, 66);
  EXPECT_EQ(run({"list", "nothing"}).exit_code, 66);
  EXPECT_EQ(run({"verify", "nothing"}).exit_code, 66);
  EXPECT_EQ(run({"digest"}).exit_code, 64);
  test::write_text(directory_ / "w.safetensors", "weights");
  const test::ProgramResult file = run({"show", "w.safetensors"});
  EXPECT_EQ(file.exit_code, 66);
  EXPECT_THAT(file.stderr_text, HasSubstr("w.safetensors is a file, no checkpoint"));
  const test::ProgramResult unknown = run({"shwo", "run"});
  EXPECT_EQ(unknown.exit_code, 64);
  EXPECT_THAT(unknown.stderr_text, HasSubstr("did you mean 'show'"));
  EXPECT_THAT(unknown.stderr_text, HasSubstr("list, show, verify"));
  EXPECT_EQ(run({}).exit_code, 64);
  EXPECT_EQ(run({"export", "run", "--format", "gguf", "--output", "x"}).exit_code, 64);
  test::write_text(directory_ / "data" / "manifest.textproto", "format_version: 1\n");
  for (const std::string command : {"show", "digest", "verify"}) {
    EXPECT_EQ(run({command, "data"}).exit_code, 66) << command << " of a data directory";
  }
  test::write_text(directory_ / "bad.safetensors", "not a safetensors file");
  const auto import = [&](const std::string& weights) {
    return run({"import", "--weights", weights, "--config", config_, "--output", "new"}).exit_code;
  };
  EXPECT_EQ(import("bad.safetensors"), 65);
  EXPECT_EQ(import("none.safetensors"), 66);
  ASSERT_EQ(run({"export", "run", "--output", "a.safetensors"}).exit_code, 0);
  EXPECT_EQ(
      run({"import", "--weights", "a.safetensors", "--config", config_, "--set", "model.layers=4", "--output", "n"})
          .exit_code,
      78);
  const auto alike = run({"import", "--weights", "a.safetensors", "--config", config_, "--set", "model.heads=1",
                          "--set", "model.head_dim=8", "--output", "n"});
  EXPECT_EQ(alike.exit_code, 78);
  EXPECT_THAT(alike.stderr_text, HasSubstr("model.heads is 1, not 2"));
  ASSERT_EQ(run({"export", "run", "--format", "huggingface", "--output", "folder"}).exit_code, 0);
  const auto folder = run({"import", "--weights", "folder", "--config", config_, "--set", "model.layers=4", "--set",
                           "model.d_model=4", "--output", "n"});
  EXPECT_EQ(folder.exit_code, 78);
  EXPECT_THAT(folder.stderr_text, HasSubstr("folder/model.safetensors"));
  EXPECT_THAT(folder.stderr_text, HasSubstr("another network: model.d_model is 4, not 8; model.layers is 4, not 2 as"));
  EXPECT_FALSE(fs::exists(directory_ / "new" / "checkpoints" / io::checkpoint_name(0)));
}

TEST_F(CheckpointCommandsTest, HelpHasExamplesAndVersionNamesLibraries) {
  const test::ProgramResult help = run({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.stdout_text, HasSubstr("kangpt_checkpoint digest runs/"));
  EXPECT_EQ(run({"export", "--help"}).exit_code, 0);
  const test::ProgramResult version = run({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.stdout_text, HasSubstr("HDF5"));
}

}  // namespace
}  // namespace kangpt::tools
