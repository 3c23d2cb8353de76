// Attention of long sequences and wide heads on GPUs, with the kernels that LibTorch has for the CPU: against formulas
// in fp64, and without the scores ever being there as a whole.
#include "operations/cuda/long_attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/model/test_network.hpp"
#include "tests/operations/tested_kernels.hpp"
#include "tests/support/allocation_record.hpp"

namespace kangpt::operations {
namespace {

using cuda::LongAttention;
using model::testing::relative_error;

struct Results {
  at::Tensor context;
  at::Tensor dqkv;
};

Results computed(const LongAttention& how, const at::Tensor& qkv, const at::Tensor& dcontext) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // as in the network's passes
  const double nothing = std::numeric_limits<double>::quiet_NaN();
  const Results results = {at::full_like(dcontext, nothing), at::full_like(qkv, nothing)};
  cuda::long_attention(qkv, how, results.context);
  cuda::long_attention_backward(qkv, how, dcontext, results.dqkv);
  return results;
}

at::Tensor formula(const at::Tensor& qkv, const LongAttention& how) {
  const auto [batch, time] = how.shape;
  const at::Tensor parts = qkv.view({batch, time, 3, how.heads.heads, how.heads.head_dim}).permute({2, 0, 3, 1, 4});
  const at::Tensor scores =
      parts[0].matmul(parts[1].transpose(2, 3)) / std::sqrt(static_cast<double>(how.heads.head_dim));
  const at::Tensor future = at::ones({time, time}, at::kBool).triu(1);
  const at::Tensor weights = scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(3);
  return weights.matmul(parts[2]).transpose(1, 2).reshape({batch * time, -1});
}

TEST(LongAttentionTest, IsItsFormulaAndItsGradient) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const auto& [shape, heads] : std::vector<std::pair<SequenceShape, HeadShape>>{
             {{2, 300}, {3, 64}}, {{1, 1024}, {2, 32}}, {{3, 129}, {2, 8}}, {{2, 65}, {3, 17}}, {{1, 1}, {2, 40}}}) {
      SCOPED_TRACE(std::string(c10::toString(type)) + ", time " + std::to_string(shape.time) + ", heads of " +
                   std::to_string(heads.head_dim));
      at::manual_seed(3);
      const LongAttention how = {shape, heads, type};
      const at::Tensor qkv = at::randn({shape.rows(), 3 * heads.features()});
      const at::Tensor dcontext = at::randn({shape.rows(), heads.features()});
      const Results results = computed(how, qkv, dcontext);
      const at::Tensor input = testing::leaf(qkv), expected = formula(input, how);
      const double forward_bound = type == at::kFloat ? 1e-5 : 4e-3, bound = type == at::kFloat ? 1e-5 : 6e-3;
      EXPECT_LT(relative_error(results.context, expected.detach()), forward_bound);
      EXPECT_LT(relative_error(results.dqkv, testing::gradients(expected, {input}, dcontext)[0]), bound);
      const Results again = computed(how, qkv, dcontext);
      EXPECT_TRUE(at::equal(again.context, results.context));
      EXPECT_TRUE(at::equal(again.dqkv, results.dqkv));
    }
  }
}

// A sequence's results are its own.
TEST(LongAttentionTest, KnowsNoOtherSequence) {
  const HeadShape heads = {2, 48};
  at::manual_seed(4);
  const at::Tensor qkv = at::randn({2 * 200, 3 * heads.features()}), dcontext = at::randn({2 * 200, heads.features()});
  const Results both = computed({{2, 200}, heads, at::kFloat}, qkv, dcontext);
  const Results second = computed({{1, 200}, heads, at::kFloat}, qkv.narrow(0, 200, 200), dcontext.narrow(0, 200, 200));
  EXPECT_LT(relative_error(both.context.narrow(0, 200, 200), second.context.to(at::kDouble)), 1e-6);
  EXPECT_LT(relative_error(both.dqkv.narrow(0, 200, 200), second.dqkv.to(at::kDouble)), 1e-6);
}

TEST(LongAttentionTest, ScoresAreNeverThereAsAWhole) {
  const LongAttention how = {{1, 2048}, {4, 16}, at::kFloat};
  const at::Tensor qkv = at::randn({how.shape.rows(), 3 * how.heads.features()});
  const at::Tensor dcontext = at::randn({how.shape.rows(), how.heads.features()});
  const test::AllocationRecord record;
  computed(how, qkv, dcontext);
  const std::int64_t scores = how.heads.heads * how.shape.time * how.shape.time * 4;
  EXPECT_LT(record.peak_bytes(), scores / 4);
  EXPECT_GT(record.peak_bytes(), qkv.numel() * 4) << "it counts";
}

}  // namespace
}  // namespace kangpt::operations
