// Dropout by the implementations of Operations against its definition. Built three times: for the CPU; with the kernels
// for GPUs, emulated; and for a GPU (skipped where there is none).
#include "operations/dropout.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <tuple>

#include "operations/cpu/dropout_kernel.hpp"
#include "operations/operations.hpp"
#include "tests/operations/tested_kernels.hpp"

namespace kangpt::operations {
namespace {

using testing::kDevice;
using testing::kTested;
using testing::Tested;

std::unique_ptr<Operations> make(Kernels kernels) {
  testing::prepare_kernels();
  return make_operations(kernels, config::Precision::kFp32);
}

class DropoutTest : public ::testing::TestWithParam<Tested> {
 protected:
  void SetUp() override {
    if (kDevice == at::kCUDA && !at::hasCUDA()) GTEST_SKIP() << "there is no GPU here";
    at::manual_seed(3);
  }

  static at::TensorOptions on_device() { return at::TensorOptions(std::get<1>(GetParam())).device(kDevice); }

  std::unique_ptr<Operations> operations_ = make(std::get<0>(GetParam()));
};

// Salmon et al. publish these with their implementation (Random123, kat_vectors).
TEST(Philox, GivesThePublishedNumbers) {
  using Words = std::array<std::uint32_t, 4>;
  const auto philox = [](cpu::PhiloxCounter counter, std::uint32_t key0, std::uint32_t key1) {
    return std::to_array(cpu::philox(counter, key0, key1).words);
  };
  EXPECT_EQ(philox({{0, 0, 0, 0}}, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Element by element, as dropout.hpp says it.
bool is_left_out(const Dropout& dropout, std::uint64_t element) {
  const std::uint64_t lane = element / 128 * 16 + element % 16;
  const cpu::PhiloxCounter drawn =
      cpu::philox({{static_cast<std::uint32_t>(lane), static_cast<std::uint32_t>(lane >> 32),
                    static_cast<std::uint32_t>(dropout.step),
                    dropout.place + static_cast<std::uint32_t>(dropout.step >> 32 << 12)}},
                  static_cast<std::uint32_t>(dropout.seed), static_cast<std::uint32_t>(dropout.seed >> 32));
  const std::uint64_t number = element % 128 / 16;
  return (drawn.words[number / 2] >> (number % 2 * 16) & 0xFFFF) >= dropout.kept();
}

// Rows and channels that begin and end within blocks of the generator, and counters beyond 32 bits.
TEST_P(DropoutTest, LeavesOutWhatItsFormulaSays) {
  for (const std::int64_t channels : {128, 24, 7}) {
    for (const std::uint64_t first_row : {std::uint64_t{0}, std::uint64_t{13}, std::uint64_t{1} << 34}) {
      const Dropout dropout{.probability = 0.3,
                            .seed = 0xFEDCBA9876543210,
                            .step = 0x1'FFFF'FFFF,
                            .first_row = first_row,
                            .place = 2,
                            .places = 4};
      const at::Tensor values = at::randn({37, channels}, on_device()).abs() + 0.1;
      const at::Tensor dropped = at::full_like(values, std::numeric_limits<double>::quiet_NaN());
      operations_->drop(values, dropout, dropped);
      const at::Tensor expected = at::empty(values.sizes(), at::kBool);
      for (std::int64_t i = 0; i < expected.numel(); ++i) {
        expected.view(-1)[i] =
            is_left_out(dropout, first_row * static_cast<std::uint64_t>(channels) + static_cast<std::uint64_t>(i));
      }
      EXPECT_TRUE(at::equal((dropped == 0).to(at::kCPU), expected)) << channels << " channels, row " << first_row;
      EXPECT_TRUE(at::equal(dropped, at::where(dropped == 0, at::zeros_like(values), values * dropout.scale())));
      operations_->drop(values, dropout, values);
      EXPECT_TRUE(at::equal(values, dropped)) << "in place";
    }
  }
}

// Shares within five standard deviations; and no element's fate tells anything of another's: neighbours, places, steps,
// seeds and the sixteen bits' halves agree as often as independent ones do.
TEST_P(DropoutTest, LeavesOutItsShareIndependently) {
  const at::Tensor ones = at::ones({128, 1024}, on_device());
  const auto count = static_cast<double>(ones.numel());
  for (const double probability : {0.1, 0.5}) {
    const Dropout dropout{.probability = probability, .seed = 7, .step = 3, .first_row = 0, .place = 0, .places = 3};
    const auto left_out = [&](const Dropout& d) {
      const at::Tensor dropped = at::empty_like(ones);
      operations_->drop(ones, d, dropped);
      return (dropped == 0).to(at::kDouble);
    };
    const auto expect_share = [&](const at::Tensor& found, double expected, const std::string& what) {
      const double deviation = std::sqrt(expected * (1 - expected) / count);
      EXPECT_NEAR(found.mean().item<double>(), expected, 5 * deviation) << what << ", probability " << probability;
    };
    const at::Tensor first = left_out(dropout);
    expect_share(first, probability, "left out");
    Dropout other_step = dropout, other_seed = dropout, other_rows = dropout;
    other_step.step = 4;
    other_seed.seed = 8;
    other_rows.first_row = 128;
    for (const Dropout& other : {dropout.at(1), other_step, other_seed, other_rows})
      expect_share(first * left_out(other), probability * probability, "left out in both");
    for (const std::int64_t distance : {1, 15, 16, 32, 64, 128, 1024})
      expect_share(first * first.view(-1).roll(distance).view_as(first), probability * probability, "neighbours");
    const at::Tensor kept_sum = at::empty_like(ones);
    operations_->drop(ones, dropout, kept_sum);
    EXPECT_NEAR(kept_sum.mean().item<double>(), 1, 5 * std::sqrt(probability / (1 - probability) / count));
  }
}

INSTANTIATE_TEST_SUITE_P(Implementations, DropoutTest, ::testing::ValuesIn(kTested));

}  // namespace
}  // namespace kangpt::operations
