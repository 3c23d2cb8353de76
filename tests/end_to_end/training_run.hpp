// Runs of the whole system on a tiny corpus and network, with the programs a user would type, and what they leave
// behind.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {

enum class Corpus {
  kTokens,   // made up by the test itself, with a vocabulary of 300: quick enough to be killed dozens of times
  kStories,  // stories.txt and valid.txt of kangpt_stories, prepared by kangpt_preprocess with GPT-2's vocabulary
};

// What kangpt_dist is told for the tiny network in the run directory `directory`, with `settings`
// ("section.field=value") on top.
std::vector<std::string> training_arguments(const std::string& directory,
                                            const std::vector<std::string>& settings = {});

// A folder with prepared data (folder `data`, both splits), a configuration (tiny.textproto) and run directories: 12
// steps of 8 rows, 4 logical shards, validation every 5 steps, a checkpoint every 4. Everything goes away with it.
class Workspace {
 public:
  explicit Workspace(Corpus corpus = Corpus::kStories);
  const fs::path& path() const noexcept { return folder_.path(); }
  // Where jobs keep snapshots for those that come after them.
  fs::path memory() const { return path() / "memory"; }
  fs::path run(const std::string& name) const { return path() / name; }

  // The command `mpirun -np RANKS kangpt_dist` for the tiny network in run(name), and how it is to be started.
  std::vector<std::string> training_command(int ranks, const std::string& name,
                                            const std::vector<std::string>& settings = {}) const;
  // The same on pretended nodes: rank N of node_memory(nodes[N]), and so on.
  std::vector<std::string> training_command(const std::vector<int>& nodes, const std::string& name,
                                            const std::vector<std::string>& settings = {}) const;
  // What is lost with a pretended node.
  fs::path node_memory(int node) const { return path() / ("node-" + std::to_string(node)); }
  ProgramOptions options() const;
  // On a disk on which a checkpoint of N ranks takes this N + 1 times: each rank waits for its own file, and rank 0 for
  // all.
  ProgramOptions slow_disk_options(int milliseconds) const;
  // mpirun to its end. Adds a failure to the test if it hangs, or if a process or shared memory outlives it.
  ProgramResult train(int ranks, const std::string& name, const std::vector<std::string>& settings = {}) const;
  ProgramResult train_slowly(int milliseconds, int ranks, const std::string& name,
                             const std::vector<std::string>& settings = {}) const;
  // The same for one that is under way.
  ProgramResult finish(BackgroundProgram& program) const;
  // Runs one of the project's programs in path().
  ProgramResult call(const std::string& program, const std::vector<std::string>& arguments) const;

  // What `kangpt_checkpoint digest` prints for run(name), without the end of line; "" if it fails.
  std::string digest(const std::string& name) const;
  // The loss of each step as it stands in run(name)/metrics.jsonl. Adds a failure to the test if a step stands twice.
  std::map<std::uint64_t, std::string> losses(const std::string& name) const;
  // The lines of run(name)/events.jsonl with this event; none where the file is missing.
  std::vector<nlohmann::json> events(const std::string& name, const std::string& event) const;

 private:
  TemporaryDirectory folder_;
};

// Living processes of a job, by the name of their program: of each rank, or of one.
std::vector<pid_t> processes_called(const BackgroundProgram& program, const std::string& name);
// -1 where there is none.
pid_t process_of_rank(const BackgroundProgram& program, const std::string& name, int rank);
// Sends it as soon as the process is there; a failure of the test if it does not come. Not by kill(process_of_rank()):
// -1 is everybody.
void signal_rank(const BackgroundProgram& program, const std::string& name, int rank, int signal);

// Deadline of one training run: they take seconds, but test machines are busy.
inline constexpr double kTrainingTimeoutSeconds = 240;

}  // namespace kangpt::test
