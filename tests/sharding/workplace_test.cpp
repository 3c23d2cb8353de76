// The collectives and the divided state of a worker under mpirun: an agent in the main thread, its worker in another.
// Built three times: on the CPU the agents exchange over MPI, on GPUs (skipped where a rank has none) NCCL does, and on
// doubles of GPUs the doubles of NCCL do.
#include "sharding/workplace/workplace.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <thread>

#include "base/tree_sum.hpp"
#include "launcher/agent/exchange_runner.hpp"
#include "launcher/job/gpu_probe.hpp"
#include "sharding/local_communicator.hpp"
#include "sharding/reduction_schedule.hpp"
#include "sharding/workplace/gpu.hpp"
#ifdef KANGPT_ON_DOUBLES
#include "tests/support/gpu/device_double.hpp"
#endif

namespace kangpt::launcher {
namespace {

using config::Reduction;
using sharding::ExchangeMemory;
using sharding::Partition;
using sharding::Workplace;

enum class TestDevice { kCpu, kCuda, kDouble };
constexpr TestDevice kDevice = TestDevice::KANGPT_TEST_DEVICE;
constexpr int kShards = 8;
constexpr std::uint64_t kFlatSize = 150'000;

sharding::MpiGroup* group = nullptr;  // made in main(), since MPI starts once a process

// Of mixed magnitude, so that another order of summation gives other bits.
float value_of(int source, std::uint64_t step, std::uint64_t element) {
  return std::sin(static_cast<float>((element * 31 + step * 7) % 9973) + static_cast<float>(source)) *
         std::pow(10.0F, static_cast<float>(source % 3));
}

at::Tensor host_tensor(std::span<float> values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kFloat);
}

std::vector<float> host_values(const at::Tensor& tensor) {
  const at::Tensor host = tensor.to(at::kCPU);
  return {host.data_ptr<float>(), host.data_ptr<float>() + host.numel()};
}

std::span<float> elements(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

std::vector<float> gradient_of(int source, std::uint64_t step, std::uint64_t size) {
  std::vector<float> values(size);
  for (std::uint64_t i = 0; i < size; ++i) values[i] = value_of(source, step, i);
  return values;
}

// Memory of a worker; slot 0 holds the start of its range.
struct Memory {
  explicit Memory(int rank, int world_size) : partition(kFlatSize, kShards, world_size) {
    const ExchangeMemory::Slot slot = exchange.slot(0);
    const std::uint64_t begin = partition.range(rank).begin;
    for (std::uint64_t i = 0; i < slot.parameters.size(); ++i) slot.parameters[i] = value_of(5, 0, begin + i);
  }

  Partition partition;
  std::vector<std::byte> bytes =
      std::vector<std::byte>(ExchangeMemory::size_bytes(partition.padded_size(), partition.range_size()));
  ExchangeMemory exchange{bytes, partition.padded_size(), partition.range_size()};
};

// Three steps with the gradients of this rank's logical shards; returns all parameters.
void take_steps(training::ShardedState& state, const Partition& partition, int rank, const at::Tensor& gradients) {
  const sharding::ShardInterval mine = partition.shards(rank);
  for (std::uint64_t step = 1; step <= 3; ++step) {
    for (int shard = mine.first; shard < mine.first + mine.count; ++shard) {
      std::vector<float> values = gradient_of(shard, step, partition.padded_size());
      gradients.copy_(host_tensor(values));
      state.add_gradient();
    }
    state.reduce_gradients();
    state.update({.learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .t = step});
    state.gather_parameters();
    state.publish({.step = step}, training::ShardedState::Destination::kMemory);
  }
}

void answer_until_gone(sharding::MessageSocket& worker, const ExchangeMemory& memory) {
  ExchangeRunner exchanges(*group, memory);
  while (const std::optional<sharding::Message> request = worker.receive()) {
    exchanges.begin(*request);
    std::optional<std::string> answer;
    while (!(answer = exchanges.progress())) ::poll(nullptr, 0, 0);
    worker.send(sharding::MessageKind::kDone, 0, *answer);
  }
}

std::optional<at::Device> take_device(const sharding::StartOrder& order) {
  if (kDevice == TestDevice::kCpu) return std::nullopt;
  const at::Device gpu = sharding::use_gpu(order.gpu);
  return kDevice == TestDevice::kCuda ? gpu : at::Device(at::kCPU);
}

// Gives `body` the workplace of this rank's worker while this thread is its agent.
void with_workplace(Reduction reduction,
                    const std::function<void(const sharding::WorkerLink&, const Workplace&)>& body) {
  Memory memory(group->rank(), group->size());
  sharding::SocketPair sockets = sharding::make_socket_pair();
  std::thread worker([&, socket = std::move(sockets.worker)]() mutable {
    const sharding::StartOrder order = {.rank = group->rank(), .world_size = group->size(), .gpu = group->local_rank()};
    const sharding::WorkerLink link = {socket, memory.exchange, memory.partition, order};
    body(link, sharding::make_workplace(link, take_device(order), reduction));
    const sharding::MessageSocket closed = std::move(socket);
  });
  answer_until_gone(sockets.agent, memory.exchange);
  worker.join();
}

class WorkplaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kDevice != TestDevice::kCuda) return;
    const GpuProbe probe = probe_gpus();
    const std::string problem = probe.problem.empty() && static_cast<int>(probe.gpus.size()) < group->local_size()
                                    ? "fewer GPUs than ranks on this node"
                                    : probe.problem;
    if (!problem.empty()) GTEST_SKIP() << problem;
  }
};

TEST_F(WorkplaceTest, TreeSumsHaveTheBitsOfTheTree) {
  with_workplace(Reduction::kTree, [](const sharding::WorkerLink& link, const Workplace& workplace) {
    std::vector<float> mine = gradient_of(group->rank(), 1, link.partition.padded_size());
    workplace.buffers.gradients.copy_(host_tensor(mine));
    workplace.communicator->reduce_scatter(elements(workplace.buffers.gradients));
    const std::vector<float> found = host_values(workplace.buffers.gradients);
    const sharding::FlatInterval range = link.partition.range(group->rank());
    std::vector<std::vector<float>> terms;
    std::vector<float*> pointers;
    for (int rank = 0; rank < group->size(); ++rank) terms.push_back(gradient_of(rank, 1, mine.size()));
    for (auto& term : terms) pointers.push_back(term.data());
    base::tree_sum(pointers, mine.size());
    EXPECT_TRUE(std::equal(&found[range.begin], &found[range.begin] + range.size(), &terms[0][range.begin]));
  });
}

TEST_F(WorkplaceTest, FastSumsTheSameTerms) {
  with_workplace(Reduction::kFast, [](const sharding::WorkerLink& link, const Workplace& workplace) {
    std::vector<float> mine = gradient_of(group->rank(), 1, link.partition.padded_size());
    workplace.buffers.gradients.copy_(host_tensor(mine));
    workplace.communicator->reduce_scatter(elements(workplace.buffers.gradients));
    const std::vector<float> found = host_values(workplace.buffers.gradients);
    const sharding::FlatInterval range = link.partition.range(group->rank());
    for (std::uint64_t i = range.begin; i < range.end; ++i) {
      double expected = 0;
      for (int rank = 0; rank < group->size(); ++rank) expected += static_cast<double>(value_of(rank, 1, i));
      ASSERT_NEAR(static_cast<double>(found[i]), expected, 1e-4 * 111) << i;
    }
  });
}

TEST_F(WorkplaceTest, ScalarsOfEveryRankReachEveryone) {
  with_workplace(Reduction::kTree, [](const sharding::WorkerLink&, const Workplace& workplace) {
    const double rank = group->rank();
    const std::vector<double> mine = {rank + 0.1, -rank};
    const std::vector<double> all = workplace.communicator->all_gather_scalars(mine);
    ASSERT_EQ(all.size(), 2 * static_cast<std::size_t>(group->size()));
    for (std::size_t r = 0; r < all.size() / 2; ++r) {
      EXPECT_EQ(all[2 * r], static_cast<double>(r) + 0.1);
      EXPECT_EQ(all[2 * r + 1], -static_cast<double>(r));
    }
  });
}

#ifdef KANGPT_ON_DOUBLES
// What kangpt_simulate reckons with is what is sent.
TEST_F(WorkplaceTest, MessagesAndBytesAreThoseOfTheSchedule) {
  with_workplace(Reduction::kTree, [](const sharding::WorkerLink& link, const Workplace& workplace) {
    const test::DeviceCounts before = test::device_counts();
    workplace.communicator->reduce_scatter(elements(workplace.buffers.gradients));
    const test::DeviceCounts after = test::device_counts();
    std::uint64_t ranges = 0;
    const int size = group->size();
    for (const sharding::Round& round : reduce_scatter_rounds(sharding::kScheduleOfGpus, group->rank(), size)) {
      EXPECT_EQ(round.size(), 1U) << "a round has one peer";
      for (const sharding::Transfer& transfer : round) {
        for (int range = transfer.first_range; range < size; range += transfer.stride) ++ranges;
      }
    }
    EXPECT_EQ(after.messages - before.messages, ranges);
    EXPECT_EQ(after.message_bytes - before.message_bytes, ranges * link.partition.range_size() * sizeof(float));
    EXPECT_EQ(after.collectives, before.collectives);
    EXPECT_EQ(after.host_synchronisations - before.host_synchronisations, 2U) << "before it, and at its end";
    EXPECT_GE(after.pinned_bytes, 6 * link.partition.range_size() * sizeof(float)) << "both snapshots";
  });
}
#endif

// The bits of one rank on the CPU, where the devices are the same; a GPU's own rounding is allowed for.
TEST_F(WorkplaceTest, StepsOfManyRanksAreThoseOfOne) {
  Memory alone(0, 1);
  sharding::LocalCommunicator nobody;
  sharding::SlotState state(alone.exchange, alone.partition, nobody,
                            {0, [](int /*slot*/, const sharding::Publication& /*publication*/) {}});
  take_steps(state, alone.partition, 0, host_tensor(alone.exchange.gradients()));
  const std::span<float> expected = alone.exchange.parameters();
  with_workplace(Reduction::kTree, [&](const sharding::WorkerLink& link, const Workplace& workplace) {
    const auto divided =
        sharding::make_state(link, workplace, {0, [](int /*slot*/, const sharding::Publication& /*publication*/) {}});
    take_steps(*divided, link.partition, group->rank(), workplace.buffers.gradients);
    const std::vector<float> found = host_values(workplace.buffers.parameters);
    ASSERT_EQ(found.size(), expected.size());
    const float tolerance = kDevice == TestDevice::kCpu ? 0 : 1e-5F;
    for (std::size_t i = 0; i < found.size(); ++i)
      ASSERT_NEAR(found[i], expected[i], tolerance * std::max(1.0F, std::abs(expected[i]))) << i;
  });
}

}  // namespace

int run_all(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  sharding::MpiGroup mpi;
  group = &mpi;
  return RUN_ALL_TESTS();
}

}  // namespace kangpt::launcher

int main(int argc, char** argv) {
  return kangpt::launcher::run_all(argc, argv);
}
