#include "training/training_loop.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <string>

#include "base/log.hpp"
#include "training/patience.hpp"
#include "training/snapshot_pace.hpp"
#include "training/validation.hpp"

namespace kangpt::training {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool is_due(std::uint64_t step, std::uint64_t interval) {
  return interval != 0 && step % interval == 0;
}

std::string milliseconds(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g ms", 1e3 * seconds);
  return text.data();
}

class Loop {
 public:
  Loop(const LoopParts& parts, const LoopOptions& options, const ShardSpan& shards)
      : parts_(parts), options_(options), shards_(shards), pace_(options.checkpoint.snapshot_interval_steps) {}

  Outcome run() {
    while (!is_done()) {
      StepVotes votes{.stop = parts_.stop_requested(),
                      .checkpoint = parts_.checkpoint_requested(),
                      .step_seconds = step_seconds_,
                      .snapshot_seconds = snapshot_cost_seconds_};
      StepReport report = parts_.trainer.step(votes);
      watch_pace(report, votes);
      validate_and_sample(report.step);
      const bool last = is_done();
      publish(report, votes.stop || votes.checkpoint || last || is_worth_keeping(report.step));
      if (votes.stop && !last) return Outcome::kStopped;
    }
    return Outcome::kDone;
  }

 private:
  bool is_done() const {
    const io::TrainingState& state = parts_.trainer.state();
    return state.step >= options_.total_steps || is_out_of_patience(state, options_.patience);
  }

  // What a snapshot costs is known a step later.
  void watch_pace(const StepReport& report, const StepVotes& before) {
    const double late = parts_.parts.state.take_late_seconds();
    step_seconds_ = std::max(0.0, report.step_seconds - late);
    snapshot_cost_seconds_ = snapshot_seconds_ + late;
    if (!pace_.learn(before.step_seconds, before.snapshot_seconds) || parts_.parts.communicator.rank() != 0) return;
    const int ranks = parts_.parts.communicator.world_size();
    base::log_info("a snapshot every " + std::to_string(pace_.interval_steps()) + " steps: it takes " +
                   milliseconds(before.snapshot_seconds / ranks) + " beside a step of " +
                   milliseconds(before.step_seconds / ranks) + " (checkpoint.snapshot_interval_steps sets another)");
  }

  bool is_worth_keeping(std::uint64_t step) const {
    const bool is_best = options_.checkpoint.keep_best && parts_.trainer.state().best_step == step;
    return is_best || step == options_.decay_begin;
  }

  // Before the step is published: a crash in here repeats the step, and with it the lines that it logs.
  void validate_and_sample(std::uint64_t step) {
    const config::LogSection& log = options_.log;
    const bool validates =
        parts_.validation != nullptr && (step == options_.total_steps || is_due(step, log.validation_interval_steps));
    const bool samples = is_due(step, log.sample_interval_steps);
    const bool needs_average = options_.validates_average && (validates || samples);
    if (needs_average) {
      parts_.parts.phases.enter(Phase::kValidation, step);
      parts_.parts.state.gather_average();
    }
    if (validates) validate(step);
    if (samples && parts_.sample && parts_.parts.communicator.rank() == 0) {
      parts_.parts.phases.enter(Phase::kSample, step);
      parts_.reporter.report_sample(step, parts_.sample());
    }
    if (needs_average) parts_.parts.state.gather_parameters();
  }

  void validate(std::uint64_t step) {
    parts_.parts.phases.enter(Phase::kValidation, step);
    const Clock::time_point start = Clock::now();
    const operations::LossSum sum = validation_loss(parts_.parts.network, *parts_.validation, shards_,
                                                    parts_.parts.communicator, options_.log.validation_batches);
    const double loss = sum.loss / std::max(sum.tokens, 1.0);
    parts_.trainer.validated(loss);
    parts_.reporter.report(ValidationReport{
        .step = step, .loss = loss, .tokens = static_cast<std::uint64_t>(sum.tokens), .seconds = seconds_since(start)});
  }

  void publish(StepReport& report, bool wanted_on_disk) {
    const bool to_disk = wanted_on_disk || is_due(report.step, options_.checkpoint.interval_steps);
    const bool snapshot_due = to_disk || pace_.is_due(report.step);
    report.snapshot_seconds = snapshot_cost_seconds_;
    parts_.reporter.report(report);
    snapshot_seconds_ = 0;
    if (!snapshot_due) return;
    const Clock::time_point start = Clock::now();
    parts_.parts.phases.enter(Phase::kSnapshot, report.step);
    if (to_disk) parts_.parts.phases.enter(Phase::kCheckpoint, report.step);
    parts_.parts.state.publish(parts_.trainer.state(),
                               to_disk ? ShardedState::Destination::kDisk : ShardedState::Destination::kMemory);
    snapshot_seconds_ = seconds_since(start);
  }

  const LoopParts& parts_;
  const LoopOptions& options_;
  ShardSpan shards_;
  SnapshotPace pace_;
  double step_seconds_ = 0;           // of the step before, without its snapshot
  double snapshot_cost_seconds_ = 0;  // of that
  double snapshot_seconds_ = 0;       // of the step before, reported with this one
};

}  // namespace

Outcome run_training(const LoopParts& parts, const LoopOptions& options, const ShardSpan& shards) {
  return Loop(parts, options, shards).run();
}

}  // namespace kangpt::training
