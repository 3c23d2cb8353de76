// Losses of ten training steps against tests/model/parity_oracle.py --golden: numpy in fp64, written independently.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "tests/model/test_network.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;

constexpr int kSteps = 10;

struct Golden {
  FeedForward feed_forward;
  std::array<double, kSteps> losses;  // nats a token
};

const std::array<Golden, 3> kGolden = {{{FeedForward::kKan,
                                         {3.646352441, 3.487673869, 3.345675315, 3.204084606, 3.057229443, 2.902763112,
                                          2.741455049, 2.576327551, 2.410384149, 2.245555756}},
                                        {FeedForward::kMlp,
                                         {3.629780613, 3.535269377, 3.445824861, 3.357735533, 3.267691154, 3.171665362,
                                          3.066506108, 2.952574927, 2.833612773, 2.716276567}},
                                        {FeedForward::kHybrid,
                                         {3.633049468, 3.505499071, 3.388651951, 3.274599858, 3.156380784, 3.031267068,
                                          2.899840181, 2.763432527, 2.623749647, 2.483090995}}}};

// AdamW with the reference's decay, on the gradient of the mean loss.
class Adam {
 public:
  explicit Adam(const at::Tensor& parameters)
      : first_(at::zeros_like(parameters)), second_(at::zeros_like(parameters)) {}

  void update(const at::Tensor& parameters, const at::Tensor& gradient, double learning_rate) {
    ++step_;
    first_.mul_(0.9).add_(gradient, 0.1);
    second_.mul_(0.999).addcmul_(gradient, gradient, 0.001);
    const at::Tensor deviation = (second_ / (1 - std::pow(0.999, step_))).sqrt() + 1e-8;
    parameters.mul_(1 - learning_rate * 1e-3);
    parameters.addcdiv_(first_ / (1 - std::pow(0.9, step_)), deviation, -learning_rate);
  }

 private:
  at::Tensor first_;
  at::Tensor second_;
  int step_ = 0;
};

class ParityTest : public ::testing::TestWithParam<Golden> {};

TEST_P(ParityTest, TenStepsHaveTheLossesOfTheOracle) {
  testing::Network network(testing::small_config(GetParam().feed_forward), at::kFloat);
  const testing::Batch batch = testing::make_batch(network.config, 4, 6);
  Adam adam(network.parameters);
  for (int step = 0; step < kSteps; ++step) {
    network.gradients.zero_();
    const LossSum loss = network.transformer.forward(batch.inputs, batch.targets, batch.mask);
    network.transformer.backward();
    const double expected = GetParam().losses.at(static_cast<std::size_t>(step));
    EXPECT_NEAR(loss.loss / loss.tokens / expected, 1, 1e-5) << "step " << step;
    adam.update(network.parameters, network.gradients / loss.tokens, 1e-2);
  }
}

INSTANTIATE_TEST_SUITE_P(AllNetworks, ParityTest, ::testing::ValuesIn(kGolden));

}  // namespace
}  // namespace kangpt::model
