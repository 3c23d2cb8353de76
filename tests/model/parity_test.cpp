// 100 training steps and what the network writes before and after them, against tests/model/parity_oracle.py --golden:
// numpy in fp64, written independently.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "model/generation.hpp"
#include "tests/model/test_network.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;

constexpr int kSteps = 100;

struct Golden {
  FeedForward feed_forward;
  std::vector<double> losses;  // nats a token, before the first ten updates, then before every tenth
  // What the network writes after tokens 3 and 1 before it is trained.
  std::vector<std::int64_t> untrained = {6, 16, 6, 32};
  at::ScalarType type = at::kFloat;
};

// What the trained networks say after token 11: the first story of the batch, which they know by heart.
const std::vector<std::int64_t> kFirstStory = {19, 16, 18, 22, 36};

const std::vector<Golden> kGolden = {
    {FeedForward::kKan, {3.646352441, 3.487673869, 3.345675315, 3.204084606, 3.057229443, 2.902763112, 2.741455049,
                         2.576327551, 2.410384149, 2.245555756, 2.082045570, 0.661774983, 0.115547692, 0.022333103,
                         0.007730972, 0.004116990, 0.002860848, 0.002280000, 0.001940261, 0.001707675}},
    {FeedForward::kMlp, {3.629780613, 3.535269377, 3.445824861, 3.357735533, 3.267691154, 3.171665362, 3.066506108,
                         2.952574927, 2.833612773, 2.716276567, 2.607589057, 1.445431174, 0.377236178, 0.035529348,
                         0.004478675, 0.001159196, 0.000626162, 0.000466159, 0.000393024, 0.000350609}},
    {FeedForward::kHybrid, {3.633049468, 3.505499071, 3.388651951, 3.274599858, 3.156380784, 3.031267068, 2.899840181,
                            2.763432527, 2.623749647, 2.483090995, 2.346041338, 1.023575126, 0.209329317, 0.039317026,
                            0.010931548, 0.005137707, 0.003276524, 0.002489309, 0.002062029, 0.001790642}},
    {FeedForward::kSwiglu,
     {3.633090367, 3.543079895, 3.455605868, 3.368163917, 3.278633301, 3.184823969, 3.084388868,
      2.975375630, 2.856780842, 2.729017101, 2.593809848, 1.030000715, 0.140183612, 0.007044539,
      0.000457757, 0.000130137, 0.000067114, 0.000047774, 0.000038577, 0.000033384},
     {6, 5, 19, 32}},
    {FeedForward::kGroupedKan,
     {3.635306811, 3.543076104, 3.458519459, 3.375227209, 3.288752686, 3.196031741, 3.095144622,
      2.985218248, 2.867566082, 2.745776128, 2.624731732, 1.280932902, 0.206713952, 0.017657387,
      0.003868422, 0.001590929, 0.000971602, 0.000744877, 0.000631829, 0.000562834}},
    {FeedForward::kRationalKan,
     {4.397599114, 3.617212027, 3.492732527, 3.376546606, 3.244098789, 3.071117770, 2.814178627,
      2.571443575, 2.384001883, 2.181179619, 1.993417548, 0.549879881, 0.303118997, 0.061861665,
      0.012767651, 0.002023049, 0.000917916, 0.000355979, 0.000221650, 0.000169401},
     {6, 29, 22, 34},
     at::kDouble}};  // rounding to fp32 carries numbers across the kinks of 1 + |A|

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

class ParityTest : public ::testing::TestWithParam<Golden> {
 protected:
  std::vector<std::int64_t> written(const std::vector<std::int64_t>& prompt, std::int64_t end_token) {
    const int window = network_.config.sequence_length;
    const GenerationOptions greedy = {.sampling = {.temperature = 0},
                                      .max_tokens = window - static_cast<int>(prompt.size()),
                                      .window_tokens = window,
                                      .end_token = end_token};
    return generate(network_.transformer, prompt, greedy, [](std::int64_t) { return true; });
  }

  testing::Network network_{testing::small_config(GetParam().feed_forward), GetParam().type};
};

// fp32 against fp64: rounding moves the weights of step 100 by some 1e-6, and a loss of 1e-3 by 1e-4 of itself.
TEST_P(ParityTest, AHundredStepsHaveTheLossesAndThenTheWordsOfTheOracle) {
  const testing::Batch batch = testing::make_batch(network_.config, 4, 6);
  EXPECT_EQ(written({3, 1}, 37), GetParam().untrained);
  Adam adam(network_.parameters);
  std::size_t golden = 0;
  for (int step = 0; step <= kSteps; ++step) {
    network_.gradients.zero_();
    const operations::LossSum loss = testing::forward_and_backward(network_, batch);
    if (step < 10 || step % 10 == 0) {
      const double expected = GetParam().losses.at(golden++);
      EXPECT_NEAR(loss.loss / loss.tokens, expected, 1e-6 + 1e-5 * expected) << "step " << step;
    }
    if (step < kSteps) adam.update(network_.parameters, network_.gradients / loss.tokens, 1e-2);
  }
  EXPECT_EQ(written({11}, 37), kFirstStory);
  EXPECT_EQ(written({11}, 22), std::vector<std::int64_t>(kFirstStory.begin(), kFirstStory.begin() + 3));
}

INSTANTIATE_TEST_SUITE_P(AllNetworks, ParityTest, ::testing::ValuesIn(kGolden));

}  // namespace
}  // namespace kangpt::model
