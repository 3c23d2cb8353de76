#include "launcher/worker/fault_injector.hpp"

#include <signal.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>
#include <limits>
#include <utility>

namespace kangpt::launcher {
namespace {

constexpr int kExitCodeOfExitFault = 3;
constexpr std::uint32_t kFlippedBit =
    1U << 27;  // an exponent bit: the value changes by a factor of 65536 or its inverse

std::string_view phase_of(const config::FaultInjection& fault, std::string& storage) {
  storage = config::to_string(fault.phase);
  return storage;
}

}  // namespace

FaultInjector::FaultInjector(std::vector<config::FaultInjection> plan, int rank, std::uint64_t fired,
                             FaultTargets targets, std::function<void(std::size_t)> about_to_fire)
    : plan_(std::move(plan)),
      rank_(rank),
      fired_(fired),
      targets_(std::move(targets)),
      about_to_fire_(std::move(about_to_fire)) {}

void FaultInjector::enter(training::Phase phase, std::uint64_t step) {
  std::string name;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const config::FaultInjection& fault = plan_[i];
    const bool due = fault.rank == rank_ && fault.step == step &&
                     phase_of(fault, name) == training::phase_name(static_cast<std::uint32_t>(phase));
    if (!due || ((fired_ >> i) & 1) != 0) continue;
    fired_ |= std::uint64_t{1} << i;
    about_to_fire_(i);
    fire(fault.kind);
  }
}

void FaultInjector::fire(config::FaultKind kind) {
  switch (kind) {
    case config::FaultKind::kSegv:
      ::raise(SIGSEGV);
      return;
    case config::FaultKind::kKill:
      ::raise(SIGKILL);
      return;
    case config::FaultKind::kAbort:
      std::abort();
    case config::FaultKind::kStop:
      ::raise(SIGSTOP);
      return;
    case config::FaultKind::kExit:
      std::_Exit(kExitCodeOfExitFault);
    case config::FaultKind::kNan:
      targets_.gradients[0].fill_(std::numeric_limits<float>::quiet_NaN());
      return;
    case config::FaultKind::kBitflip: {
      const at::Tensor first = targets_.parameters[0];
      first.fill_(std::bit_cast<float>(std::bit_cast<std::uint32_t>(first.item<float>()) ^ kFlippedBit));
      return;
    }
  }
}

}  // namespace kangpt::launcher
