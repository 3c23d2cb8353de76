// Runs with run.device=CUDA on doubles of GPUs: kangpt_dist and its agents as they are, workers on host memory.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {

using Environment = std::map<std::string, std::string>;

// As ComparedJob: the reference, "reference", is a run on two GPUs that nobody harmed.
class JobOnDoubles : public SharedWorkspace<Corpus::kTokens> {
 protected:
  static void SetUpTestSuite();

  // `settings` over those of the tiny network, on GPUs; `environment` as device_double.hpp and driver_double.cpp say.
  static ProgramResult train(int ranks, const std::string& name, std::vector<std::string> settings = {},
                             const Environment& environment = {});
  static std::vector<std::string> command(int ranks, const std::string& name, std::vector<std::string> settings = {});
  static ProgramOptions options(const Environment& environment = {});
  static void expect_same_as_reference(const std::string& run);
};

}  // namespace kangpt::test
