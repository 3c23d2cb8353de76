// How LibTorch's operators are asked for the loss, which no value shows.
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string_view>

#include "operations/operations.hpp"

namespace kangpt::operations {
namespace {

// What the operators of LibTorch do while it lives.
class OperatorRecord {
 public:
  OperatorRecord() {
    largest_elements = 0;
    sorts = false;
    handle_ = at::addGlobalCallback(at::RecordFunctionCallback(begin, end).needsOutputs(true));
  }
  ~OperatorRecord() { at::removeCallback(handle_); }
  OperatorRecord(const OperatorRecord&) = delete;
  OperatorRecord& operator=(const OperatorRecord&) = delete;

  inline static std::int64_t largest_elements = 0;  // that an operator returned
  inline static bool sorts = false;                 // scattered in a way that sorts on GPUs

 private:
  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    if (std::string_view(function.name()) == "aten::scatter_")
      sorts = sorts || at::globalContext().deterministicAlgorithms();
    return nullptr;
  }
  static void end(const at::RecordFunction& function, at::ObserverContext* /*context*/) {
    for (const c10::IValue& value : function.outputs()) {
      if (value.isTensor() && value.toTensor().defined())
        largest_elements = std::max(largest_elements, value.toTensor().numel());
    }
  }

  at::CallbackHandle handle_;
};

TEST(AtenOperationsTest, LogitsOfALargeVocabularyAreFewAtOnce) {
  constexpr std::int64_t kVocabulary = 300'000;
  const at::Tensor x = at::randn({400, 2});
  const at::Tensor head = at::randn({kVocabulary, 2});
  const LossTargets targets = {at::arange(400, at::kLong), at::ones({400})};
  const OperatorRecord record;
  const double loss = make_aten_operations(config::Precision::kFp32)->head_loss(x, head, targets).loss;
  EXPECT_LE(OperatorRecord::largest_elements, 1024 * 65536) << "256 MB in fp32";
  EXPECT_GT(OperatorRecord::largest_elements, 1024 * 16384) << "products of few rows are slow";
  double expected = 0;
  for (std::int64_t row = 0; row < 400; row += 100) {
    const at::Tensor logits = x.narrow(0, row, 100).to(at::kDouble).mm(head.to(at::kDouble).t());
    expected += at::nll_loss(at::log_softmax(logits, 1), targets.ids.narrow(0, row, 100), {}, at::Reduction::Sum)
                    .item<double>();
  }
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
}

TEST(AtenOperationsTest, NothingIsSortedToScatterOneElementOfEachRow) {
  const bool before = at::globalContext().deterministicAlgorithms();
  at::globalContext().setDeterministicAlgorithms(true, false);
  const at::Tensor head = at::randn({50, 4});
  const at::Tensor dx = at::empty({8, 4});
  const OperatorRecord record;
  make_aten_operations(config::Precision::kFp32)
      ->head_loss_and_gradient(at::randn({8, 4}), {head, at::zeros_like(head)},
                               {at::arange(8, at::kLong), at::ones({8})}, dx);
  EXPECT_FALSE(OperatorRecord::sorts);
  EXPECT_TRUE(at::globalContext().deterministicAlgorithms()) << "all else is as before";
  at::globalContext().setDeterministicAlgorithms(before, false);
}

}  // namespace
}  // namespace kangpt::operations
