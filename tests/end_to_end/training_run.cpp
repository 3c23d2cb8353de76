#include "tests/end_to_end/training_run.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "base/file.hpp"
#include "data_pipeline/shards/dataset.hpp"
#include "data_pipeline/shards/shard_file.hpp"

namespace kangpt::test {
namespace {

using nlohmann::json;

constexpr useconds_t kPollMicroseconds = 10'000;
constexpr int kPollsForAProcess = 3000;
constexpr std::uint32_t kMadeUpVocabulary = 300;
constexpr std::uint64_t kGpt2Vocabulary = 50257;

constexpr char kTinyRun[] = R"(
run { device: CPU threads: 1 }
data { directory: "data" mode: PACKED sequence_length: 16 }
model { d_model: 8 layers: 2 heads: 2 head_dim: 4 feed_forward: KAN kan_degree: 3 mlp_hidden: 16
        vocabulary_size: VOCABULARY }
optimizer { learning_rate: 1e-2 minimum_learning_rate: 1e-3 warmup_steps: 2 }
train { batch_size: 8 steps: 12 logical_shards: 4 }
checkpoint { interval_steps: 4 keep_last: 3 }
fault { desync_interval_steps: 1 }
log { interval_steps: 1 tensorboard: false validation_interval_steps: 5 validation_batches: 1 }
)";

std::string configuration(std::uint64_t vocabulary) {
  constexpr std::string_view kPlace = "VOCABULARY";
  std::string text = kTinyRun;
  return text.replace(text.find(kPlace), kPlace.size(), std::to_string(vocabulary));
}

data::SplitRecord write_split(const fs::path& folder, const std::string& name, std::uint32_t stories) {
  data::ShardBuffer buffer({kMadeUpVocabulary, "test", kMadeUpVocabulary - 1});
  for (std::uint32_t story = 0; story < stories; ++story) {
    std::vector<std::uint32_t> tokens;
    for (std::uint32_t i = 0; i < 10 + story % 17; ++i) tokens.push_back((story * 7 + i * i) % (kMadeUpVocabulary - 1));
    tokens.push_back(kMadeUpVocabulary - 1);
    buffer.append_story(tokens);
  }
  data::SplitRecord split;
  split.name = name;
  split.shards.push_back(buffer.write(folder, name + "-00000.h5"));
  split.stories = buffer.stories();
  split.tokens = buffer.tokens();
  return split;
}

void write_tokens(const fs::path& folder) {
  fs::create_directories(folder);
  data::Manifest manifest;
  manifest.vocabulary_size = kMadeUpVocabulary;
  manifest.vocabulary_sha256 = "test";
  manifest.sources = {{"stories.txt", data::kTrainSplit, 1, "0"}};
  manifest.splits = {write_split(folder, data::kTrainSplit, 200), write_split(folder, data::kValidationSplit, 12)};
  base::write_file_atomically(folder / data::kManifestName, to_text(manifest));
}

void require_success(const ProgramResult& result) {
  if (result.exit_code != 0) throw std::runtime_error("preparing the data failed: " + result.all_output());
}

void write_stories(const Workspace& workspace) {
  require_success(workspace.call("kangpt_stories", {"--bytes", "200000", "--seed", "1", "--output", "stories.txt"}));
  require_success(workspace.call("kangpt_stories", {"--bytes", "20000", "--seed", "2", "--output", "valid.txt"}));
  require_success(
      workspace.call("kangpt_preprocess", {"--input", "stories.txt", "--validation", "valid.txt", "--output", "data",
                                           "--vocabulary", vocabulary_file().string()}));
}

}  // namespace

std::vector<std::string> training_arguments(const std::string& directory, const std::vector<std::string>& settings) {
  std::vector<std::string> arguments = {"--config", "tiny.textproto", "--set", "run.directory=" + directory};
  for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
  return arguments;
}

Workspace::Workspace(Corpus corpus) {
  const bool stories = corpus == Corpus::kStories;
  write_text(path() / "tiny.textproto", configuration(stories ? kGpt2Vocabulary : kMadeUpVocabulary));
  for (const char* const folder : {"tmp", "shm", "memory"}) fs::create_directories(path() / folder);
  stories ? write_stories(*this) : write_tokens(path() / "data");
}

std::vector<std::string> Workspace::training_command(int ranks, const std::string& name,
                                                     const std::vector<std::string>& settings) const {
  std::vector<std::string> command = {"mpirun", "-np", std::to_string(ranks), program_path("kangpt_dist")};
  const std::vector<std::string> arguments = training_arguments(run(name).string(), settings);
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

// A shell that names each rank's node, and makes way for the program.
std::vector<std::string> Workspace::training_command(const std::vector<int>& nodes, const std::string& name,
                                                     const std::vector<std::string>& settings) const {
  std::string folders;
  for (const int node : nodes) {
    fs::create_directories(node_memory(node));
    folders += " '" + node_memory(node).string() + "'";
  }
  const std::string shell =
      "nodes=(" + folders + R"(); export KANGPT_SHM=${nodes[$OMPI_COMM_WORLD_RANK]}; exec "$0" "$@")";
  std::vector<std::string> command = training_command(static_cast<int>(nodes.size()), name, settings);
  command.insert(std::ranges::find(command, program_path("kangpt_dist")), {"bash", "-c", shell});
  return command;
}

// Open MPI's files go to folders of this workspace, so that others on the machine can't be taken for its leftovers.
ProgramOptions Workspace::options() const {
  return {.environment = {{"TMPDIR", (path() / "tmp").string()},
                          {"OMPI_MCA_btl_vader_backing_directory", (path() / "shm").string()},  // Open MPI 4
                          {"OMPI_MCA_btl_sm_backing_directory", (path() / "shm").string()},     // Open MPI 5
                          {"KANGPT_SHM", memory().string()}},
          .working_directory = path(),
          .timeout_seconds = kTrainingTimeoutSeconds};
}

ProgramOptions Workspace::slow_disk_options(int milliseconds) const {
  ProgramOptions slow = options();
  slow.environment["LD_PRELOAD"] = KANGPT_SLOW_SYNC;
  slow.environment["ASAN_OPTIONS"] = "verify_asan_link_order=0";
  slow.environment["KANGPT_SLOW_SYNC_MICROSECONDS"] = std::to_string(milliseconds * 1000);
  return slow;
}

ProgramResult Workspace::train(int ranks, const std::string& name, const std::vector<std::string>& settings) const {
  BackgroundProgram program(training_command(ranks, name, settings), options());
  return finish(program);
}

ProgramResult Workspace::train_slowly(int milliseconds, int ranks, const std::string& name,
                                      const std::vector<std::string>& settings) const {
  BackgroundProgram program(training_command(ranks, name, settings), slow_disk_options(milliseconds));
  return finish(program);
}

ProgramResult Workspace::finish(BackgroundProgram& program) const {
  ProgramResult result = program.wait();
  EXPECT_FALSE(result.timed_out) << result.all_output();
  EXPECT_EQ(result.left_running, std::vector<std::string>()) << result.all_output();
  EXPECT_TRUE(fs::is_empty(path() / "shm")) << "shared memory was left behind";
  const bool ended_regularly = result.exit_code == 0 || result.exit_code == 75;
  EXPECT_TRUE(!ended_regularly || fs::is_empty(memory())) << "snapshots were left in memory";
  return result;
}

ProgramResult Workspace::call(const std::string& program, const std::vector<std::string>& arguments) const {
  std::vector<std::string> command = {program_path(program)};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_program(command, options());
}

std::string Workspace::digest(const std::string& name) const {
  const ProgramResult result = call("kangpt_checkpoint", {"digest", run(name).string()});
  return result.exit_code == 0 ? result.stdout_text.substr(0, result.stdout_text.find('\n')) : "";
}

std::map<std::uint64_t, std::string> Workspace::losses(const std::string& name) const {
  std::map<std::uint64_t, std::string> losses;
  std::istringstream lines(read_text(run(name) / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const json value = json::parse(line);
    if (!value.contains("loss")) continue;
    EXPECT_TRUE(losses.emplace(value.at("step"), value.at("loss").dump()).second) << line;
  }
  return losses;
}

std::vector<json> Workspace::events(const std::string& name, const std::string& event) const {
  std::vector<json> found;
  std::ifstream lines(run(name) / "events.jsonl");
  for (std::string line; std::getline(lines, line);) {
    json value = json::parse(line, nullptr, false);  // the last line may be half written
    if (value.is_object() && value.at("event") == event) found.push_back(std::move(value));
  }
  return found;
}

std::vector<pid_t> processes_called(const BackgroundProgram& program, const std::string& name) {
  std::vector<pid_t> found;
  for (const pid_t pid : program.processes()) {
    const std::string line = command_line(pid);
    if (line.substr(0, line.find(' ')).ends_with("/" + name)) found.push_back(pid);
  }
  return found;
}

pid_t process_of_rank(const BackgroundProgram& program, const std::string& name, int rank) {
  const std::string variable = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
  for (const pid_t pid : processes_called(program, name)) {
    std::ifstream environment("/proc/" + std::to_string(pid) + "/environ");
    for (std::string entry; std::getline(environment, entry, '\0');) {
      if (entry == variable) return pid;
    }
  }
  return -1;
}

void signal_rank(const BackgroundProgram& program, const std::string& name, int rank, int signal) {
  pid_t pid = process_of_rank(program, name, rank);
  for (int poll = 0; pid < 0 && poll < kPollsForAProcess && !program.processes().empty(); ++poll) {
    ::usleep(kPollMicroseconds);
    pid = process_of_rank(program, name, rank);
  }
  if (pid < 0) {
    ADD_FAILURE() << "rank " << rank << " has no " << name << "\n" << program.stderr_so_far();
  } else {
    ::kill(pid, signal);
  }
}

}  // namespace kangpt::test
