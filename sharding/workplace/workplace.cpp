#include "sharding/workplace/workplace.hpp"

#include <utility>

#include "sharding/agent_communicator.hpp"
#include "sharding/workplace/device_state.hpp"
#include "sharding/workplace/gpu.hpp"
#include "sharding/workplace/nccl_communicator.hpp"

namespace kangpt::sharding {
namespace {

at::Tensor shared_tensor(std::span<float> values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kFloat);
}

// All slots, which lie one behind the other.
std::span<std::byte> snapshots(const ExchangeMemory& memory) {
  float* const begin = memory.slot_values(0).data();
  const std::span<float> last = memory.slot_values(memory.slots() - 1);
  return std::as_writable_bytes(std::span(begin, last.data() + last.size()));
}

}  // namespace

Workplace make_workplace(const WorkerLink& link, const std::optional<at::Device>& gpu, config::Reduction reduction) {
  auto agents = std::make_unique<AgentCommunicator>(link.agent, link.memory, link.order, reduction);
  if (!gpu) {
    return {
        {shared_tensor(link.memory.parameters()), shared_tensor(link.memory.gradients())}, std::move(agents), nullptr};
  }
  const auto zeros = [&] {
    return at::zeros({static_cast<std::int64_t>(link.partition.padded_size())},
                     at::TensorOptions(at::kFloat).device(*gpu));
  };
  return {{zeros(), zeros(), operations::Kernels::kCuda},
          make_nccl_communicator(*agents, {*gpu, reduction, link.memory.heartbeat()}),
          make_gpu_copies(*gpu, snapshots(link.memory))};
}

std::unique_ptr<training::ShardedState> make_state(const WorkerLink& link, const Workplace& workplace,
                                                   PublishedSlot published) {
  training::Communicator& communicator = *workplace.communicator;
  if (!workplace.copies)
    return std::make_unique<SlotState>(link.memory, link.partition, communicator, std::move(published));
  return std::make_unique<DeviceState>(link.memory, link.partition, communicator,
                                       DeviceBuffers{workplace.buffers.parameters, workplace.buffers.gradients,
                                                     *workplace.copies, workplace.buffers.kernels},
                                       std::move(published));
}

}  // namespace kangpt::sharding
