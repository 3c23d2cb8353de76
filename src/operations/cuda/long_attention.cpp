#include "operations/cuda/long_attention.hpp"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include <vector>

namespace kangpt::operations::cuda {
namespace {

// Queries, keys and values, [batch, heads, time, head_dim] each, in `rows` [rows, 3 * features].
std::vector<at::Tensor> parts_of(const at::Tensor& rows, const LongAttention& how) {
  return rows.view({how.shape.batch, how.shape.time, 3, how.heads.heads, how.heads.head_dim})
      .permute({2, 0, 3, 1, 4})
      .unbind(0);
}

// The same of [rows, features].
at::Tensor heads_of(const at::Tensor& rows, const LongAttention& how) {
  return rows.view({how.shape.batch, how.shape.time, how.heads.heads, how.heads.head_dim}).transpose(1, 2);
}

at::Tensor attend(const std::vector<at::Tensor>& parts) {
  return at::scaled_dot_product_attention(parts[0], parts[1], parts[2], /*attn_mask=*/{}, /*dropout_p=*/0,
                                          /*is_causal=*/true);
}

}  // namespace

void long_attention(const at::Tensor& qkv, const LongAttention& how, const at::Tensor& context) {
  heads_of(context, how).copy_(attend(parts_of(qkv.to(how.type), how)));
}

// By autograd, which knows what each of LibTorch's kernels wants to have kept; the network's passes do without.
void long_attention_backward(const at::Tensor& qkv, const LongAttention& how, const at::Tensor& dcontext,
                             const at::Tensor& dqkv) {
  const c10::impl::ForceDispatchKeyGuard with_autograd(c10::default_included_set, c10::default_excluded_set);
  const at::AutoGradMode enabled(true);
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& part : parts_of(qkv.to(how.type), how)) leaves.push_back(part.detach().requires_grad_(true));
  const std::vector<at::Tensor> gradients =
      torch::autograd::grad({attend(leaves)}, leaves, {heads_of(dcontext, how).to(how.type)});
  const std::vector<at::Tensor> results = parts_of(dqkv, how);
  for (std::size_t part = 0; part < results.size(); ++part) results[part].detach().copy_(gradients[part]);
}

}  // namespace kangpt::operations::cuda
