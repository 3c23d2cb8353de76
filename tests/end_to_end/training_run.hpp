// Runs of the whole system on a tiny corpus and network, with the programs a user would type.
#pragma once

#include <string>
#include <vector>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {

// A folder with prepared data (folder `data`, both splits, generated stories) in which runs take place. Made once a
// test program: making it costs a second. Everything in it goes away with it.
class Workspace {
 public:
  Workspace();
  const fs::path& path() const noexcept { return folder_.path(); }
  fs::path run(const std::string& name) const { return path() / "runs" / name; }

  // The command `mpirun -np RANKS kangpt_dist` for the tiny network (logical_shards 4, 8 steps, quiet) in run(name),
  // with `settings` ("section.field=value") on top.
  std::vector<std::string> training_command(int ranks, const std::string& name,
                                            const std::vector<std::string>& settings = {}) const;
  ProgramResult train(int ranks, const std::string& name, const std::vector<std::string>& settings = {}) const;
  // Runs one of the project's programs in path().
  ProgramResult call(const std::string& program, const std::vector<std::string>& arguments) const;

  // What `kangpt_checkpoint digest` prints for run(name), without the end of line; "" if it fails.
  std::string digest(const std::string& name) const;
  // The losses in run(name)/metrics.jsonl as they stand there, one a logged step, in order.
  std::vector<std::string> losses(const std::string& name) const;

 private:
  TemporaryDirectory folder_;
};

// Deadline of one training run: they take seconds, but test machines are busy.
inline constexpr double kTrainingTimeoutSeconds = 240;

}  // namespace kangpt::test
