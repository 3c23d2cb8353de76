// What a step asks of a GPU, against a budget: whatever makes it more has to say so here.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/configuration.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "operations/computing.hpp"
#include "sharding/local_communicator.hpp"
#include "sharding/muon.hpp"
#include "sharding/workplace/device_state.hpp"
#include "tests/model/test_network.hpp"
#include "tests/support/gpu/work_counter.hpp"
#include "training/learning_rate.hpp"

namespace kangpt::test {
namespace {

// What a step is made of.
struct Setting {
  config::ModelConfig network = model::testing::small_config(config::FeedForward::kKan);
  std::int64_t rows = 4;
  operations::Kernels kernels = operations::Kernels::kAten;
  int logical_shards = 1;
  OwnKernels own_kernels = OwnKernels::kEmulated;
  std::optional<config::OptimizerSection> optimizer = {};  // none: AdamW, with a cycle of rates as of a KAN layer
};

// A network on one device with the operations of a GPU, on the CPU.
class Steps {
 public:
  explicit Steps(Setting setting) : setting_(std::move(setting)) {
    if (setting_.own_kernels == OwnKernels::kCountedAlone) return;  // nobody reads the values
    model::testing::fill_weights(table_, {parameters_.data_ptr<float>(), table_.flat_size});
  }

  void step(std::uint64_t t) {
    for (int shard = 0; shard < partition_.logical_shards(); ++shard) {
      transformer_.forward(batch_.inputs, batch_.targets, batch_.mask);
      transformer_.backward();
      state_.add_gradient();
    }
    state_.reduce_gradients();
    state_.squared_gradient_norm();
    state_.update({.learning_rate = 1e-3,
                   .rates = rates_,
                   .beta1 = 0.9,
                   .beta2 = 0.999,
                   .epsilon = 1e-8,
                   .t = t,
                   .muon_momentum = 0.95});
    state_.gather_parameters();
  }

  training::ParameterHashes compare() const { return state_.parameter_hashes(); }
  std::uint64_t parameters() const { return partition_.padded_size(); }

 private:
  std::int64_t padded() const { return static_cast<std::int64_t>(partition_.padded_size()); }

  std::vector<training::RateRange> rates() const {
    if (!setting_.optimizer) return {{0, 48, 1, {0.5, 1, 0.25}}};
    return training::rate_ranges(*setting_.optimizer, table_);
  }

  Setting setting_;
  base::ParameterTable table_ = model::parameter_layout(setting_.network);
  std::vector<training::RateRange> rates_ = rates();
  model::testing::Batch batch_ =
      model::testing::make_batch(setting_.network, setting_.rows, setting_.network.sequence_length);
  sharding::Partition partition_{table_.flat_size, setting_.logical_shards, 1};
  std::vector<std::byte> bytes_ =
      std::vector<std::byte>(sharding::ExchangeMemory::size_bytes(partition_.padded_size(), partition_.range_size()));
  sharding::ExchangeMemory memory_{bytes_, partition_.padded_size(), partition_.range_size()};
  sharding::LocalCommunicator communicator_;
  sharding::ImmediateCopies copies_;
  at::Tensor parameters_ = at::zeros({padded()});
  at::Tensor gradients_ = at::zeros({padded()});
  model::Transformer transformer_{setting_.network, table_, {parameters_, gradients_, setting_.kernels}};
  sharding::DeviceState state_{memory_,
                               partition_,
                               communicator_,
                               {parameters_, gradients_, copies_, setting_.kernels},
                               {0, [](int /*slot*/, const sharding::Publication& /*publication*/) {}}};
};

struct StepWork {
  Work all;
  LaunchCounts launches;
};

StepWork work_of_setting(const Setting& setting) {
  operations::use_cuda_operations();
  Steps steps(setting);
  WorkCounter counter(setting.own_kernels);
  std::vector<StepWork> work;
  for (std::uint64_t t = 1; t <= 3; ++t) {
    steps.step(t);
    LaunchCounts launches = counter.launches();
    work.push_back({counter.take(), std::move(launches)});
  }
  EXPECT_EQ(work[1].all, work[2].all) << "a steady step is like the one before";
  return work[2];
}

Work work_of_a_step(int logical_shards) {
  return work_of_setting({.logical_shards = logical_shards}).all;
}

// The smallest that own kernels have versions for throughout.
Setting small_with_own_kernels() {
  Setting setting = {.kernels = operations::Kernels::kCuda};
  setting.network.d_model = 32;
  setting.network.precision = config::Precision::kBf16;
  return setting;
}

// 16,384 tokens of the network of configs/upstream_parity.textproto. Kernels and products are counted, not computed.
Setting reference() {
  Setting setting = {.rows = 256, .kernels = operations::Kernels::kCuda, .own_kernels = OwnKernels::kCountedAlone};
  setting.network.vocabulary_size = 50257;
  setting.network.sequence_length = 64;
  setting.network.d_model = 128;
  setting.network.layers = 16;
  setting.network.heads = 8;
  setting.network.kan_degree = 8;
  setting.network.precision = config::Precision::kBf16;
  return setting;
}

// 16,384 tokens of the built-in network with its optimizer.
Setting built_in() {
  const config::RunConfig config = config::parse_configuration("").values;
  Setting setting = {.network = config.model,
                     .rows = 256,
                     .kernels = operations::Kernels::kCuda,
                     .own_kernels = OwnKernels::kCountedAlone,
                     .optimizer = config.optimizer};
  setting.network.vocabulary_size = 50257;
  setting.network.sequence_length = 64;
  setting.network.precision = config::Precision::kBf16;
  return setting;
}

// tests/gpu/step_model.py reads the counts, and names the file.
StepWork work_for_step_model(const Setting& setting) {
  StepWork work = work_of_setting(setting);
  const char* const file = std::getenv("KANGPT_STEP_COUNTS");
  if (file == nullptr) return work;
  std::ofstream out(file);
  for (const auto& [kind, count] : work.launches) {
    out << R"({"name": ")" << kind.name << R"(", "launches": )" << count << R"(, "bytes": )" << kind.bytes
        << R"(, "flops": )" << kind.flops << "}\n";
  }
  return work;
}

// The directions; their norms, copies, five steps of three products each, the parameters.
constexpr std::uint64_t kMuonLaunches = 1 + 1 + 1 + 5 * 3 + 1;

std::uint64_t launches_of_muon(const LaunchCounts& launches) {
  std::uint64_t all = 0;
  for (const auto& [kind, count] : launches) all += kind.name.starts_with("muon") ? count : 0;
  return all;
}

// Fewer are better: then lower the numbers.
struct Budget {
  std::uint64_t launches;
  std::uint64_t bytes;
  std::uint64_t allocations = 2;  // of the host's memory: what is read, and the loss
};

void expect_within(const Budget& budget, const Work& work) {
  EXPECT_LE(work.launches, budget.launches);
  EXPECT_LE(work.bytes, budget.bytes);
  EXPECT_LE(work.allocations, budget.allocations);
  EXPECT_LE(work.host_waits, 2U) << "for the backward pass, and for the norm, which comes with the loss";
  EXPECT_LE(work.transfers, 3U) << "what is read, the loss, the norm";
}

// Two layers.
TEST(StepBudget, IsKept) {
  const Work work = work_of_a_step(1);
  expect_within({.launches = 373, .bytes = 750'224, .allocations = 246}, work);
  EXPECT_GT(work.launches, 50U) << "it counts";
}

TEST(StepBudget, IsKeptByOwnKernels) {
  expect_within({.launches = 51, .bytes = 1'091'120}, work_of_setting(small_with_own_kernels()).all);
}

// What docs/what_is_proven_without_a_gpu.md says of a step.
TEST(StepBudget, OfTheReferenceNetworkIsKept) {
  const auto [work, launches] = work_for_step_model(reference());
  expect_within({.launches = 293, .bytes = 15'550'914'272}, work);
  double flops = 0;
  std::uint64_t updates = 0;
  for (const auto& [kind, count] : launches) {
    flops += kind.flops * static_cast<double>(count);
    updates += kind.name == "adamw" ? count : 0;
  }
  EXPECT_EQ(updates, 1U);
  // Three times forward: the head, eight degrees of each KAN layer, four projections of each attention.
  constexpr double kExpected = 6 * 128 * (50257 + 16 * (8 * 128 + 4 * 16));
  EXPECT_NEAR(flops / 16384, kExpected, 1e-3 * kExpected);
}

// With 64 matrices for Muon.
TEST(StepBudget, OfTheBuiltInNetworkIsKept) {
  const auto [work, launches] = work_for_step_model(built_in());
  expect_within({.launches = 318, .bytes = 16'610'985'568}, work);
  EXPECT_EQ(launches_of_muon(launches), kMuonLaunches);
}

// All matrices of all shapes together; of none, none.
TEST(StepBudget, MuonMakesAsManyLaunchesForManyMatricesAsForOne) {
  const config::OptimizerSection optimizer = config::parse_configuration("").values.optimizer;
  for (const config::FeedForward feed_forward : {config::FeedForward::kKan, config::FeedForward::kSwiglu}) {
    for (const int layers : {1, 4}) {
      Setting setting = {
          .kernels = operations::Kernels::kCuda, .own_kernels = OwnKernels::kCountedAlone, .optimizer = optimizer};
      setting.network = model::testing::small_config(feed_forward);
      setting.network.layers = layers;
      EXPECT_EQ(launches_of_muon(work_of_setting(setting).launches), kMuonLaunches);
    }
  }
  EXPECT_EQ(launches_of_muon(work_of_setting(reference()).launches), 0U);
}

// Emulating them changes nothing but the time.
TEST(StepBudget, CountsKernelsThatDoNotRunAsThoseThatDo) {
  Setting setting = small_with_own_kernels();
  const Work emulated = work_of_setting(setting).all;
  setting.own_kernels = OwnKernels::kCountedAlone;
  EXPECT_EQ(work_of_setting(setting).all, emulated);
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
  const Steps steps({});
  steps.compare();  // makes the factors
  WorkCounter counter;
  steps.compare();
  const Work work = counter.take();
  EXPECT_EQ(work.transfers, 1U) << "the hashes";
  EXPECT_EQ(work.host_waits, 1U);
  EXPECT_LE(work.bytes, 2 * 21 * steps.parameters()) << "a product and a sum, of the copy and of its origin";
}

TEST(StepBudget, OwnKernelsCompareParametersInOneRead) {
  operations::use_cuda_operations();
  const Steps steps({.kernels = operations::Kernels::kCuda});
  steps.compare();  // makes the factors
  WorkCounter counter;
  steps.compare();
  const Work work = counter.take();
  EXPECT_LE(work.launches, 5U) << "two for the copy, two for its origin, one that puts them together";
  EXPECT_EQ(work.host_waits, 1U);
  EXPECT_LE(work.bytes, 2 * 4 * steps.parameters() + 50'000) << "and the factors";
}

// Without a launch for each product by a number.
TEST(StepBudget, AMuonStepIsFewLaunches) {
  const at::Tensor direction = at::randn({24, 16});
  WorkCounter counter;
  operations::muon_step(direction);
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
