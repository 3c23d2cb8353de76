// A training job small enough to be killed dozens of times in a test, and what it leaves behind.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {

struct Start {
  int ranks = 2;
  std::string run = "run";
  std::vector<std::string> set = {};  // on top of TinyJob's own settings
};

// Owns a folder with data, run directories and the temporary files of mpirun. 12 steps of 8 rows, 4 logical shards, a
// checkpoint every 4 steps.
class TinyJob {
 public:
  TinyJob();

  std::vector<std::string> command(const Start& start) const;
  ProgramOptions options() const;
  // mpirun to its end. Adds a failure to the test if a process or shared memory outlives it, or if it hangs.
  ProgramResult train(const Start& start) const;
  // The same for one that is under way.
  ProgramResult finish(BackgroundProgram& program) const;

  fs::path run(const std::string& name) const { return folder_ / name; }
  // By kangpt_checkpoint, of the newest checkpoint.
  std::string digest(const std::string& run) const;
  // The loss of each step as it stands in metrics.jsonl. Adds a failure to the test if a step stands there twice.
  std::map<std::uint64_t, std::string> losses(const std::string& run) const;
  // The lines of events.jsonl with this name.
  std::vector<nlohmann::json> events(const std::string& run, const std::string& name) const;

 private:
  TemporaryDirectory folder_;
};

}  // namespace kangpt::test
