// The GPU's state on the CPU device, against the CPU's own.
#include "sharding/workplace/device_state.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <thread>

#include "base/error.hpp"
#include "sharding/local_communicator.hpp"
#include "sharding/workplace/gpu.hpp"

namespace kangpt::sharding {
namespace {

constexpr int kShards = 4;
constexpr double kAverageDecay = 0.75;

// A worker's memory and state, with whatever it published.
class Worker {
 public:
  Worker()
      : bytes_(ExchangeMemory::size_bytes(partition_.padded_size(), partition_.range_size(), kShape)),
        memory_(bytes_, partition_.padded_size(), partition_.range_size(), kShape) {
    std::mt19937 generator(7);
    fill(memory_.slot(0).parameters, generator, 1.0F);
    fill(memory_.slot(0).first_moment, generator, 0.1F);
    fill(memory_.slot(0).second_moment, generator, 0.1F);
    for (float& value : memory_.slot(0).second_moment) value = value * value;
    fill(memory_.slot(0).average, generator, 1.0F);
  }

  static void fill(std::span<float> values, std::mt19937& generator, float deviation) {
    std::normal_distribution<float> normal(0.0F, deviation);
    for (float& value : values) value = normal(generator);
  }

  PublishedSlot published() {
    return {0, [this](int slot, const Publication& publication) {
              slot_ = slot;
              publication_ = publication;
            }};
  }
  at::Tensor tensor(std::span<float> values) const {
    return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kFloat);
  }

  static constexpr ExchangeMemory::Shape kShape = {.arrays = ExchangeMemory::arrays_for(kAverageDecay)};
  Partition partition_{10000, kShards, 1};
  std::vector<std::byte> bytes_;
  ExchangeMemory memory_;
  LocalCommunicator communicator_;
  ImmediateCopies copies_;
  int slot_ = -1;
  Publication publication_;
};

// One step with random gradients, the same for every worker.
double step(Worker& worker, training::ShardedState& state, std::uint64_t t) {
  std::mt19937 generator(static_cast<unsigned>(t));
  for (int shard = 0; shard < kShards; ++shard) {
    Worker::fill(worker.memory_.gradients(), generator, 2.0F);
    state.add_gradient();
  }
  state.reduce_gradients();
  const double norm = state.squared_gradient_norm();
  const std::array<training::RateRange, 4> rates = {
      {{48, 5040, 0.25}, {5056, 8056, 0.5, {0.01, 1, 0.25}}, {8064, 8864, 2, {}, 20}, {8864, 9344, 0.5, {}, 40}}};
  state.update({.learning_rate = 1e-2,
                .rates = rates,
                .beta1 = 0.9,
                .beta2 = 0.999,
                .epsilon = 1e-8,
                .weight_decay = 1e-2,
                .gradient_scale = 0.25,
                .t = t,
                .muon_momentum = 0.95,
                .average_decay = kAverageDecay});
  state.gather_parameters();
  EXPECT_THAT(worker.memory_.gradients(), testing::Each(0.0F)) << "the next step starts with zeros";
  return norm;
}

void expect_near(std::span<const float> expected, std::span<const float> found) {
  ASSERT_EQ(expected.size(), found.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR(expected[i], found[i], 1e-6F * std::max(1.0F, std::abs(expected[i]))) << "element " << i;
}

TEST(DeviceStateTest, StepsAndSnapshotsAreThoseOfTheCpu) {
  Worker a, b;
  SlotState on_cpu(a.memory_, a.partition_, a.communicator_, a.published());
  DeviceState on_device(b.memory_, b.partition_, b.communicator_,
                        {b.tensor(b.memory_.parameters()), b.tensor(b.memory_.gradients()), b.copies_}, b.published());
  for (std::uint64_t t = 1; t <= 5; ++t) {
    const double norm = step(a, on_cpu, t);
    EXPECT_NEAR(step(b, on_device, t), norm, 1e-12 * norm);
    if (t == 3) on_cpu.keep(), on_device.keep();
    expect_near(a.memory_.parameters(), b.memory_.parameters());
    if (t % 2 == 0) continue;
    on_cpu.publish({.step = t}, training::ShardedState::Destination::kDisk);
    on_device.publish({.step = t}, training::ShardedState::Destination::kDisk);
    EXPECT_EQ(b.publication_.state.step, t);
    EXPECT_EQ(b.publication_.write_checkpoint, 1u);
    const ExchangeMemory::Slot expected = a.memory_.slot(a.slot_);
    const ExchangeMemory::Slot found = b.memory_.slot(b.slot_);
    EXPECT_EQ(b.publication_.checksum, slot_checksum(found));
    expect_near(expected.parameters, found.parameters);
    expect_near(expected.first_moment, found.first_moment);
    expect_near(expected.second_moment, found.second_moment);
    expect_near(expected.average, found.average);
  }
}

// On the CPU with and without snapshots between steps, which then work in place.
TEST(DeviceStateTest, TheAverageMovesTowardsTheParametersAndCanBeGathered) {
  for (const std::uint64_t interval : {1, 2}) {
    Worker worker;
    std::vector<double> expected(worker.memory_.slot(0).average.begin(), worker.memory_.slot(0).average.end());
    SlotState state(worker.memory_, worker.partition_, worker.communicator_, worker.published());
    for (std::uint64_t t = 1; t <= 4; ++t) {
      step(worker, state, t);
      for (std::size_t i = 0; i < expected.size(); ++i)
        expected[i] = kAverageDecay * expected[i] + (1 - kAverageDecay) * worker.memory_.parameters()[i];
      if (t % interval == 0) state.publish({.step = t}, training::ShardedState::Destination::kMemory);
    }
    const std::vector<float> parameters(worker.memory_.parameters().begin(), worker.memory_.parameters().end());
    state.gather_average();
    expect_near({std::vector<float>(expected.begin(), expected.end())}, worker.memory_.parameters());
    EXPECT_EQ(worker.publication_.checksum, slot_checksum(worker.memory_.slot(worker.slot_)));
    state.gather_parameters();
    EXPECT_THAT(worker.memory_.parameters(), testing::ElementsAreArray(parameters));
  }
}

TEST(DeviceStateTest, ASnapshotIsNeverWrittenTo) {
  Worker worker;
  DeviceState state(
      worker.memory_, worker.partition_, worker.communicator_,
      {worker.tensor(worker.memory_.parameters()), worker.tensor(worker.memory_.gradients()), worker.copies_},
      worker.published());
  const std::uint64_t first = slot_checksum(worker.memory_.slot(0));
  step(worker, state, 1);
  EXPECT_EQ(slot_checksum(worker.memory_.slot(0)), first);
  state.publish({.step = 1}, training::ShardedState::Destination::kMemory);
  EXPECT_EQ(worker.slot_, -1) << "it is copied while the next step is computed";
  for (int shard = 0; shard < kShards; ++shard) state.add_gradient();
  EXPECT_EQ(worker.slot_, 1);
  EXPECT_EQ(worker.publication_.state.step, 1U);
  EXPECT_EQ(worker.publication_.checksum, slot_checksum(worker.memory_.slot(1)));
  EXPECT_EQ(slot_checksum(worker.memory_.slot(0)), first) << "the snapshot before stays until the next one";
}

TEST(DeviceStateTest, AHashKnowsEveryBitAndEveryPlace) {
  Worker worker;
  const at::Tensor parameters = worker.tensor(worker.memory_.parameters());
  DeviceState state(worker.memory_, worker.partition_, worker.communicator_,
                    {parameters, worker.tensor(worker.memory_.gradients()), worker.copies_}, worker.published());
  state.gather_parameters();
  const training::ParameterHashes hashes = state.parameter_hashes();
  ASSERT_EQ(hashes.copied_ranges.size(), 1U);
  EXPECT_EQ(hashes.copied_ranges[0], hashes.own_range) << "the same values, elsewhere";
  auto* const bits = reinterpret_cast<std::uint32_t*>(parameters.data_ptr<float>());
  const auto is_noticed = [&] { return state.parameter_hashes().copied_ranges[0] != hashes.own_range; };
  for (const std::size_t at : {0U, 2047U, 2048U, 5000U, 9999U}) {  // of 10000: four rows of 2048, and what is left
    for (const unsigned bit : {0U, 22U, 31U}) {
      bits[at] ^= 1U << bit;
      EXPECT_TRUE(is_noticed()) << at << ", bit " << bit;
      bits[at] ^= 1U << bit;
    }
  }
  for (const auto& [a, b] : std::vector<std::pair<std::size_t, std::size_t>>{{3, 4}, {3, 2051}, {8191, 9000}}) {
    std::swap(bits[a], bits[b]);
    EXPECT_TRUE(is_noticed()) << a << " and " << b << " in each other's place";
    std::swap(bits[a], bits[b]);
  }
  EXPECT_FALSE(is_noticed());
}

// Copies that the device still makes when it has nothing else to do.
class SlowCopies final : public BackgroundCopies {
 public:
  void begin(const at::Tensor& from, const at::Tensor& to) override { to.copy_(from); }
  void finish() override { std::this_thread::sleep_for(kTime); }
  static constexpr std::chrono::milliseconds kTime{20};
};

TEST(DeviceStateTest, ASnapshotThatTheDeviceWaitsForIsSaidToCostThat) {
  Worker worker;
  SlowCopies copies;
  DeviceState state(worker.memory_, worker.partition_, worker.communicator_,
                    {worker.tensor(worker.memory_.parameters()), worker.tensor(worker.memory_.gradients()), copies},
                    worker.published());
  step(worker, state, 1);
  EXPECT_EQ(state.take_late_seconds(), 0) << "none has been published";
  double most_seconds = 0;
  for (std::uint64_t t = 2; t < 7; ++t) {  // on a busy machine one may look as if the device had been busy
    state.publish({.step = t - 1}, training::ShardedState::Destination::kMemory);
    step(worker, state, t);
    most_seconds = std::max(most_seconds, state.take_late_seconds());
  }
  EXPECT_GE(most_seconds, std::chrono::duration<double>(SlowCopies::kTime).count());
  EXPECT_EQ(state.take_late_seconds(), 0) << "it has been taken";
}

// What kangpt_worker is linked with: the part without CUDA.
TEST(NoGpuTest, SaysThatTheBuildHasNone) {
  try {
    use_gpu(0);
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("built without CUDA and NCCL"));
  }
}

}  // namespace
}  // namespace kangpt::sharding
