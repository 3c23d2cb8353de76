// Faults that a worker causes in itself, to prove that the job survives them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "config/fault_plan.hpp"
#include "operations/torch_prefix.hpp"
#include "training/phase.hpp"

namespace kangpt::launcher {

// What a fault may damage: the buffers that the network works on, wherever they are.
struct FaultTargets {
  at::Tensor gradients;   // NAN: its first element
  at::Tensor parameters;  // BITFLIP: a high bit of its first element
};

// Causes the faults of `plan` that are this rank's, each once a run.
class FaultInjector {
 public:
  // `fired`: bit i is set where plan[i] has happened in an earlier life. `about_to_fire` tells the agent of the index,
  // so that it is remembered when this process dies the next moment.
  FaultInjector(std::vector<config::FaultInjection> plan, int rank, std::uint64_t fired, FaultTargets targets,
                std::function<void(std::size_t)> about_to_fire);

  void enter(training::Phase phase, std::uint64_t step);

 private:
  void fire(config::FaultKind kind);

  std::vector<config::FaultInjection> plan_;
  int rank_;
  std::uint64_t fired_;
  FaultTargets targets_;
  std::function<void(std::size_t)> about_to_fire_;
};

}  // namespace kangpt::launcher
