// Muon by both implementations of FlatOperations, against its formula in fp64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "operations/cuda/muon_memory.hpp"
#include "operations/flat_operations.hpp"
#include "operations/muon_step.hpp"
#include "tests/model/test_network.hpp"
#include "tests/operations/tested_kernels.hpp"

namespace kangpt::operations {
namespace {

using model::testing::relative_error;

constexpr MuonUpdate kUpdate = {
    .learning_rate = 0.02, .weight_decay = 0.1, .momentum = 0.95, .beta2 = 0.99, .gradient_scale = 0.5};

struct Shape {
  std::int64_t rows;
  std::int64_t columns;
};
// Square, wide, tall, smaller than a tile of a product, a little larger, of more sums than one block's, a row, a
// column.
const std::vector<Shape> kShapes = {{128, 128}, {16, 128}, {130, 65}, {65, 130}, {5, 7},
                                    {7, 5},     {64, 64},  {70, 300}, {1, 9},    {33, 1}};

// Matrices with gaps between them, of which this rank owns all, or all but the first and last elements.
struct Matrices {
  explicit Matrices(const std::vector<Shape>& shapes, std::int64_t gap = 16, std::int64_t cut = 0) {
    std::int64_t begin = gap;
    for (const auto& [rows, columns] : shapes) {
      const std::int64_t elements = rows * columns, left_out = std::min(cut, elements / 2);
      const std::int64_t end = std::max(elements - cut, left_out + 1);
      all.push_back(
          {begin, rows, columns, left_out, end, begin + left_out, 1 + 0.25 * static_cast<double>(all.size())});
      begin += elements + gap;
    }
    size = begin;
  }
  std::vector<OwnMatrix> all;
  std::int64_t size = 0;
};

// The range of the rank is the whole buffer.
struct State {
  explicit State(std::int64_t size)
      : parameters(at::randn({size})),
        tensors{at::randn({size}) * 0.1, at::randn({size}).square() * 0.01, at::randn({size}) * 2, at::randn({size})} {}
  State to(const at::TensorOptions& options) const {
    State other = *this;
    for (at::Tensor* t : {&other.parameters, &other.tensors.first_moment, &other.tensors.second_moment,
                          &other.tensors.gradient, &other.tensors.directions})
      *t = t->to(options, /*non_blocking=*/false, /*copy=*/true);
    return other;
  }
  std::vector<at::Tensor> all() const {
    return {parameters, tensors.first_moment, tensors.second_moment, tensors.gradient, tensors.directions};
  }

  at::Tensor parameters;
  MuonTensors tensors;
};

at::Tensor step_in_fp64(const at::Tensor& direction) {
  at::Tensor x = direction / (direction.norm() + 1e-13);
  if (direction.size(0) > direction.size(1)) x = x.t();
  for (int step = 0; step < 5; ++step) {
    const at::Tensor square = at::mm(x, x.t());
    x = 3.4445 * x + at::mm(-4.775 * square + 2.0315 * at::mm(square, square), x);
  }
  if (direction.size(0) > direction.size(1)) x = x.t();
  const double ratio = static_cast<double>(direction.size(0)) / static_cast<double>(direction.size(1));
  return x * std::sqrt(std::max(1.0, ratio));
}

void update_in_fp64(const State& s, const OwnMatrix& m, const MuonUpdate& u) {
  const auto own = [&](const at::Tensor& range) { return range.narrow(0, m.own, m.end - m.begin); };
  const at::Tensor g = own(s.tensors.gradient) * u.gradient_scale;
  own(s.tensors.first_moment).mul_(u.momentum).add_((1 - u.momentum) * g);
  own(s.tensors.second_moment).mul_(u.beta2).add_((1 - u.beta2) * g * g);
  own(s.tensors.directions).copy_(u.momentum * own(s.tensors.first_moment) + (1 - u.momentum) * g);
  own(s.tensors.gradient).zero_();
  const at::Tensor direction = s.tensors.directions.narrow(0, m.matrix, m.rows * m.columns).view({m.rows, m.columns});
  const at::Tensor step = step_in_fp64(direction).reshape({-1}).narrow(0, m.begin, m.end - m.begin);
  const double rate = u.learning_rate * m.rate_factor;
  own(s.parameters).sub_(rate * (step + u.weight_decay * own(s.parameters)));
}

class MuonOperationsTest : public ::testing::TestWithParam<Kernels> {
 protected:
  void SetUp() override {
    testing::prepare_kernels();
    if (testing::kDevice == at::kCUDA && !at::hasCUDA()) GTEST_SKIP() << "there is no GPU here";
    at::manual_seed(11);
    operations_ = make_flat_operations(GetParam());
  }
  State updated(const State& before, const std::vector<OwnMatrix>& matrices) {
    const State s = before.to(on_device());
    operations_->muon_directions(s.tensors, kUpdate, matrices);
    operations_->muon_parameters(s.parameters, s.tensors.directions, kUpdate, matrices);
    return s.to(at::TensorOptions(at::kCPU));
  }
  static at::TensorOptions on_device() { return at::TensorOptions(testing::kDevice).dtype(at::kFloat); }

  std::unique_ptr<FlatOperations> operations_;
};

void expect_equal(const State& found, const State& expected, const std::string& what) {
  for (std::size_t i = 0; i < found.all().size(); ++i)
    EXPECT_TRUE(at::equal(found.all()[i], expected.all()[i])) << what << ", tensor " << i;
}

// At whole vectors and beside them, of whole matrices and of parts; what lies between them is left alone.
TEST_P(MuonOperationsTest, FollowsTheFormula) {
  for (const auto& [gap, cut] : std::vector<std::pair<std::int64_t, std::int64_t>>{{16, 0}, {16, 16}, {3, 21}}) {
    const Matrices matrices(kShapes, gap, cut);
    const State before(matrices.size);
    const State found = updated(before, matrices.all);
    const State expected = before.to(at::TensorOptions(at::kCPU).dtype(at::kDouble));
    for (const OwnMatrix& m : matrices.all) update_in_fp64(expected, m, kUpdate);
    for (std::size_t i = 0; i < found.all().size(); ++i)
      EXPECT_LT(relative_error(found.all()[i], expected.all()[i]), 1e-6) << "tensor " << i << ", gap " << gap;
    EXPECT_TRUE(at::equal(found.tensors.gradient.to(at::kDouble), expected.tensors.gradient)) << "0 there alone";
  }
}

// Of parameters that are 0, so that their rounding hides nothing.
TEST_P(MuonOperationsTest, StepsOfAnyShapeAreThoseOfFp64) {
  for (const Shape& shape : kShapes) {
    const Matrices matrix({shape});
    State before(matrix.size);
    before.parameters.zero_();
    const State expected = before.to(at::TensorOptions(at::kCPU).dtype(at::kDouble));
    update_in_fp64(expected, matrix.all[0], kUpdate);
    EXPECT_LT(relative_error(updated(before, matrix.all).parameters, expected.parameters), 1e-5)
        << shape.rows << " x " << shape.columns;
  }
}

// Alone, in another order, with others: as ranks of another number would have it.
TEST_P(MuonOperationsTest, AMatrixHasTheSameBitsWhateverGoesWithIt) {
  const Matrices matrices(kShapes);
  const State before(matrices.size);
  const State together = updated(before, matrices.all);
  State apart = before;
  for (const OwnMatrix& matrix : matrices.all) apart = updated(apart, {matrix});
  expect_equal(apart, together, "one by one");
  expect_equal(updated(before, {matrices.all.rbegin(), matrices.all.rend()}), together, "backwards");
}

TEST_P(MuonOperationsTest, LittleScratchMemoryMakesNoDifference) {
  const Matrices matrices(kShapes);
  const State before(matrices.size);
  const State expected = updated(before, matrices.all);
  for (const std::int64_t most_scratch : {1, 150'000}) {
    if (GetParam() == Kernels::kAten) break;
    cuda::MuonMemory muon(most_scratch);
    const State s = before.to(on_device());
    muon.directions(s.tensors, kUpdate, matrices.all);
    muon.parameters(s.parameters, s.tensors.directions, kUpdate, matrices.all);
    expect_equal(s.to(at::TensorOptions(at::kCPU)), expected, std::to_string(most_scratch) + " elements");
  }
}

TEST_P(MuonOperationsTest, NothingOfTheUpdateBeforeIsLeft) {
  const Matrices matrices({{130, 65}, {5, 7}});
  State before(matrices.size);
  const State fresh = updated(before, matrices.all);
  State poisoned = before;
  poisoned.tensors.gradient = at::full({matrices.size}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(at::isnan(updated(poisoned, matrices.all).parameters).any().item<bool>());
  expect_equal(updated(before, matrices.all), fresh, "after numbers that are none");
}

// Where there is nothing left to learn, directions shrink through all that fp32 can hold.
TEST_P(MuonOperationsTest, StaysFiniteWhileDirectionsVanish) {
  const Matrices matrices({{48, 64}, {64, 48}, {90, 2}});
  for (const double exponent : {0, 15, 20, 30, 37, 42, 45}) {
    State before(matrices.size);
    before.parameters.zero_();
    before.tensors.first_moment.zero_();
    before.tensors.gradient.mul_(std::pow(10.0, -exponent));
    EXPECT_LT(updated(before, matrices.all).parameters.norm().item<double>(), 0.04 * 1.3 * std::sqrt(300)) << exponent;
  }
  State still(matrices.size);
  still.parameters.zero_();
  still.tensors.first_moment.zero_();
  still.tensors.gradient.zero_();
  EXPECT_EQ(updated(still, matrices.all).parameters.abs().max().item<double>(), 0) << "no gradient, no step";
}

INSTANTIATE_TEST_SUITE_P(Implementations, MuonOperationsTest, ::testing::Values(Kernels::kAten, Kernels::kCuda),
                         [](const auto& tested) { return tested.param == Kernels::kAten ? "Aten" : "Cuda"; });

}  // namespace
}  // namespace kangpt::operations
