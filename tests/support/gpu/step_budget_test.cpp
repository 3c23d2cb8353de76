// What a step asks of a GPU, against a budget: whatever makes it more has to say so here.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "operations/computing.hpp"
#include "sharding/local_communicator.hpp"
#include "sharding/muon.hpp"
#include "sharding/workplace/device_state.hpp"
#include "tests/model/test_network.hpp"
#include "tests/support/gpu/work_counter.hpp"

namespace kangpt::test {
namespace {

constexpr std::int64_t kTime = 6;

// A small network on one device with the operations of a GPU, on the CPU.
class Steps {
 public:
  explicit Steps(int logical_shards) : logical_shards_(logical_shards) {
    parameters_.narrow(0, 0, network_.parameters.numel()).copy_(network_.parameters);
  }

  void step(std::uint64_t t) {
    for (int shard = 0; shard < partition_.logical_shards(); ++shard) {
      transformer_.forward(batch_.inputs, batch_.targets, batch_.mask);
      transformer_.backward();
      state_.add_gradient();
    }
    state_.reduce_gradients();
    state_.squared_gradient_norm();
    state_.update({.learning_rate = 1e-3, .rates = rates_, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .t = t});
    state_.gather_parameters();
  }

  training::ParameterHashes compare() const { return state_.parameter_hashes(); }
  std::uint64_t parameters() const { return partition_.padded_size(); }

 private:
  std::int64_t padded() const { return static_cast<std::int64_t>(partition_.padded_size()); }

  std::vector<training::RateRange> rates_ = {{0, 48, 1, {0.5, 1, 0.25}}};  // as of a KAN layer
  int logical_shards_;
  model::testing::Network network_{model::testing::small_config(config::FeedForward::kKan), at::kFloat};
  model::testing::Batch batch_ = model::testing::make_batch(network_.config, 4, kTime);
  sharding::Partition partition_{network_.table.flat_size, logical_shards_, 1};
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

Work work_of_a_step(int logical_shards) {
  Steps steps(logical_shards);
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
  const Work work = work_of_a_step(1);
  EXPECT_LE(work.launches, 372U);
  EXPECT_LE(work.bytes, 750'224U);
  EXPECT_LE(work.host_waits, 2U) << "for the backward pass, and for the norm, which comes with the loss";
  EXPECT_LE(work.transfers, 3U) << "what is read, the loss, the norm";
  EXPECT_LE(work.allocations, 246U);
  EXPECT_GT(work.launches, 50U) << "it counts";
}

TEST(StepBudget, MoreMicroBatchesAreNotWaitedForMoreOften) {
  const Work one = work_of_a_step(1);
  const Work four = work_of_a_step(4);
  EXPECT_EQ(four.host_waits, one.host_waits);
  EXPECT_EQ(four.transfers, one.transfers + 6) << "each is uploaded, and its loss comes back";
}

// LibTorch's deterministic mode would fill each new tensor.
TEST(StepBudget, NothingIsFilledThatIsWrittenAnyway) {
  operations::start_computing(1);
  const Work work = work_of_a_step(1);
  at::globalContext().setDeterministicFillUninitializedMemory(true);
  const Work filled = work_of_a_step(1);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  EXPECT_GE(filled.launches, work.launches + 100) << "it counts them";
  at::globalContext().setDeterministicAlgorithms(false, false);
  EXPECT_EQ(work.launches, work_of_a_step(1).launches);
}

TEST(StepBudget, ParametersAreComparedWhereTheyLie) {
  const Steps steps(1);
  WorkCounter counter;
  steps.compare();
  const Work work = counter.take();
  EXPECT_EQ(work.transfers, 1U) << "the hashes";
  EXPECT_EQ(work.host_waits, 1U);
  EXPECT_LE(work.bytes, 2 * 21 * steps.parameters()) << "a product and a sum, of the copy and of its origin";
}

// Without a launch for each product by a number.
TEST(StepBudget, AMuonStepIsFewLaunches) {
  const at::Tensor direction = at::randn({24, 16});
  WorkCounter counter;
  sharding::muon_step(direction);
  EXPECT_LE(counter.take().launches, 20U);
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
  EXPECT_EQ(counter.take(), (Work{.host_waits = 1, .transfers = 1}));
  b.to(at::kCPU, at::kFloat, /*non_blocking=*/true);
  EXPECT_EQ(counter.take(), Work{.transfers = 1});
  EXPECT_EQ((a + b).numel(), 100);
  EXPECT_EQ(counter.take(), (Work{.launches = 1, .bytes = 3 * 400, .allocations = 1}));
  at::zeros({100});
  EXPECT_EQ(counter.take().allocations, 1U);
  at::stack({a, b});
  EXPECT_EQ(counter.take().allocations, 1U);
}

}  // namespace
}  // namespace kangpt::test
