// A worker's side of the link to its agent: heartbeats and reports.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "launcher/worker/fault_injector.hpp"
#include "launcher/worker/phase_profile.hpp"
#include "sharding/agent_protocol.hpp"
#include "training/phase.hpp"
#include "training/reports.hpp"

namespace kangpt::launcher {

// Where it is set, step reports say where the time went, and it is called at the end of each phase: it blocks until the
// device has done what the phase gave it to do.
using Profiling = std::function<void()>;

// Writes heartbeats, causes the faults that were asked for, and sends reports as JSON. Borrows everything.
class AgentLink final : public training::PhaseObserver, public training::Reporter {
 public:
  AgentLink(sharding::MessageSocket& agent, sharding::HeartbeatPage& page, FaultInjector& faults, Profiling profiling)
      : agent_(agent), page_(page), faults_(faults), await_device_(std::move(profiling)) {
    if (await_device_) profile_.emplace();
  }

  void enter(training::Phase phase, std::uint64_t step) override;
  // A sign of life within a phase that may take long.
  void progress() noexcept { page_.progress.fetch_add(1, std::memory_order_relaxed); }
  void report(const training::StepReport& report) override;
  void report(const training::ValidationReport& report) override;
  void report_sample(std::uint64_t step, const std::string& text) override;
  // Of matrix products on this rank, see operations::matrix_rate().
  void report_matrix_rate(double flops_per_second);

  bool stop_requested() const noexcept { return page_.stop_requested.load() != 0; }
  // True once for each request.
  bool checkpoint_requested() noexcept { return page_.checkpoint_requested.exchange(0) != 0; }

 private:
  sharding::MessageSocket& agent_;
  sharding::HeartbeatPage& page_;
  FaultInjector& faults_;
  Profiling await_device_;
  std::optional<PhaseProfile> profile_;
};

}  // namespace kangpt::launcher
