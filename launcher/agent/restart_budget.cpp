#include "launcher/agent/restart_budget.hpp"

#include <algorithm>

#include "training/phase.hpp"

namespace kangpt::launcher {
namespace {

constexpr int kMostRollbacks = 20;

bool got_beyond_start(const AgentStatus& status) {
  return status.failure && status.failure->phase != training::phase_name(0);
}

}  // namespace

void RestartBudget::count(const std::vector<AgentStatus>& statuses) {
  const std::int64_t step = newest_common_step(statuses);
  was_rollback_ = bad_batch(statuses).has_value();
  const bool is_progress = step > newest_step_ || was_rollback_;  // that batch will not be met again
  failures_without_progress_ = is_progress ? 0 : failures_without_progress_ + 1;
  reached_a_step_ = !is_progress && (reached_a_step_ || std::ranges::any_of(statuses, got_beyond_start));
  was_rollback_ ? ++rollbacks_ : ++crashes_;
  if (step > farthest_step_) rollbacks_ = was_rollback_ ? 1 : 0;
  newest_step_ = std::max(newest_step_, step);
  farthest_step_ = std::max(farthest_step_, step);
}

std::optional<RestartBudget::End> RestartBudget::end() const {
  if (rollbacks_ >= kMostRollbacks) {
    return End{ExitCode::kNoProgress,
               "the loss or gradient of " + std::to_string(rollbacks_) +
                   " batches in a row was not finite: it is not the batches, so this run ends. A lower "
                   "optimizer.learning_rate or an optimizer.gradient_clip_norm may help; so may an older checkpoint."};
  }
  if (failures_without_progress_ >= no_progress_limit_) {
    const std::string limit =
        " in " + std::to_string(failures_without_progress_) + " restarts (fault.no_progress_limit): ";
    if (!reached_a_step_) {
      return End{ExitCode::kGaveUp,
                 "no worker reached a step" + limit +
                     "something keeps them from starting; once it is gone, the same command goes on"};
    }
    return End{ExitCode::kNoProgress, "no new step" + limit + "the same failure would come again, so this run ends"};
  }
  if (was_rollback_ || crashes_ <= max_restarts_) return std::nullopt;
  return End{max_restarts_ == 0 ? ExitCode::kInternal : ExitCode::kGaveUp,
             "the workers were restarted " + std::to_string(max_restarts_) +
                 " times (fault.max_restarts); the same command goes on from the last checkpoint"};
}

}  // namespace kangpt::launcher
