#include "launcher/agent/exchange_runner.hpp"

#include <sched.h>

#include <span>

#include "base/error.hpp"
#include "config/run_config.hpp"

namespace kangpt::launcher {

using sharding::MessageKind;

namespace {
constexpr std::size_t kMaxGatheredBytes = std::size_t{128} << 10;  // of each rank, whatever a worker gone mad asks for
}  // namespace

void ExchangeRunner::begin(const sharding::Message& request) {
  if (exchange_) throw CommunicationError("the worker asked for a collective while another one is in flight");
  input_ = request.payload;
  output_.clear();
  switch (request.kind) {
    case MessageKind::kReduceScatter:
      exchange_ = request.argument == static_cast<std::uint64_t>(config::Reduction::kFast)
                      ? group_.fast_reduce_scatter(memory_.gradients())
                      : group_.tree_reduce_scatter(memory_.gradients());
      break;
    case MessageKind::kAllGather:
      if (memory_.gatherable(request.argument).empty())
        throw CommunicationError("the worker named a slot that does not exist");
      exchange_ = group_.all_gather(memory_.gatherable(request.argument), memory_.parameters());
      break;
    case MessageKind::kAllGatherBytes:
      if (input_.size() > kMaxGatheredBytes)
        throw CommunicationError("the worker wants to gather " + std::to_string(input_.size()) + " bytes of each rank");
      output_.resize(input_.size() * static_cast<std::size_t>(group_.size()));
      exchange_ = group_.all_gather_bytes(std::as_bytes(std::span(input_)), std::as_writable_bytes(std::span(output_)));
      break;
    default:
      throw CommunicationError("the worker sent a message of unknown kind " +
                               std::to_string(static_cast<unsigned>(request.kind)));
  }
  position_ = {position_.begun + 1, request.kind, request.argument, input_.size()};
}

std::optional<std::string> ExchangeRunner::progress() {
  if (!exchange_->progress()) return std::nullopt;
  exchange_.reset();
  return std::move(output_);
}

void ExchangeRunner::drain(const ExchangePosition& newest) {
  while (exchange_ || position_.begun < newest.begun) {
    if (!exchange_) begin({newest.kind, newest.argument, std::string(newest.input_bytes, '\0')});
    while (!progress()) {
      group_.attend();
      ::sched_yield();
    }
  }
}

}  // namespace kangpt::launcher
