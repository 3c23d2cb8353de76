// What a pass of the network reads: checked on the host, then brought to the network's device.
#pragma once

#include <cstdint>

#include "operations/operations.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::model {

struct PassInputs {
  operations::TokenRows tokens;
  operations::LossTargets targets;
};

// Throws InternalError if there are none, DataError for ids that are not of the vocabulary; `what` names them. On the
// host, before they go to a device that would only fail.
void check_ids(const at::Tensor& ids, std::int64_t vocabulary_size, const char* what);

// Adds the order of the tokens, all [rows] and on the host. In one copy from pinned memory, for which the host does not
// wait; LibTorch keeps that memory until it has been read. REQUIRES: check_ids() let `ids` pass.
PassInputs upload(const at::Tensor& ids, const operations::LossTargets& targets, std::int64_t vocabulary_size,
                  const at::Device& device);

}  // namespace kangpt::model
