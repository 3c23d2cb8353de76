#include "operations/cuda/residual_memory.hpp"

#include <algorithm>
#include <utility>

namespace kangpt::operations::cuda {
namespace {

constexpr std::int64_t kAlignment = 64;  // elements, so that products find the beginnings that they like

// Of all memory from the first byte to the last that is in any of `parts`, as much as they say together.
void unite(MemoryUse& all, const MemoryUse& part) {
  if (all.bytes == 0) {
    all = part;
    return;
  }
  const auto begin_of = [](const MemoryUse& use) { return static_cast<const std::byte*>(use.begin); };
  const std::byte* const begin = std::min(begin_of(all), begin_of(part));
  const std::byte* const end = std::max(begin_of(all) + all.bytes, begin_of(part) + part.bytes);
  all = {begin, end - begin, all.read_bytes + part.read_bytes, all.written_bytes + part.written_bytes};
}

MemoryUse read_by(const WeightJob& job) {
  const std::int64_t pairs = job.inputs * job.outputs;
  if (job.kind == WeightJob::kConstants) return reads(job.from, pairs).among<float>(pairs * (job.degree + 1));
  return reads(job.from, pairs * (job.degree + 1));
}

WeightJob job_of(const at::Tensor& coefficients, WeightJob::Kind kind) {
  return {read(coefficients), nullptr, coefficients.size(0), coefficients.size(1), coefficients.size(2) - 1, 0, kind};
}

}  // namespace

int ResidualMemory::add(Weight weight) {
  weights_.push_back(std::move(weight));
  return static_cast<int>(weights_.size()) - 1;
}

int ResidualMemory::add_matrices(const std::vector<at::Tensor>& matrices) {
  options_ = matrices[0].options();
  Weight weight = {{}, {0, matrices[0].size(1)}, product_type(), {}};
  for (const at::Tensor& matrix : matrices) {
    weight.jobs.push_back({read(matrix), nullptr, matrix.numel(), 1, 0, 0, WeightJob::kCopy});
    weight.sizes[0] += matrix.size(0);
  }
  return add(std::move(weight));
}

int ResidualMemory::add_polynomials(const at::Tensor& coefficients) {
  options_ = coefficients.options();
  const WeightJob job = job_of(coefficients, WeightJob::kPolynomials);
  return add({{job}, {job.degree * job.inputs, job.outputs}, product_type(), {}});
}

int ResidualMemory::add_constants(const at::Tensor& coefficients) {
  const WeightJob job = job_of(coefficients, WeightJob::kConstants);
  return add({{job}, {job.outputs}, at::kFloat, {}});
}

void ResidualMemory::place_weights() {
  const auto aligned = [](std::int64_t count) { return (count + kAlignment - 1) / kAlignment * kAlignment; };
  std::int64_t operands = 0, constants = 0;
  std::vector<WeightJob> jobs;
  const auto elements = [&](at::ScalarType type) -> std::int64_t& { return type == at::kFloat ? constants : operands; };
  for (const Weight& weight : weights_) elements(weight.type) += aligned(c10::multiply_integers(weight.sizes));
  const at::Tensor products = at::empty({operands}, options_.dtype(at::kBFloat16));
  const at::Tensor floats = at::empty({constants}, options_.dtype(at::kFloat));
  operands = constants = 0;
  for (Weight& weight : weights_) {
    const std::int64_t count = c10::multiply_integers(weight.sizes);
    std::int64_t& begin = elements(weight.type);
    weight.taken = (weight.type == at::kFloat ? floats : products).narrow(0, begin, count).view(weight.sizes);
    begin += aligned(count);
    unite(weight.type == at::kFloat ? launch_.constants : launch_.operands, written_by(weight.taken));
    auto* to = static_cast<std::byte*>(weight.taken.data_ptr());
    for (WeightJob& job : weight.jobs) {
      job.to = to;
      to += job.inputs * static_cast<std::int64_t>(weight.taken.element_size());  // only copies share a weight
      job.first_block = launch_.blocks;
      launch_.blocks += weight_blocks(job);
      unite(launch_.from, read_by(job));
      jobs.push_back(job);
    }
  }
  const auto bytes = static_cast<std::int64_t>(jobs.size() * sizeof(WeightJob));
  const at::Tensor host = at::from_blob(jobs.data(), {bytes}, at::kByte);
  jobs_ = at::empty({bytes}, options_.dtype(at::kByte));
  jobs_.copy_(host);
  launch_.jobs = reinterpret_cast<const WeightJob*>(jobs_.const_data_ptr());
  launch_.count = static_cast<int>(jobs.size());
  launch_.type = type_;
}

void ResidualMemory::take_weights() {
  if (weights_.empty()) return;
  if (launch_.count == 0) place_weights();
  cuda::take_weights(launch_, stream_of(jobs_));
}

at::Tensor& ResidualMemory::new_sums(std::int64_t rows, const at::Tensor& like) {
  at::Tensor& sums = sums_[next_sums()];
  sums = sums_memory_[next_sums()].take({layer_norm_blocks(rows), 3, like.size(1)}, like.options());
  return sums;
}

const at::Tensor& ResidualMemory::copy_of(const StreamGradient& dx) {
  if (dx.is_copied) return copy_;
  add_kept_gradients();  // the sums of the copy, and of what comes of it, take their memory
  const at::Tensor& values = dx.values;
  copy_ = copy_memory_.take(values.sizes(), values.options().dtype(product_type()));
  LayerNormBackward a = {};
  a.dx = written(values);
  a.partials = written(new_sums(values.size(0), values));
  a.rows = values.size(0);
  a.channels = values.size(1);
  a.type = type_;
  a.copy = copy_.data_ptr();
  copy_gradient(a, stream_of(values));
  of_copy_ = next_sums();
  return copy_;
}

GradientPart ResidualMemory::sums_of_copy(const at::Tensor& to) const {
  const at::Tensor& sums = sums_[of_copy_];
  const std::int64_t channels = sums.size(2);
  return {.kind = GradientPart::kSums,
          .from = read(sums) + 2 * channels,
          .to = written(to),
          .columns = channels,
          .rows = sums.size(0),
          .pitch = 3 * channels};
}

void ResidualMemory::finish_gradient(const NormGradient& gradient, StreamGradient& dx, const LayerParameters& norm,
                                     Gradients& gradients) {
  const at::Tensor& sums = new_sums(dx.values.size(0), dx.values);
  const LayerNormBackward a = {.x = read(gradient.x),
                               .mean = read(gradient.statistics[0]),
                               .deviation = read(gradient.statistics[1]),
                               .weight = read(norm.weight.value),
                               .bias = read(norm.bias.value),
                               .du = gradient.du.const_data_ptr(),
                               .dx = written(dx.values),
                               .partials = written(sums),
                               .rows = dx.values.size(0),
                               .channels = dx.values.size(1),
                               .type = type_,
                               .degree = gradient.degree,
                               .copy = copy_.data_ptr()};
  layer_norm_backward(a, stream_of(dx.values));
  add_norm_sums(sums, norm, gradients);
  of_copy_ = next_sums();
  dx.is_copied = true;
}

void ResidualMemory::add_gradients(const Gradients& gradients) {
  kept_.add(gradients);
  add_kept_gradients();
}

void ResidualMemory::add_kept_gradients() {
  if (kept_.count > 0) cuda::add_gradients(std::exchange(kept_, {}), stream_of(jobs_));
}

void add_norm_sums(const at::Tensor& sums, const LayerParameters& norm, Gradients& gradients) {
  const std::int64_t channels = sums.size(2);
  GradientPart part = {.kind = GradientPart::kSums,
                       .from = read(sums),
                       .to = written(norm.weight.gradient),
                       .columns = channels,
                       .rows = sums.size(0),
                       .pitch = 3 * channels};
  gradients.add(part);
  part.from += channels;
  part.to = written(norm.bias.gradient);
  gradients.add(part);
}

}  // namespace kangpt::operations::cuda
