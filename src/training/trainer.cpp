#include "training/trainer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>

#include "base/error.hpp"
#include "base/tree_sum.hpp"
#include "training/batch_tensors.hpp"
#include "training/desync_guard.hpp"
#include "training/learning_rate.hpp"

namespace kangpt::training {
namespace {

constexpr std::uint64_t kMostSkippedInARow = 20;
constexpr std::uint64_t kLossesBeforeSpikes = 20;
constexpr double kNewLossWeight = 0.01;

bool is_due(std::uint64_t step, std::uint64_t interval) {
  return interval != 0 && step % interval == 0;
}

operations::LossSum sum_of(const std::vector<model::TrainingLoss>& shards) {
  std::vector<double> losses;
  std::vector<double> tokens;
  for (const model::TrainingLoss& shard : shards) {
    losses.push_back(shard.loss.value());
    tokens.push_back(shard.tokens);
  }
  return {base::tree_sum(losses), base::tree_sum(tokens)};
}

// Adds the time until its end of life to a counter of seconds.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds), start_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace

// Sums over all ranks, the same bits on each.
struct Trainer::Totals {
  double loss = 0;
  double tokens = 0;
  double squared_norm = 0;
  bool finite() const { return std::isfinite(loss) && std::isfinite(squared_norm); }
};

Trainer::Trainer(TrainerParts parts, TrainerOptions options, const io::TrainingState& state)
    : parts_(std::move(parts)), options_(std::move(options)), state_(state) {}

StepReport Trainer::step(StepVotes& votes) {
  const std::uint64_t step = state_.step + 1;
  while (state_.left_out.contains(state_.batches)) state_.batches += 1;
  report_ = StepReport{.step = step, .batch = state_.batches};
  {
    const Stopwatch whole(report_.step_seconds);
    const std::vector<model::TrainingLoss> mine = gradients_of_my_shards();
    parts_.phases.enter(Phase::kReduce, step);
    {
      const Stopwatch waiting(report_.reduce_seconds);
      if (is_due(step, options_.fault.desync_interval_steps))
        check_parameters(parts_.communicator, parts_.state.parameter_hashes(), step);
      parts_.state.reduce_gradients();
    }
    parts_.phases.enter(Phase::kUpdate, step);
    const Totals totals = agree(mine, votes);
    totals.finite() ? update(totals) : skip(totals);
    parts_.phases.enter(Phase::kGather, step);
    const Stopwatch waiting(report_.reduce_seconds);
    parts_.state.gather_parameters();
  }
  state_.step = step;
  state_.batches += 1;
  state_.tokens += report_.step_tokens;
  report_.tokens = state_.tokens;
  return report_;
}

void Trainer::validated(double loss) {
  const bool is_better = std::isfinite(loss) && (state_.best_step == 0 || loss < state_.best_validation_loss);
  state_.validations_since_best = is_better ? 0 : state_.validations_since_best + 1;
  if (!is_better) return;
  state_.best_step = state_.step;
  state_.best_validation_loss = loss;
}

std::vector<model::TrainingLoss> Trainer::gradients_of_my_shards() {
  const std::uint64_t step = state_.step + 1;
  std::vector<model::TrainingLoss> losses;
  for (int shard = options_.shards.first; shard < options_.shards.first + options_.shards.count; ++shard) {
    parts_.phases.enter(Phase::kData, step);
    MicroBatch rows = [&] {
      const Stopwatch waiting(report_.data_seconds);
      return parts_.batches.micro_batch(state_.batches, shard);
    }();
    const BatchTensors tensors = to_tensors(rows);
    parts_.phases.enter(Phase::kForward, step);
    const model::PassPosition position = {
        .seed = state_.seed, .step = step, .first_sequence = static_cast<std::uint64_t>(shard * rows.rows)};
    losses.push_back(parts_.network.forward(tensors.inputs, tensors.targets, tensors.mask, position));
    parts_.phases.enter(Phase::kBackward, step);
    parts_.network.backward();
    parts_.state.add_gradient();
  }
  return losses;
}

Trainer::Totals Trainer::agree(const std::vector<model::TrainingLoss>& mine, StepVotes& votes) {
  const Stopwatch waiting(report_.reduce_seconds);
  const double squared_norm = parts_.state.squared_gradient_norm();  // and the losses have come to the host
  const operations::LossSum loss = sum_of(mine);
  const std::vector<double> sums =
      all_reduce(parts_.communicator, {loss.loss, loss.tokens, squared_norm, votes.stop ? 1.0 : 0.0,
                                       votes.checkpoint ? 1.0 : 0.0, votes.step_seconds, votes.snapshot_seconds});
  votes = {.stop = sums[3] > 0, .checkpoint = sums[4] > 0, .step_seconds = sums[5], .snapshot_seconds = sums[6]};
  const Totals totals{sums[0], sums[1], sums[2]};
  const double tokens = std::max(totals.tokens, 1.0);
  report_.loss = totals.loss / tokens;
  report_.gradient_norm = std::sqrt(totals.squared_norm) / tokens;
  report_.step_tokens = static_cast<std::uint64_t>(totals.tokens);
  report_.learning_rate = learning_rate(options_.optimizer, report_.step, options_.total_steps);
  return totals;
}

void Trainer::update(const Totals& totals) {
  const config::OptimizerSection& o = options_.optimizer;
  double scale = 1 / std::max(totals.tokens, 1.0);
  if (o.gradient_clip_norm > 0 && report_.gradient_norm > o.gradient_clip_norm)
    scale *= o.gradient_clip_norm / report_.gradient_norm;
  state_.updates += 1;
  parts_.state.update({.learning_rate = report_.learning_rate,
                       .rates = options_.rates,
                       .beta1 = o.beta1,
                       .beta2 = o.beta2,
                       .epsilon = o.epsilon,
                       .weight_decay = o.weight_decay,
                       .gradient_scale = scale,
                       .t = state_.updates,
                       .muon_momentum = o.muon_momentum,
                       .average_decay = average_decay()});
  if (o.ema_decay > 0) state_.averaged_weights += 1;
  state_.last_loss = report_.loss;
  state_.skipped_in_a_row = 0;
  watch_loss();
}

// Less at first, when the weights that the average began with are far from all that follow.
double Trainer::average_decay() const {
  const auto updates = static_cast<double>(state_.averaged_weights);  // since it began, this one included
  return std::min(options_.optimizer.ema_decay, (1 + updates) / (10 + updates));
}

// Exponentially weighted mean and variance (West, "Updating mean and variance estimates", 1979).
void Trainer::watch_loss() {
  const double difference = report_.loss - state_.loss_mean;
  const double sigma = options_.fault.loss_spike_sigma;
  report_.loss_spike =
      sigma > 0 && state_.loss_count >= kLossesBeforeSpikes && difference > sigma * std::sqrt(state_.loss_variance);
  state_.loss_count += 1;
  const double weight = std::max(1 / static_cast<double>(state_.loss_count), kNewLossWeight);
  state_.loss_mean += weight * difference;
  state_.loss_variance = (1 - weight) * (state_.loss_variance + weight * difference * difference);
}

// Why this step can't be passed over; "" if it can.
std::string Trainer::end_of_patience() const {
  switch (options_.fault.non_finite) {
    case config::NonFinite::kStop:
      return "fault.non_finite is STOP";
    case config::NonFinite::kRollback:
      return std::to_string(state_.left_out.count) +
             " batches have been left out before (fault.non_finite is ROLLBACK), and there can't be more";
    case config::NonFinite::kSkip:
      break;
  }
  if (state_.skipped_in_a_row + 1 < kMostSkippedInARow) return "";
  return std::to_string(kMostSkippedInARow) + " steps in a row were skipped";
}

void Trainer::skip(const Totals& totals) {
  const config::NonFinite policy = options_.fault.non_finite;
  const std::string what = "batch " + std::to_string(report_.batch) + ": the loss sum is " +
                           std::to_string(totals.loss) + " and the squared gradient norm " +
                           std::to_string(totals.squared_norm);
  if (policy == config::NonFinite::kRollback && !state_.left_out.is_full())
    throw BadBatch(report_.batch, what + "; fault.non_finite is ROLLBACK");
  if (const std::string why = end_of_patience(); !why.empty()) {
    throw Error(ExitCode::kNoProgress,
                "step " + std::to_string(report_.step) + ", " + what + "; " + why +
                    ". A lower optimizer.learning_rate or an optimizer.gradient_clip_norm may help; so may an older "
                    "checkpoint.");
  }
  parts_.state.keep();
  state_.skipped_steps += 1;
  state_.skipped_in_a_row += 1;
  report_.skipped = true;
}

}  // namespace kangpt::training
