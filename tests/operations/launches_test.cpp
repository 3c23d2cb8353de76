// What own kernels say of the memory that they touch is what they touch, emulated: a launch changes nothing that it
// does not say it writes, and needs nothing that it does not say it reads. Compiled behind the emulator, as kernels
// are.
#include "operations/cuda/launches.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "operations/cuda/device.hpp"
#include "operations/cuda/kernels.hpp"
#include "operations/cuda/muon.hpp"

namespace kangpt::operations::cuda {
namespace {

using Bytes = std::vector<std::byte>;

// Memory that launches work on. While one runs, whatever it does not say it reads holds 0xFF, which is no number.
class Watched {
 public:
  float* random(std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    std::normal_distribution<float> normal;
    std::generate(values.begin(), values.end(), [&] { return normal(generator_); });
    return reinterpret_cast<float*>(add(std::as_bytes(std::span(values))));
  }
  template <class T>
  T* of(const std::vector<T>& values) {
    return reinterpret_cast<T*>(add(std::as_bytes(std::span(values))));
  }

  // Runs `launches` once without and once with hidden memory. What each launch wrote without saying so is in lies();
  // returns whether both gave the same, so that nothing was read that it did not say.
  bool says_what_it_reads(const std::function<void()>& launches) {
    const std::vector<Bytes> before = buffers_;
    launches();
    const std::vector<Bytes> expected = buffers_;
    EXPECT_NE(expected, before) << "nothing is computed";
    restore(before);
    current = this;
    watch_launches(&begin);
    launches();
    watch_launches(nullptr);
    end_launch();
    const bool same = buffers_ == expected;
    restore(expected);
    return same;
  }
  std::set<std::string> lies() const { return lies_; }

 private:
  std::byte* add(std::span<const std::byte> bytes) {
    buffers_.emplace_back(bytes.begin(), bytes.end());
    return buffers_.back().data();  // stays where it is, in whatever vector of buffers
  }
  void restore(const std::vector<Bytes>& contents) {
    for (std::size_t i = 0; i < buffers_.size(); ++i) std::ranges::copy(contents[i], buffers_[i].begin());
  }

  static bool begin(const Work& work, Stream /*stream*/) {
    current->end_launch();
    current->begin_launch(work);
    return true;
  }
  void begin_launch(const Work& work) {
    running_ = work;
    contents_ = buffers_;
    for (Bytes& buffer : buffers_) {
      for (std::byte& byte : buffer) {
        if (!names(byte, [](const MemoryUse& use) { return use.read_bytes > 0; })) byte = std::byte{0xFF};
      }
    }
    hidden_ = buffers_;
  }
  // What was hidden comes back, unless it was written to.
  void end_launch() {
    for (std::size_t i = 0; i < hidden_.size(); ++i) {
      for (std::size_t k = 0; k < hidden_[i].size(); ++k) {
        std::byte& byte = buffers_[i][k];
        const bool may_change = names(byte, [](const MemoryUse& use) { return use.written_bytes > 0; });
        if (byte != hidden_[i][k] && !may_change) lies_.insert(running_.name);
        if (byte == hidden_[i][k] && !may_change) byte = contents_[i][k];
      }
    }
    hidden_.clear();
  }
  template <class Kind>
  bool names(const std::byte& byte, Kind kind) const {
    return std::ranges::any_of(running_.memory, [&](const MemoryUse& use) {
      const auto* const begin = static_cast<const std::byte*>(use.begin);
      return use.bytes > 0 && kind(use) && &byte >= begin && &byte < begin + use.bytes;
    });
  }

  static inline Watched* current = nullptr;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
  std::mt19937 generator_{3};
  std::vector<Bytes> buffers_, contents_, hidden_;
  Work running_ = {};
  std::set<std::string> lies_;
};

void expect_honest(Watched& memory, const std::function<void()>& launches) {
  EXPECT_TRUE(memory.says_what_it_reads(launches)) << "it reads more than it says";
  EXPECT_EQ(memory.lies(), std::set<std::string>()) << "written to without saying so";
}

TEST(LaunchesTest, Norms) {
  constexpr std::int64_t kRows = 37, kChannels = 64, kDegree = 3;
  Watched memory;
  float *const x = memory.random(kRows * kChannels), *const u = memory.random(kRows * kChannels * kDegree);
  float *const weight = memory.random(kChannels), *const bias = memory.random(kChannels);
  float *const mean = memory.random(kRows), *const deviation = memory.random(kRows);
  float *const dx = memory.random(kRows * kChannels), *const out = memory.random(kRows * kChannels);
  float* const partials = memory.random(layer_norm_blocks(kRows) * 3 * kChannels);
  for (const OperandType type : {OperandType::kFp32, OperandType::kBfloat16}) {
    const LayerNorm plain = {x, weight, bias, u, mean, deviation, kRows, kChannels, 1e-6F, type};
    const LayerNorm basis = {x, weight, bias, u, mean, deviation, kRows, kChannels, 1e-6F, type, kDegree, out, weight};
    expect_honest(memory, [&] { layer_norm(plain, nullptr); });
    expect_honest(memory, [&] { layer_norm(basis, nullptr); });
    LayerNormBackward a = {x, mean, deviation, weight, bias, u, dx, partials, kRows, kChannels, type};
    expect_honest(memory, [&] { layer_norm_backward(a, nullptr); });
    a.degree = kDegree;
    a.copy = out;
    expect_honest(memory, [&] { layer_norm_backward(a, nullptr); });
    expect_honest(memory, [&] { copy_gradient(a, nullptr); });
  }
}

TEST(LaunchesTest, WeightsAndTheirGradients) {
  constexpr std::int64_t kInputs = 12, kOutputs = 35, kDegree = 3, kRows = 9;
  Watched memory;
  float* const coefficients = memory.random(kInputs * kOutputs * (kDegree + 1));
  float *const packed = memory.random(kInputs * kOutputs * kDegree), *const bias = memory.random(kOutputs);
  float *const matrix = memory.random(1500), *const copy = memory.random(1500), *const sums = memory.random(40);
  std::vector<WeightJob> jobs = {{coefficients, packed, kInputs, kOutputs, kDegree, 0, WeightJob::kPolynomials},
                                 {coefficients, bias, kInputs, kOutputs, kDegree, 0, WeightJob::kConstants},
                                 {matrix, copy, 1500, 1, 0, 0, WeightJob::kCopy}};
  for (const OperandType type : {OperandType::kFp32, OperandType::kBfloat16}) {
    if (type == OperandType::kBfloat16) jobs.erase(jobs.begin() + 1);  // constants are the same
    for (const WeightJob& job : jobs) {
      const std::int64_t pairs = job.inputs * job.outputs, read = pairs * (job.degree + 1);
      const std::int64_t operands = pairs * std::max<std::int64_t>(job.degree, 1);
      const bool is_bias = job.kind == WeightJob::kConstants;
      const MemoryUse written = is_bias ? writes(bias, kOutputs) : operand_written(job.to, operands, type);
      const Weights one = {&job, 1, type, weight_blocks(job), reads(job.from, read), written, {}};
      expect_honest(memory, [&] { take_weights(one, nullptr); });  // the job itself is not hidden
    }
  }
  Gradients a;
  a.add({GradientPart::kSums, matrix + 5, sums, 40, kRows, 70});
  a.add({GradientPart::kConstants, copy, coefficients, kOutputs, kRows, 50, kInputs, kDegree});
  a.add({GradientPart::kPolynomials, packed, coefficients, kOutputs, 1, 0, kInputs, kDegree});
  a.add({GradientPart::kAdd, matrix, bias, kOutputs});
  expect_honest(memory, [&] { add_gradients(a, nullptr); });
}

TEST(LaunchesTest, ChebyshevPolynomials) {
  constexpr std::int64_t kRows = 9, kInputs = 12, kOutputs = 35, kDegree = 3;
  Watched memory;
  float *const u = memory.random(kRows * kInputs), *const basis = memory.random(kRows * kInputs * kDegree);
  float *const dbasis = memory.random(kRows * kInputs * kDegree), *const bias = memory.random(kOutputs);
  float* const coefficients = memory.random(kInputs * kOutputs * (kDegree + 1));
  float* const packed = memory.random(kInputs * kOutputs * kDegree);
  expect_honest(memory, [&] { chebyshev_basis({u, basis, kRows, kInputs, kDegree}, nullptr); });
  expect_honest(memory, [&] { chebyshev_backward({basis, dbasis, u, kRows, kInputs, kDegree}, nullptr); });
  expect_honest(memory, [&] { pack_coefficients({coefficients, packed, bias, kInputs, kOutputs, kDegree}, nullptr); });
  expect_honest(memory, [&] {
    add_coefficient_gradient({packed, bias, coefficients, kInputs, kOutputs, kDegree}, nullptr);
  });
}

TEST(LaunchesTest, SmallAttention) {
  constexpr std::int64_t kBatch = 2, kTime = 21, kHeads = 3, kHeadDim = 4, kValues = kBatch * kTime * kHeads * kHeadDim;
  Watched memory;
  float *const qkv = memory.random(3 * kValues), *const context = memory.random(kValues);
  float *const log_sums = memory.random(kBatch * kTime * kHeads), *const dcontext = memory.random(kValues);
  float* const dqkv = memory.random(3 * kValues);
  float *const bias = memory.random(kHeads * kHeadDim), *const sums = memory.random(3 * kBatch * kHeads * kHeadDim);
  Attention a = {qkv, context, log_sums, dcontext, dqkv, kBatch, kTime, kHeads, kHeadDim};
  expect_honest(memory, [&] { attention(a, nullptr); });
  expect_honest(memory, [&] { attention_backward(a, nullptr); });
  a.type = OperandType::kBfloat16;
  a.biases[0] = a.biases[1] = a.biases[2] = bias;
  a.partials = sums;
  expect_honest(memory, [&] { attention(a, nullptr); });
  expect_honest(memory, [&] { attention_backward(a, nullptr); });
}

TEST(LaunchesTest, Elements) {
  constexpr std::int64_t kRows = 45, kChannels = 24, kCount = kRows * kChannels + 3;
  Watched memory;
  float *const first = memory.random(kCount), *const second = memory.random(kCount),
               *const third = memory.random(kCount);
  float *const fourth = memory.random(kCount), *const tokens = memory.random(11 * kChannels);
  const std::vector<std::int64_t> ids(kRows, 7);
  const std::int64_t* const id = ids.data();  // not hidden
  expect_honest(memory, [&] { gelu({first, second, kCount}, nullptr); });
  expect_honest(memory, [&] { gelu_backward({first, second, kCount}, nullptr); });
  expect_honest(memory, [&] { round_to_bfloat16({first, third, kCount}, nullptr); });
  expect_honest(memory, [&] { embed({id, tokens, fourth, first, kRows, kChannels, 9, 11}, nullptr); });
  std::vector<std::int64_t> order(kRows);
  std::iota(order.begin(), order.end(), 0);
  std::vector<float> partials(static_cast<std::size_t>(embedding_gradient_partials(kRows, kChannels)));  // not hidden
  expect_honest(memory, [&] {
    add_embedding_gradient({id, order.data(), first, partials.data(), tokens, kRows, kChannels, 11}, nullptr);
  });
  expect_honest(memory, [&] { swiglu({first, second, third, kCount}, nullptr); });
  expect_honest(memory, [&] { swiglu_backward({first, second, third, fourth, kCount}, nullptr); });
  expect_honest(memory, [&] { drop({first, second, kCount, 1000, 5, 1, 0, 50000, 1.25F}, nullptr); });
}

TEST(LaunchesTest, FunctionsOfGroups) {
  constexpr std::int64_t kRows = 70, kChannels = 24, kGroups = 3, kBlocks = 2;
  Watched memory;
  float *const u = memory.random(kRows * kChannels), *const y = memory.random(kRows * kChannels);
  float *const first = memory.random(kGroups * 6), *const second = memory.random(kGroups * 4);
  float *const sums = memory.random(kBlocks * kGroups * 6), *const more = memory.random(kBlocks * kGroups * 4);
  float* const dy = memory.random(kRows * kChannels);
  ASSERT_EQ(group_function_blocks(kRows), kBlocks);
  const GroupFunction rational = {u, first, second, dy, y, sums, more, kRows, kChannels, kGroups, 6, 4};
  const GroupFunction chebyshev = {u, first, nullptr, dy, y, sums, nullptr, kRows, kChannels, kGroups, 6, 0};
  expect_honest(memory, [&] { rational_function(rational, nullptr); });
  expect_honest(memory, [&] { rational_function_backward(rational, nullptr); });
  expect_honest(memory, [&] { chebyshev_function(chebyshev, nullptr); });
  expect_honest(memory, [&] { chebyshev_function_backward(chebyshev, nullptr); });
}

TEST(LaunchesTest, SumsAndTheClassifier) {
  constexpr std::int64_t kRows = 600, kColumns = 40;
  Watched memory;
  float *const matrix = memory.random(kRows * kColumns), *const sums = memory.random(kColumns);
  float* const partials = memory.random(column_sum_partials(kRows, kColumns));
  float *const mask = memory.random(kRows), *const losses = memory.random(kRows);
  double* const two = memory.of(std::vector<double>(2));
  const std::vector<std::int64_t> targets(kRows, 3);
  expect_honest(memory, [&] { add_column_sums({matrix, partials, sums, kRows, kColumns}, nullptr); });
  expect_honest(memory, [&] { sum_both({mask, losses, two, kRows}, nullptr); });
  expect_honest(memory, [&] {
    classify({matrix, targets.data(), mask, losses, 5, kColumns - 1, kColumns, false, true}, nullptr);
  });
}

TEST(LaunchesTest, FlatBuffers) {
  constexpr std::int64_t kSize = 4100;
  Watched memory;
  Adamw a = {};
  for (float** const buffer : {&a.parameters, &a.first_moment, &a.gradient}) *buffer = memory.random(kSize);
  float* const second_moment = memory.random(kSize);
  std::transform(second_moment, second_moment + kSize, second_moment, [](float value) { return std::abs(value); });
  a.second_moment = second_moment;
  a.count = 2;
  a.parts[0] = {8, 1500, 0.1F, 0.01F, 0, 1, 0, 0};
  a.parts[1] = {1500, 4000, 0.2F, 0.01F, 0, 2, 1, 0};
  a.factors[0] = a.factors[1] = a.beta1 = a.beta2 = a.gradient_scale = a.root_correction = 0.5F;
  a.one_minus_beta1 = a.one_minus_beta2 = a.epsilon = 0.5F;
  expect_honest(memory, [&] { adamw(a, nullptr); });
  double *const partials = memory.of(std::vector<double>(4)), *const norms = memory.of(std::vector<double>(2));
  expect_honest(memory, [&] { squared_norms({a.parameters, partials, norms, 2, kSize / 2}, nullptr); });
  const std::vector<std::uint64_t> factors(kHashColumns, 3);
  std::uint64_t *const columns = memory.of(factors), *const rows = memory.of(factors);
  std::uint64_t* const hashes = memory.of(std::vector<std::uint64_t>(3));
  std::uint64_t* const scratch = memory.of(std::vector<std::uint64_t>(4));
  expect_honest(memory, [&] { hash_ranges({a.parameters, columns, rows, scratch, hashes, 2, kSize / 2}, nullptr); });
}

TEST(LaunchesTest, Muon) {
  constexpr std::int64_t kSize = 20000;
  Watched memory;
  std::vector<MuonMatrix> matrices(3);
  MuonTable table = {nullptr, 3, {}};
  const std::vector<std::array<std::int64_t, 2>> shapes = {{70, 40}, {65, 130}, {3, 5}};
  std::int64_t begin = 16;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const auto& [rows, columns] = shapes[i];
    MuonMatrix m = {};
    m.rows = rows;
    m.columns = columns;
    m.direction = m.own = begin;
    m.end = rows * columns;
    m.rate_factor = m.scale = 1;
    place(m, table.sizes);
    matrices[i] = m;
    begin += m.end;
  }
  table.matrices = memory.of(matrices);
  MuonDirections a = {table};
  for (float** const buffer : {&a.first_moment, &a.second_moment, &a.gradient, &a.directions})
    *buffer = memory.random(kSize);
  a.momentum = a.one_minus_momentum = a.beta2 = a.one_minus_beta2 = a.gradient_scale = 0.5F;
  expect_honest(memory, [&] { muon_directions(a, nullptr); });
  float *const parameters = memory.random(kSize), *const copies = memory.random(2 * table.sizes.copies);
  float* const squares = memory.random(2 * table.sizes.squares);
  double* const sums = memory.of(std::vector<double>(static_cast<std::size_t>(table.sizes.sums)));
  const MuonSteps steps = {table, a.directions, parameters, copies, squares, sums, 0.1,
                           0.1,   1e-13F,       3.4F,       -4.8F,  2.0F,    1};
  expect_honest(memory, [&] { muon_steps(steps, nullptr); });
}

// Kernels that say too little.
void copy_one(const float* from, float* to) {
  if (threadIdx.x == 0) *to = *from;
}

TEST(LaunchesTest, WhatAKernelKeepsQuietAboutIsFound) {
  Watched memory;
  float *const from = memory.random(1), *const to = memory.random(1);
  const auto copy = [&](const Work& work) {
    launch(work, {1, 1, kWarp}, nullptr, &copy_one, static_cast<const float*>(from), to);
  };
  expect_honest(memory, [&] { copy({"copy", {reads(from, 1), writes(to, 1)}}); });
  *from = 5;
  EXPECT_TRUE(memory.says_what_it_reads([&] { copy({"hides what it writes", {reads(from, 1)}}); }));
  EXPECT_EQ(memory.lies(), std::set<std::string>{"hides what it writes"});
  *from = 6;
  EXPECT_FALSE(memory.says_what_it_reads([&] { copy({"hides what it reads", {writes(to, 1)}}); }));
}

TEST(LaunchesTest, AWatcherThatOnlyCountsKeepsKernelsFromRunning) {
  const float from = 1;
  float to = 2;
  watch_launches([](const Work& /*work*/, Stream /*stream*/) { return false; });
  launch({"copy"}, {1, 1, kWarp}, nullptr, &copy_one, &from, &to);
  watch_launches(nullptr);
  EXPECT_EQ(to, 2);
}

}  // namespace
}  // namespace kangpt::operations::cuda
