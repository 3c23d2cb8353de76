#include "tests/end_to_end/tiny_job.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "base/file.hpp"
#include "data_pipeline/dataset.hpp"
#include "data_pipeline/shard_file.hpp"

namespace kangpt::test {
namespace {

using nlohmann::json;

constexpr std::uint64_t kVocabulary = 300;

data::SplitRecord write_split(const fs::path& folder, const std::string& name, std::uint32_t stories) {
  data::ShardBuffer buffer({kVocabulary, "test"});
  for (std::uint32_t story = 0; story < stories; ++story) {
    std::vector<std::uint32_t> tokens;
    for (std::uint32_t i = 0; i < 10 + story % 17; ++i) tokens.push_back((story * 7 + i * i) % (kVocabulary - 1));
    tokens.push_back(kVocabulary - 1);
    buffer.append_story(tokens);
  }
  data::SplitRecord split;
  split.name = name;
  split.shards.push_back(buffer.write(folder, name + "-00000.h5"));
  split.stories = buffer.stories();
  split.tokens = buffer.tokens();
  return split;
}

void write_data(const fs::path& folder) {
  fs::create_directories(folder);
  data::Manifest manifest;
  manifest.vocabulary_size = kVocabulary;
  manifest.vocabulary_sha256 = "test";
  manifest.sources = {{"stories.txt", data::kTrainSplit, 1, "0"}};
  manifest.splits = {write_split(folder, data::kTrainSplit, 200), write_split(folder, data::kValidationSplit, 12)};
  base::write_file_atomically(folder / data::kManifestName, to_text(manifest));
}

}  // namespace

TinyJob::TinyJob() {
  write_data(folder_ / "data");
  fs::create_directories(folder_ / "tmp");
  fs::create_directories(folder_ / "shm");
}

std::vector<std::string> TinyJob::command(const Start& start) const {
  std::vector<std::string> words = {"mpirun", "-np", std::to_string(start.ranks), program_path("kangpt_dist")};
  std::vector<std::string> settings = {"run.directory=" + run(start.run).string(),
                                       "data.directory=" + (folder_ / "data").string(),
                                       "run.threads=1",
                                       "data.sequence_length=16",
                                       "model.vocabulary_size=" + std::to_string(kVocabulary),
                                       "model.d_model=16",
                                       "model.layers=2",
                                       "model.heads=2",
                                       "model.head_dim=8",
                                       "model.kan_degree=3",
                                       "optimizer.warmup_steps=2",
                                       "optimizer.learning_rate=0.01",
                                       "train.batch_size=8",
                                       "train.logical_shards=4",
                                       "train.steps=12",
                                       "checkpoint.interval_steps=4",
                                       "fault.desync_interval_steps=1",
                                       "log.interval_steps=1",
                                       "log.validation_interval_steps=5",
                                       "log.tensorboard=false"};
  settings.insert(settings.end(), start.set.begin(), start.set.end());
  for (const std::string& setting : settings) words.insert(words.end(), {"--set", setting});
  return words;
}

// Open MPI's files go to folders of this job, so that others on the machine can't be taken for its leftovers.
ProgramOptions TinyJob::options() const {
  return {.environment = {{"TMPDIR", (folder_ / "tmp").string()},
                          {"OMPI_MCA_btl_vader_backing_directory", (folder_ / "shm").string()}},
          .timeout_seconds = 240};
}

ProgramResult TinyJob::train(const Start& start) const {
  BackgroundProgram program(command(start), options());
  return finish(program);
}

ProgramResult TinyJob::finish(BackgroundProgram& program) const {
  ProgramResult result = program.wait();
  EXPECT_FALSE(result.timed_out) << result.all_output();
  EXPECT_EQ(result.left_running, std::vector<std::string>()) << result.all_output();
  EXPECT_TRUE(fs::is_empty(folder_ / "shm")) << "shared memory was left behind";
  return result;
}

std::string TinyJob::digest(const std::string& run_name) const {
  return run_program({program_path("kangpt_checkpoint"), "digest", run(run_name).string()}).stdout_text;
}

std::map<std::uint64_t, std::string> TinyJob::losses(const std::string& run_name) const {
  std::map<std::uint64_t, std::string> losses;
  std::istringstream lines(read_text(run(run_name) / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const json value = json::parse(line);
    if (!value.contains("loss")) continue;
    EXPECT_TRUE(losses.emplace(value.at("step"), value.at("loss").dump()).second) << line;
  }
  return losses;
}

std::vector<json> TinyJob::events(const std::string& run_name, const std::string& name) const {
  std::vector<json> found;
  std::istringstream lines(read_text(run(run_name) / "events.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    json value = json::parse(line);
    if (value.at("event") == name) found.push_back(std::move(value));
  }
  return found;
}

}  // namespace kangpt::test
