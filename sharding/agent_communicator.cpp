#include "sharding/agent_communicator.hpp"

#include <cstring>

#include "base/error.hpp"

namespace kangpt::sharding {

AgentCommunicator::AgentCommunicator(MessageSocket& agent, const ExchangeMemory& memory, const StartOrder& order,
                                     config::Reduction reduction)
    : agent_(agent), memory_(memory), rank_(order.rank), world_size_(order.world_size), reduction_(reduction) {}

std::string AgentCommunicator::call(MessageKind kind, std::uint64_t argument, std::string_view payload) {
  agent_.send(kind, argument, payload);
  std::optional<Message> reply = agent_.receive();
  if (!reply) throw CommunicationError("the agent of rank " + std::to_string(rank_) + " is gone");
  if (reply->kind != MessageKind::kDone) throw CommunicationError("the agent answered with an unexpected message");
  return std::move(reply->payload);
}

void AgentCommunicator::reduce_scatter(std::span<float> flat) {
  if (flat.data() != memory_.gradients().data()) throw InternalError("reduce_scatter: not the shared gradient buffer");
  call(MessageKind::kReduceScatter, static_cast<std::uint64_t>(reduction_));
}

void AgentCommunicator::all_gather(std::span<const float> mine, std::span<float> flat) {
  if (flat.data() != memory_.parameters().data()) throw InternalError("all_gather: not the shared parameter buffer");
  std::uint64_t number = 0;
  while (!memory_.gatherable(number).empty() && memory_.gatherable(number).data() != mine.data()) ++number;
  if (memory_.gatherable(number).empty()) throw InternalError("all_gather: neither parameters nor average of a slot");
  call(MessageKind::kAllGather, number);
}

std::vector<double> AgentCommunicator::all_gather_scalars(std::span<const double> mine) {
  const std::string_view bytes(reinterpret_cast<const char*>(mine.data()), mine.size_bytes());
  const std::string gathered = all_gather_bytes(bytes);
  std::vector<double> values(mine.size() * static_cast<std::size_t>(world_size_));
  copy_payload(gathered, values.data(), values.size() * sizeof(double));
  return values;
}

std::string AgentCommunicator::all_gather_bytes(std::string_view mine) {
  return call(MessageKind::kAllGatherBytes, 0, mine);
}

}  // namespace kangpt::sharding
