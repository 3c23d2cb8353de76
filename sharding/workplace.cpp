#include "sharding/workplace.hpp"

#include <utility>

#include "sharding/agent_communicator.hpp"
#include "sharding/device_state.hpp"
#include "sharding/nccl_communicator.hpp"

namespace kangpt::sharding {
namespace {

at::Tensor shared_tensor(std::span<float> values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kFloat);
}

}  // namespace

Workplace make_workplace(const WorkerLink& link, config::Device device, config::Reduction reduction) {
  auto agents = std::make_unique<AgentCommunicator>(link.agent, link.memory, link.order, reduction);
  if (device != config::Device::kCuda) {
    return {at::kCPU, shared_tensor(link.memory.parameters()), shared_tensor(link.memory.gradients()),
            std::move(agents)};
  }
  const at::Device gpu = use_gpu(link.order.gpu);
  const auto zeros = [&] {
    return at::zeros({static_cast<std::int64_t>(link.partition.padded_size())},
                     at::TensorOptions(at::kFloat).device(gpu));
  };
  return {gpu, zeros(), zeros(), make_nccl_communicator(*agents, gpu, reduction)};
}

std::unique_ptr<training::ShardedState> make_state(const WorkerLink& link, const Workplace& workplace,
                                                   PublishedSlot published) {
  training::Communicator& communicator = *workplace.communicator;
  if (workplace.device.is_cpu())
    return std::make_unique<SlotState>(link.memory, link.partition, communicator, std::move(published));
  return std::make_unique<DeviceState>(link.memory, link.partition, communicator,
                                       DeviceBuffers{workplace.parameters, workplace.gradients}, std::move(published));
}

}  // namespace kangpt::sharding
