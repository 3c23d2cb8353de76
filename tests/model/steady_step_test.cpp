// Memory of training steps: how much it is, and that a step after the first ones takes no more of it.
#include <ATen/Parallel.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>

#include <atomic>

#include "base/processor/processor.hpp"
#include "model/parameters/model_memory.hpp"
#include "tests/model/test_network.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;

constexpr std::size_t kBufferBytes = 4096;  // less is a number or the description of a view
constexpr long kFewPageFaults = 64;         // one buffer of the network below has hundreds of pages

// LibTorch's allocator, counting the buffers that it gives.
class CountingAllocator : public at::Allocator {
 public:
  CountingAllocator() : allocator_(*c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 1); }
  ~CountingAllocator() override { c10::SetCPUAllocator(&allocator_, 1); }
  CountingAllocator(const CountingAllocator&) = delete;
  CountingAllocator& operator=(const CountingAllocator&) = delete;

  at::DataPtr allocate(std::size_t size) override {
    if (size >= kBufferBytes) ++buffers_;
    return allocator_.allocate(size);
  }
  at::DeleterFnPtr raw_deleter() const override { return allocator_.raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t count) const override {
    allocator_.copy_data(to, from, count);
  }
  int buffers() const { return buffers_; }

 private:
  at::Allocator& allocator_;
  std::atomic<int> buffers_ = 0;
};

long page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

struct Case {
  FeedForward feed_forward;
  Mixer mixer;
  config::Precision precision;
};

class SteadyStepTest : public ::testing::TestWithParam<Case> {
 protected:
  static config::ModelConfig config() {
    config::ModelConfig config = testing::small_config(GetParam().feed_forward, GetParam().mixer);
    config.precision = GetParam().precision;
    config.vocabulary_size = 3000;
    config.sequence_length = 32;
    config.d_model = 64;
    config.mlp_hidden = 128;
    return config;
  }
};

TEST_P(SteadyStepTest, TakesNoBufferAndTouchesNoNewPage) {
  testing::Network network(config(), at::kFloat);
  const testing::Batch batch = testing::make_batch(network.config, 16, 32);
  const auto step = [&] {
    network.gradients.zero_();
    testing::forward_and_backward(network, batch);
  };
  for (int warm_up = 0; warm_up < 3; ++warm_up) step();
  const CountingAllocator allocator;
  const long faults_before = page_faults();
  for (int repetition = 0; repetition < 3; ++repetition) step();
  EXPECT_EQ(allocator.buffers(), 0);
  EXPECT_LT(page_faults() - faults_before, kFewPageFaults);
  at::empty({kBufferBytes});
  EXPECT_EQ(allocator.buffers(), 1) << "the counter does not count";
}

// Bytes that the program holds of what it took with malloc.
double held_bytes() {
  const struct mallinfo2 facts = mallinfo2();
  return static_cast<double>(facts.uordblks + facts.hblkhd);
}

TEST_P(SteadyStepTest, HoldsTheMemoryThatAPlanSays) {
  const bool rounds = base::bfloat16_products() != base::Bfloat16Products::kNone;
  for (const auto recompute : {config::Recompute::kNone, config::Recompute::kLayers}) {
    for (const std::int64_t time : {32, 192}) {
      config::ModelConfig model = config();
      model.layers = 6;
      model.heads = 4;
      model.recompute = recompute;
      model.sequence_length = static_cast<int>(time);
      const auto batch = testing::make_batch(model, 8, time);
      const auto held_by_passes = [&] {
        testing::Network network(model, at::kFloat);
        const double before = held_bytes();
        testing::forward_and_backward(network, batch);
        network.transformer.loss(batch.inputs, batch.targets, batch.mask);
        return held_bytes() - before;
      };
      held_by_passes();  // products keep what they have compiled
      const auto planned =
          pass_memory(model, {8, time, at::get_num_threads(), rounds ? model.precision : config::Precision::kFp32});
      const auto expected = static_cast<double>(planned.total());
      EXPECT_NEAR(held_by_passes(), expected, 0.02 * expected + 65536) << "rows of " << time;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllNetworks, SteadyStepTest,
                         ::testing::Values(Case{FeedForward::kKan, Mixer::kAttention, config::Precision::kFp32},
                                           Case{FeedForward::kKan, Mixer::kAttention, config::Precision::kBf16},
                                           Case{FeedForward::kMlp, Mixer::kAttention, config::Precision::kFp32},
                                           Case{FeedForward::kSwiglu, Mixer::kAttention, config::Precision::kFp32},
                                           Case{FeedForward::kGroupedKan, Mixer::kAttention, config::Precision::kFp32},
                                           Case{FeedForward::kRationalKan, Mixer::kAttention, config::Precision::kFp32},
                                           Case{FeedForward::kKan, Mixer::kConvMod, config::Precision::kFp32},
                                           Case{FeedForward::kKan, Mixer::kConv, config::Precision::kFp32},
                                           Case{FeedForward::kKan, Mixer::kDilatedConv, config::Precision::kFp32},
                                           Case{FeedForward::kKan, Mixer::kSeparableConv, config::Precision::kFp32},
                                           Case{FeedForward::kKan, Mixer::kDeformableConv, config::Precision::kFp32}));

}  // namespace
}  // namespace kangpt::model
