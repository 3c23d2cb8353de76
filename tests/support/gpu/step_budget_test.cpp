// What a step asks of a GPU, against a budget: whatever makes it more has to say so here.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "sharding/local_communicator.hpp"
#include "sharding/workplace/device_state.hpp"
#include "tests/model/test_network.hpp"
#include "tests/support/gpu/work_counter.hpp"

namespace kangpt::test {
namespace {

constexpr std::int64_t kTime = 6;

// A small network on one device with the operations of a GPU, on the CPU.
class Steps {
 public:
  Steps() : network_(model::testing::small_config(config::FeedForward::kKan), at::kFloat) {
    parameters_.narrow(0, 0, network_.parameters.numel()).copy_(network_.parameters);
  }

  void step(std::uint64_t t) {
    transformer_.forward(batch_.inputs, batch_.targets, batch_.mask);
    transformer_.backward();
    state_.add_gradient();
    state_.reduce_gradients();
    state_.squared_gradient_norm();
    state_.update({.learning_rate = 1e-3, .rates = rates_, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .t = t});
    state_.gather_parameters();
  }

 private:
  std::int64_t padded() const { return static_cast<std::int64_t>(partition_.padded_size()); }

  std::vector<training::RateRange> rates_ = {{0, 48, 1, {0.5, 1, 0.25}}};  // as of a KAN layer
  model::testing::Network network_;
  model::testing::Batch batch_ = model::testing::make_batch(network_.config, 4, kTime);
  sharding::Partition partition_{network_.table.flat_size, 1, 1};
  std::vector<std::byte> bytes_ =
      std::vector<std::byte>(sharding::ExchangeMemory::size_bytes(partition_.padded_size(), partition_.range_size()));
  sharding::ExchangeMemory memory_{bytes_, partition_.padded_size(), partition_.range_size()};
  sharding::LocalCommunicator communicator_;
  sharding::ImmediateCopies copies_;
  at::Tensor parameters_ = at::zeros({padded()});
  at::Tensor gradients_ = at::zeros({padded()});
  model::Transformer transformer_{
      network_.config, network_.table, {parameters_, gradients_, operations::Kernels::kAten}};
  sharding::DeviceState state_{memory_,
                               partition_,
                               communicator_,
                               {parameters_, gradients_, copies_},
                               {0, [](int /*slot*/, const sharding::Publication& /*publication*/) {}}};
};

Work work_of_a_step() {
  Steps steps;
  WorkCounter counter;
  std::vector<Work> work;
  for (std::uint64_t t = 1; t <= 3; ++t) {
    steps.step(t);
    work.push_back(counter.take());
  }
  EXPECT_EQ(work[1], work[2]) << "a steady step is like the one before";
  return work[2];
}

// Two layers. Fewer are better: then lower the numbers.
TEST(StepBudget, IsKept) {
  const Work work = work_of_a_step();
  EXPECT_LE(work.launches, 381U);
  EXPECT_LE(work.bytes, 750'880U);
  EXPECT_LE(work.host_waits, 7U) << "elements of tensors on the host count as well";
  EXPECT_LE(work.transfers, 7U);
  EXPECT_LE(work.allocations, 249U);
  EXPECT_GT(work.launches, 50U) << "it counts";
}

TEST(WorkCounterTest, FindsWhatIsPlanted) {
  const at::Tensor a = at::ones({100});
  at::Tensor b = at::ones({100});
  WorkCounter counter;
  b.add_(a);
  EXPECT_EQ(counter.take(), (Work{.launches = 1, .bytes = 3 * 400}));
  b.narrow(0, 0, 50).view({5, 10});
  EXPECT_EQ(counter.take(), Work{}) << "views cost nothing";
  b[0].item<float>();
  EXPECT_EQ(counter.take().host_waits, 1U);
  b.to(at::kCPU);
  EXPECT_EQ(counter.take().transfers, 1U);
  EXPECT_EQ((a + b).numel(), 100);
  EXPECT_EQ(counter.take(), (Work{.launches = 1, .bytes = 3 * 400, .allocations = 1}));
  at::zeros({100});
  EXPECT_EQ(counter.take().allocations, 1U);
  at::stack({a, b});
  EXPECT_EQ(counter.take().allocations, 1U);
}

}  // namespace
}  // namespace kangpt::test
