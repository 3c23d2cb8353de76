// Whether it still makes sense to start the workers again after they failed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launcher/agent/agent_status.hpp"

namespace kangpt::launcher {

// Failures are told apart, since another try helps against some only. A crash may have come from outside: it is
// repeated max_restarts times. One that comes again before there is a new step would come for ever: no_progress_limit
// ends it, with kNoProgress where workers compute, with kGaveUp where something keeps them from starting. A rollback is
// no crash, since its batch is left out from then on, but many of them in a row mean that it is not the batches.
//
// A function of what all agents have agreed on, so that each comes to the same end without asking.
class RestartBudget {
 public:
  RestartBudget(int max_restarts, int no_progress_limit)
      : max_restarts_(max_restarts), no_progress_limit_(no_progress_limit) {}

  // Once for each end of the workers that is a failure.
  void count(const std::vector<AgentStatus>& statuses);
  // The next workers go back to this step: what was reached behind it is progress once more.
  void go_back_to(std::int64_t step) noexcept { newest_step_ = step; }

  // Why there should be no workers after those last counted; nullopt: there should.
  struct End {
    ExitCode code;
    std::string why;
  };
  std::optional<End> end() const;
  int failures_without_progress() const noexcept { return failures_without_progress_; }

 private:
  int max_restarts_;
  int no_progress_limit_;
  int crashes_ = 0;  // what was followed by a rollback is none
  bool was_rollback_ = false;
  // In a row:
  int failures_without_progress_ = 0;
  bool reached_a_step_ = false;  // any worker that failed in them
  int rollbacks_ = 0;            // without a step beyond the farthest
  // Of the steps that all ranks have held at a failure; -1: no step; -2: no failure yet.
  std::int64_t newest_step_ = -2;  // falls when the workers go back to disk
  std::int64_t farthest_step_ = -2;
};

}  // namespace kangpt::launcher
