// A fixture for jobs of two ranks that have to end as one that nobody harmed.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {

// One workspace for all tests of a suite, with the undisturbed run "reference" in it.
class ComparedJob : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    job_ = std::make_unique<Workspace>(Corpus::kTokens);
    ASSERT_EQ(job_->train(2, "reference").exit_code, 0);
  }
  static void TearDownTestSuite() { job_.reset(); }

  static void expect_same_as_reference(const std::string& run) {
    EXPECT_EQ(job_->digest(run), job_->digest("reference"));
    EXPECT_EQ(job_->losses(run), job_->losses("reference"));
  }

  inline static std::unique_ptr<Workspace> job_;
};

}  // namespace kangpt::test
