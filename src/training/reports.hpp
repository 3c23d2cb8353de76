// What a run tells about itself.
#pragma once

#include <cstdint>
#include <string>

namespace kangpt::training {

// One optimizer step. Seconds are wall time of this rank.
struct StepReport {
  std::uint64_t step = 0;
  double loss = 0;  // nats a token, mean over all ranks' unmasked targets
  double learning_rate = 0;
  double gradient_norm = 0;       // of the mean loss, before clipping
  std::uint64_t tokens = 0;       // unmasked targets since the start of the run
  std::uint64_t step_tokens = 0;  // in this step
  bool skipped = false;           // loss or gradient were not finite; nothing was updated
  bool loss_spike = false;        // the loss is fault.loss_spike_sigma standard deviations above its recent mean
  std::uint64_t batch = 0;        // 0-based, over all epochs
  double step_seconds = 0;
  double data_seconds = 0;
  double reduce_seconds = 0;  // waiting for and taking part in collectives
  double snapshot_seconds = 0;
};

struct ValidationReport {
  std::uint64_t step = 0;
  double loss = 0;  // nats a token
  std::uint64_t tokens = 0;
  double seconds = 0;
};

// Where reports go. Implemented by the worker's link to its agent.
class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void report(const StepReport& report) = 0;
  virtual void report(const ValidationReport& report) = 0;
  virtual void report_sample(std::uint64_t step, const std::string& text) = 0;
};

}  // namespace kangpt::training
