// What kangpt_dist --plan says of memory is what agent and worker then take.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

constexpr double kMegabyte = 1e6;

struct Memory {
  double agent_bytes = 0;
  double worker_bytes = 0;
};

// The most that a process has had in memory; 0 if it is gone.
double peak_bytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return 1024 * std::stod(line.substr(6));
  return 0;
}

// "522 MB shared ...": the number before `what`.
double bytes_before(const std::string& text, const std::string& what) {
  const std::size_t end = text.find(what);
  const std::size_t begin = text.find_last_of(":;", end) + 1;
  std::istringstream words(text.substr(begin, end - begin));
  double count = 0;
  std::string unit;
  words >> count >> unit;
  return count * (unit == "GB" ? 1e9 : unit == "MB" ? 1e6 : unit == "kB" ? 1e3 : 0);
}

class PlannedMemory : public SharedWorkspace<Corpus::kStories> {
 protected:
  static Memory planned(const std::vector<std::string>& settings) {
    std::vector<std::string> arguments = training_arguments(workspace().run("plan").string(), settings);
    arguments.emplace_back("--plan");
    const std::string plan = workspace().call("kangpt_dist", arguments).stdout_text;
    const std::string memory = plan.substr(plan.find("\nmemory "));
    const double shared = bytes_before(memory, " shared by agent and worker");
    // Of one rank's: gradients, parameters and twice three of its range, all as large; its agent needs no gradients.
    return {shared * 7 / 8 + bytes_before(memory, " of the agent"), shared + bytes_before(memory, " of the worker")};
  }

  static Memory measured(const std::string& name, const std::vector<std::string>& settings) {
    BackgroundProgram program(workspace().training_command(1, name, settings), workspace().options());
    Memory peak;
    while (program.running()) {
      for (const pid_t pid : processes_called(program, "kangpt_dist"))
        peak.agent_bytes = std::max(peak.agent_bytes, peak_bytes(pid));
      for (const pid_t pid : processes_called(program, "kangpt_worker"))
        peak.worker_bytes = std::max(peak.worker_bytes, peak_bytes(pid));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    const ProgramResult result = workspace().finish(program);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return peak;
  }

  static void expect_as_planned(const std::string& name, std::vector<std::string> settings) {
    // Checkpoints of odd and even steps: the agent has then read both slots.
    settings.insert(settings.end(), {"train.steps=2", "checkpoint.interval_steps=1"});
    const Memory plan = planned(settings);
    const Memory peak = measured(name, settings);
    const double libraries = 25 * kMegabyte;  // are not equally large on all systems
    EXPECT_NEAR(peak.worker_bytes, plan.worker_bytes, 0.05 * plan.worker_bytes + libraries) << name;
    EXPECT_NEAR(peak.agent_bytes, plan.agent_bytes, 0.05 * plan.agent_bytes + libraries) << name;
  }
};

TEST_F(PlannedMemory, IsThatOfASmallNetwork) {
  expect_as_planned("small", {});
}

// 6.4 million parameters in the tables, a gradient tree, activations of 256 rows a logical shard.
TEST_F(PlannedMemory, IsThatOfAMiddleNetworkWithAndWithoutItsActivations) {
  const std::vector<std::string> network = {"model.d_model=64",        "model.layers=24",      "model.head_dim=32",
                                            "model.feed_forward=MLP",  "model.mlp_hidden=256", "train.batch_size=16",
                                            "data.sequence_length=128"};
  std::vector<std::string> less = network;
  less.emplace_back("train.recompute=LAYERS");
  expect_as_planned("middle", network);
  expect_as_planned("less", less);
  EXPECT_LT(planned(less).worker_bytes, planned(network).worker_bytes - 20 * kMegabyte);
}

}  // namespace
}  // namespace kangpt::test
