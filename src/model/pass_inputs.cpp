#include "model/pass_inputs.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace kangpt::model {
namespace {

std::span<const std::int64_t> values_of(const at::Tensor& ids) {
  return {ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.numel())};
}

// The numbers of the rows in the order of their tokens, as in TokenRows.
void write_rows_by_token(std::span<const std::int64_t> tokens, std::int64_t vocabulary_size,
                         std::span<std::int64_t> rows) {
  std::vector<std::int64_t> places(static_cast<std::size_t>(vocabulary_size) + 1);  // of each token's next row
  for (const std::int64_t token : tokens) ++places[static_cast<std::size_t>(token) + 1];
  std::partial_sum(places.begin(), places.end(), places.begin());
  std::int64_t row = 0;
  for (const std::int64_t token : tokens)
    rows[static_cast<std::size_t>(places[static_cast<std::size_t>(token)]++)] = row++;
}

}  // namespace

void check_ids(const at::Tensor& ids, std::int64_t vocabulary_size, const char* what) {
  if (ids.numel() == 0) throw InternalError(std::string("model: no ") + what);
  const at::Tensor host = (ids.is_cpu() ? ids : ids.to(at::kCPU)).contiguous();
  const auto [first, last] = std::ranges::minmax(values_of(host));
  if (first >= 0 && last < vocabulary_size) return;
  throw DataError(std::string("model: ") + what + " must be token ids from 0 to " +
                  std::to_string(vocabulary_size - 1) + ", but range from " + std::to_string(first) + " to " +
                  std::to_string(last));
}

PassInputs upload(const at::Tensor& ids, const operations::LossTargets& targets, std::int64_t vocabulary_size,
                  const at::Device& device) {
  // Three times int64, then fp32: each begins where its type may.
  const std::array<std::size_t, 4> sizes = {ids.nbytes(), ids.nbytes(), targets.ids.nbytes(), targets.mask.nbytes()};
  std::array<std::int64_t, 5> ends = {};
  for (std::size_t i = 0; i < sizes.size(); ++i) ends[i + 1] = ends[i] + static_cast<std::int64_t>(sizes[i]);
  const at::Tensor host = at::empty({ends.back()}, at::TensorOptions(at::kByte).pinned_memory(device.is_cuda()));
  const auto part = [&](const at::Tensor& all, std::size_t i, at::ScalarType type) {
    return all.narrow(0, ends[i], ends[i + 1] - ends[i]).view(type);
  };
  const auto fill = [&](std::size_t i, const at::Tensor& from) {
    std::memcpy(host.data_ptr<std::uint8_t>() + ends[i], from.const_data_ptr(), sizes[i]);
  };
  fill(0, ids);
  fill(2, targets.ids);
  fill(3, targets.mask);
  at::Tensor order = part(host, 1, at::kLong);
  write_rows_by_token(values_of(ids), vocabulary_size, {order.mutable_data_ptr<std::int64_t>(), values_of(ids).size()});
  const at::Tensor all = host.to(device, at::kByte, /*non_blocking=*/true);
  return {{part(all, 0, at::kLong), part(all, 1, at::kLong)}, {part(all, 2, at::kLong), part(all, 3, at::kFloat)}};
}

}  // namespace kangpt::model
