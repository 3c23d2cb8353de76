#include "model/growing_texts.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace kangpt::model {
namespace {

using Indices = std::vector<std::int64_t>;

}  // namespace

GrowingTexts::GrowingTexts(const Transformer& network, std::int64_t texts, std::int64_t window_tokens)
    : network_(network),
      window_tokens_(window_tokens),
      past_(network.make_past(texts, window_tokens)),
      texts_(static_cast<std::size_t>(texts)) {}

std::span<const std::int64_t> GrowingTexts::seen(std::int64_t text) const {
  const std::span<const std::int64_t> tokens = texts_[static_cast<std::size_t>(text)];
  return tokens.last(std::min(tokens.size(), static_cast<std::size_t>(window_tokens_)));
}

at::Tensor GrowingTexts::begin(std::int64_t text, std::span<const std::int64_t> tokens) {
  if (tokens.empty()) throw UsageError("generation needs a prompt of at least one token");
  texts_[static_cast<std::size_t>(text)].assign(tokens.begin(), tokens.end());
  const at::Tensor inputs = at::tensor(at::ArrayRef(seen(text).data(), seen(text).size())).unsqueeze(0);
  return network_.begin_text(inputs, text, past_)[0].to(at::kCPU, at::kFloat);
}

at::Tensor GrowingTexts::add(std::span<const Addition> additions) {
  std::vector<Addition> growing, sliding;
  Indices growing_rows, sliding_rows;
  for (std::size_t row = 0; row < additions.size(); ++row) {
    Indices& tokens = texts_[static_cast<std::size_t>(additions[row].text)];
    tokens.push_back(additions[row].token);
    const bool fits = static_cast<std::int64_t>(tokens.size()) <= window_tokens_;
    (fits ? growing : sliding).push_back(additions[row]);
    (fits ? growing_rows : sliding_rows).push_back(static_cast<std::int64_t>(row));
  }
  if (sliding.empty()) return grow(growing).to(at::kCPU, at::kFloat);
  if (growing.empty()) return slide(sliding).to(at::kCPU, at::kFloat);
  const at::Tensor grown = grow(growing);
  const at::Tensor logits = at::empty({static_cast<std::int64_t>(additions.size()), grown.size(1)}, grown.options());
  at::Tensor(logits).index_copy_(0, at::tensor(growing_rows).to(grown.device()), grown);
  at::Tensor(logits).index_copy_(0, at::tensor(sliding_rows).to(grown.device()), slide(sliding));
  return logits.to(at::kCPU, at::kFloat);
}

at::Tensor GrowingTexts::grow(std::span<const Addition> additions) {
  NewRows rows;
  Indices tokens;
  for (const Addition& addition : additions) {
    rows.texts.push_back(addition.text);
    rows.positions.push_back(static_cast<std::int64_t>(texts_[static_cast<std::size_t>(addition.text)].size()) - 1);
    tokens.push_back(addition.token);
  }
  const at::Device device = network_.device();
  rows.text_ids = at::tensor(rows.texts).to(device);
  rows.position_ids = at::tensor(rows.positions).to(device);
  return network_.grow(at::tensor(tokens), rows, past_);
}

at::Tensor GrowingTexts::slide(std::span<const Addition> additions) {
  const at::Tensor inputs = at::empty({static_cast<std::int64_t>(additions.size()), window_tokens_}, at::kLong);
  std::int64_t* row = inputs.mutable_data_ptr<std::int64_t>();
  for (const Addition& addition : additions) row = std::ranges::copy(seen(addition.text), row).out;
  return network_.next_logits(inputs, past_);
}

}  // namespace kangpt::model
