#include "operations/cuda/products.hpp"

#include <ATen/record_function.h>

#include "operations/cuda/launches.hpp"
#include "operations/cuda/tensors.hpp"

namespace kangpt::operations::cuda {
namespace {

// Stands in for one launch on a GPU, and counts as such: the operators that it takes are kept from LibTorch's record.
void multiply_on_host(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, Before before) {
  const double flops = 2.0 * static_cast<double>(a.size(0)) * static_cast<double>(a.size(1) * b.size(1));
  const MemoryUse result = before == Before::kReplaced ? written_by(c) : updated_by(c);
  if (!begin_launch({"product", {read_by(a), read_by(b), result}, flops}, stream_of(c))) return;
  const at::RecordFunctionGuard unseen(/*is_enabled=*/false);
  const at::Tensor product = at::mm(a.to(at::kFloat), b.to(at::kFloat));
  before == Before::kReplaced ? c.copy_(product) : c.add_(product);
}

}  // namespace

// LibTorch has the product of bfloat16 matrices with a result in fp32 on GPUs alone; elsewhere the operands are
// widened, which gives the same up to the order of the sums.
void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, Before before) {
  at::Tensor out = c;
  const bool widens = a.scalar_type() == at::kBFloat16 && c.scalar_type() == at::kFloat;
  if (!c.is_cuda()) {
    multiply_on_host(a, b, c, before);
  } else if (before == Before::kReplaced) {
    widens ? at::mm_out(out, a, b, at::kFloat) : at::mm_out(out, a, b);
  } else {
    widens ? at::addmm_out(out, c, a, b, at::kFloat) : at::addmm_out(out, c, a, b);
  }
}

}  // namespace kangpt::operations::cuda
