// Muon against its formula in fp64, and its bits on every number of ranks.
#include "sharding/muon.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "sharding/slot_state.hpp"
#include "sharding/workplace/device_state.hpp"

namespace kangpt::sharding {
namespace {

constexpr double kMomentum = 0.9;

// U f(S) V^T, where f is what the five steps do to a singular value.
at::Tensor step_in_fp64(const at::Tensor& direction) {
  const auto [u, s, v] = at::linalg_svd(direction.to(at::kDouble), false);
  at::Tensor x = s / s.norm();
  for (int step = 0; step < 5; ++step) x = 3.4445 * x - 4.775 * x.pow(3) + 2.0315 * x.pow(5);
  EXPECT_LT(x.max().item<double>(), 1.3);
  const double ratio = static_cast<double>(direction.size(0)) / static_cast<double>(direction.size(1));
  return at::mm(u * x, v) * std::sqrt(std::max(1.0, ratio));
}

TEST(MuonStep, HasTheSingularVectorsOfTheDirectionAndSingularValuesNearOne) {
  at::manual_seed(1);
  for (const auto& [rows, columns] : std::vector<std::pair<int, int>>{{16, 16}, {24, 8}, {8, 24}, {318, 128}, {1, 9}}) {
    const at::Tensor direction = at::randn({rows, columns}) * 1e-4;
    const at::Tensor step = operations::muon_step(direction);
    ASSERT_EQ(step.sizes(), direction.sizes());
    ASSERT_TRUE(step.is_contiguous());
    EXPECT_LT((step - step_in_fp64(direction)).abs().max().item<double>(), 1e-4) << rows << " x " << columns;
  }
  EXPECT_EQ(operations::muon_step(at::zeros({4, 6})).abs().max().item<double>(), 0) << "no gradient, no step";
}

// Where a network has nothing left to learn, directions shrink through all that fp32 can hold; workers take denormals
// for zeros.
TEST(MuonStep, StaysFiniteWhileDirectionsVanish) {
  at::globalContext().setFlushDenormal(true);
  at::manual_seed(1);
  for (const at::Tensor& direction : {at::randn({48, 64}), at::ones({64, 48}), at::randn({300, 2})}) {
    for (int exponent = 0; exponent <= 90; ++exponent) {
      const at::Tensor step = operations::muon_step(direction * std::pow(10.0, -exponent / 2.0));
      EXPECT_LT(step.norm().item<double>(), 1.3 * std::sqrt(300)) << "10^-" << exponent / 2.0;
    }
  }
  at::globalContext().setFlushDenormal(false);
}

// Ranks are threads; every rank brings the whole gradient.
class ThreadGroup {
 public:
  explicit ThreadGroup(int size) : pieces_(static_cast<std::size_t>(size)), barrier_(size) {}

  class Member final : public training::Communicator {
   public:
    Member(ThreadGroup& group, int rank) : group_(group), rank_(rank) {}
    int rank() const noexcept override { return rank_; }
    int world_size() const noexcept override { return static_cast<int>(group_.pieces_.size()); }
    void reduce_scatter(std::span<float> /*flat*/) override {}
    void all_gather(std::span<const float> mine, std::span<float> flat) override {
      group_.pieces_[static_cast<std::size_t>(rank_)] = mine;
      group_.barrier_.arrive_and_wait();
      auto to = flat.begin();
      for (const std::span<const float> piece : group_.pieces_) to = std::ranges::copy(piece, to).out;
      group_.barrier_.arrive_and_wait();
    }
    std::vector<double> all_gather_scalars(std::span<const double> /*mine*/) override {
      throw InternalError("not part of an update");
    }

   private:
    ThreadGroup& group_;
    int rank_;
  };

 private:
  std::vector<std::span<const float>> pieces_;
  std::barrier<> barrier_;
};

constexpr int kShards = 4;
constexpr std::uint64_t kFlatSize = 10000;  // slices of 3072
// Two matrices that boundaries of slices cut, one that none does, one that begins at one.
const std::vector<training::RateRange> kRates = {
    {16, 1616, 0.5, {}, 40}, {2048, 4048, 2, {}, 40}, {6000, 6400, 2, {}, 20}, {9216, 9856, 0.25, {}, 16}};

training::OptimizerUpdate update_number(std::uint64_t t) {
  return {.learning_rate = 1e-2,
          .rates = kRates,
          .beta1 = 0.9,
          .beta2 = 0.99,
          .epsilon = 1e-8,
          .weight_decay = 0.1,
          .gradient_scale = 0.5,
          .t = t,
          .muon_momentum = kMomentum};
}

void fill(std::span<float> values, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  for (float& value : values) value = normal(generator);
}

at::Tensor tensor(std::span<float> values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kFloat);
}

enum class Kind { kSlot, kDevice, kDeviceWithOwnKernels };

std::unique_ptr<training::ShardedState> make_state(Kind kind, const ExchangeMemory& memory, const Partition& partition,
                                                   training::Communicator& communicator, PublishedSlot published) {
  if (kind == Kind::kSlot) return std::make_unique<SlotState>(memory, partition, communicator, std::move(published));
  static ImmediateCopies copies;  // it has no state
  const auto kernels = kind == Kind::kDevice ? operations::Kernels::kAten : operations::Kernels::kCuda;
  const DeviceBuffers buffers{tensor(memory.parameters()), tensor(memory.gradients()), copies, kernels};
  return std::make_unique<DeviceState>(memory, partition, communicator, buffers, std::move(published));
}

// Parameters and both moments of all ranks after three updates, a slot's last one in place.
std::array<std::vector<float>, 3> after_three_updates(int ranks, Kind kind = Kind::kSlot) {
  const Partition all(kFlatSize, kShards, 1);
  std::vector<float> first(all.padded_size());
  fill(first, 1);
  std::array<std::vector<float>, 3> result;
  for (auto& values : result) values.resize(all.padded_size());
  ThreadGroup group(ranks);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const Partition partition(kFlatSize, kShards, ranks);
      const FlatInterval range = partition.range(rank);
      std::vector<std::byte> bytes(ExchangeMemory::size_bytes(partition.padded_size(), partition.range_size()));
      const ExchangeMemory memory(bytes, partition.padded_size(), partition.range_size());
      const auto begin = static_cast<std::ptrdiff_t>(range.begin);
      std::copy_n(first.begin() + begin, range.size(), memory.slot(0).parameters.begin());
      ThreadGroup::Member member(group, rank);
      int newest = 0;
      const auto state =
          make_state(kind, memory, partition, member, {0, [&newest](int slot, const Publication&) { newest = slot; }});
      for (std::uint64_t t = 1; t <= 3; ++t) {
        fill(memory.gradients(), 10 + static_cast<unsigned>(t));
        state->update(update_number(t));
        state->gather_parameters();
        if (t != 2) state->publish({.step = t}, training::ShardedState::Destination::kDisk);  // at once
      }
      const ExchangeMemory::Slot slot = memory.slot(newest);
      std::ranges::copy(slot.parameters, result[0].begin() + begin);
      std::ranges::copy(slot.first_moment, result[1].begin() + begin);
      std::ranges::copy(slot.second_moment, result[2].begin() + begin);
    });
  }
  threads.clear();
  return result;
}

class MuonTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override { operations::use_cuda_operations(); }
};

TEST_P(MuonTest, HasTheSameBitsOnAnyNumberOfRanks) {
  const auto alone = after_three_updates(1, GetParam());
  ASSERT_TRUE(is_any_matrix_cut(update_number(1), Partition(kFlatSize, kShards, 4)));
  ASSERT_FALSE(is_any_matrix_cut(update_number(1), Partition(kFlatSize, kShards, 1)));
  for (const int ranks : {2, 4}) EXPECT_TRUE(after_three_updates(ranks, GetParam()) == alone) << ranks << " ranks";
}

TEST_P(MuonTest, IsThatOfTheCpu) {
  const auto expected = after_three_updates(1);
  const auto found = after_three_updates(1, GetParam());
  for (std::size_t part = 0; part < found.size(); ++part) {
    for (std::size_t i = 0; i < found[part].size(); ++i)
      ASSERT_NEAR(found[part][i], expected[part][i], 1e-5) << "part " << part << ", element " << i;
  }
}

std::string name_of(const ::testing::TestParamInfo<Kind>& tested) {
  if (tested.param == Kind::kSlot) return "Slot";
  return tested.param == Kind::kDevice ? "Device" : "DeviceWithOwnKernels";
}
INSTANTIATE_TEST_SUITE_P(Kinds, MuonTest, ::testing::Values(Kind::kSlot, Kind::kDevice, Kind::kDeviceWithOwnKernels),
                         name_of);

TEST(Muon, FollowsItsFormula) {
  const auto found = after_three_updates(1);
  std::vector<float> first(found[0].size());
  fill(first, 1);
  for (const training::RateRange& rate : kRates) {
    const auto size = static_cast<std::int64_t>(rate.end - rate.begin);
    const auto rows = static_cast<std::int64_t>(rate.rows);
    const auto in_fp64 = [&](const std::vector<float>& values) {
      return at::from_blob(const_cast<float*>(&values[rate.begin]), {size}, at::kFloat)
          .to(at::kDouble)
          .view({rows, -1});
    };
    at::Tensor p = in_fp64(first);
    at::Tensor m = at::zeros_like(p);
    at::Tensor v = at::zeros_like(p);
    for (unsigned t = 1; t <= 3; ++t) {
      std::vector<float> gradient(found[0].size());
      fill(gradient, 10 + t);
      const at::Tensor g = in_fp64(gradient) * 0.5;
      m = kMomentum * m + (1 - kMomentum) * g;
      v = 0.99 * v + 0.01 * g * g;
      const at::Tensor step =
          operations::muon_step((kMomentum * m + (1 - kMomentum) * g).to(at::kFloat)).to(at::kDouble);
      p = p - 1e-2 * rate.factor * (step + 0.1 * p);
    }
    EXPECT_LT((in_fp64(found[0]) - p).abs().max().item<double>(), 1e-5) << rate.begin;
    EXPECT_LT((in_fp64(found[1]) - m).abs().max().item<double>(), 1e-6) << rate.begin;
    EXPECT_LT((in_fp64(found[2]) - v).abs().max().item<double>(), 1e-6) << rate.begin << ": AdamW could not go on";
  }
}

}  // namespace
}  // namespace kangpt::sharding
