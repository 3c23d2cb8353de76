// Fixtures for suites whose tests share one workspace, since data and first runs take longer than most tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {

// Harm no run that another test looks at. A suite that prepares more hides SetUpTestSuite() and calls this one first.
template <Corpus corpus>
class SharedWorkspace : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { job_ = std::make_unique<Workspace>(corpus); }
  static void TearDownTestSuite() { job_.reset(); }
  static const Workspace& workspace() { return *job_; }

  inline static std::unique_ptr<Workspace> job_;
};

// For jobs that have to end as one that nobody harmed: run "reference", on two ranks.
class ComparedJob : public SharedWorkspace<Corpus::kTokens> {
 protected:
  static void SetUpTestSuite() {
    SharedWorkspace::SetUpTestSuite();
    ASSERT_EQ(job_->train(2, "reference").exit_code, 0);
  }

  static void expect_same_as_reference(const std::string& run) {
    EXPECT_EQ(job_->digest(run), job_->digest("reference"));
    EXPECT_EQ(job_->losses(run), job_->losses("reference"));
    EXPECT_EQ(job_->losses(run).size(), 12U);
  }

  // A job whose workers wait for one of them, which has stopped itself.
  static void wait_for_standstill(BackgroundProgram& program, const std::string& run) {
    while (program.running() && job_->events(run, "fault_injected").empty()) ::usleep(2000);
    ASSERT_TRUE(program.running()) << program.stderr_so_far();
  }
};

}  // namespace kangpt::test
