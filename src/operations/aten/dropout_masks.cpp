#include "operations/aten/dropout_masks.hpp"

#include <array>
#include <vector>

namespace kangpt::operations {
namespace {

constexpr std::int64_t kWord = 0xFFFFFFFF;

at::Tensor shifted_down(const at::Tensor& value, int bits) {
  return at::bitwise_right_shift(value, bits);
}

// The upper and the lower 32 bits of factor * value, both of 32 bits in int64, whose sign no product may reach.
struct Product {
  at::Tensor high;
  at::Tensor low;
};
Product product(std::int64_t factor, const at::Tensor& value) {
  const at::Tensor low_part = value * (factor & 0xFFFF);
  const at::Tensor sum = value * (factor >> 16) + shifted_down(low_part, 16);
  return {shifted_down(sum, 16), at::bitwise_left_shift(sum & 0xFFFF, 16) | (low_part & 0xFFFF)};
}

// As cpu::philox(); the words are of any shapes that go together.
std::array<at::Tensor, 4> philox(std::array<at::Tensor, 4> words, std::uint64_t seed) {
  auto key0 = static_cast<std::uint32_t>(seed);
  auto key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const Product first = product(0xD2511F53, words[0]);
    const Product second = product(0xCD9E8D57, words[2]);
    words = {second.high ^ words[1] ^ std::int64_t{key0}, second.low, first.high ^ words[3] ^ std::int64_t{key1},
             first.low};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return words;
}

at::Tensor draw(const at::Tensor& values, const Dropout& dropout) {
  const at::TensorOptions options = values.options().dtype(at::kLong);
  const auto first = static_cast<std::int64_t>(dropout.first_row) * values.size(1);
  const std::int64_t first_block = first / Dropout::kBlockElements;
  const std::int64_t end_block = (first + values.numel() + Dropout::kBlockElements - 1) / Dropout::kBlockElements;
  const at::Tensor counters = at::arange(first_block * Dropout::kLanes, end_block * Dropout::kLanes, options);
  const auto places = static_cast<std::int64_t>(dropout.places);
  const auto step = static_cast<std::int64_t>(dropout.step);
  const at::Tensor place = at::arange(places, options).unsqueeze(1) + ((step >> 32) << 12);
  const std::array<at::Tensor, 4> words =
      philox({counters & kWord, shifted_down(counters, 32), at::full({1}, step & kWord, options), place}, dropout.seed);
  std::vector<at::Tensor> numbers;
  for (const at::Tensor& word : words) {
    const at::Tensor drawn = word.expand({places, -1}).reshape({places, end_block - first_block, Dropout::kLanes});
    numbers.push_back((drawn & 0xFFFF).to(at::kInt));
    numbers.push_back(shifted_down(drawn, 16).to(at::kInt));
  }
  const at::Tensor of_elements = at::stack(numbers, 2).view({places, -1});
  return of_elements.narrow(1, first % Dropout::kBlockElements, values.numel()) >= std::int64_t{dropout.kept()};
}

bool is_same_but_place(const Dropout& a, const Dropout& b) {
  return a.seed == b.seed && a.step == b.step && a.first_row == b.first_row && a.places == b.places &&
         a.kept() == b.kept();
}

}  // namespace

at::Tensor DropoutMasks::left_out(const at::Tensor& values, const Dropout& dropout) {
  const bool is_drawn = left_out_.defined() && left_out_.size(1) == values.numel() &&
                        left_out_.device() == values.device() && is_same_but_place(drawn_, dropout);
  if (!is_drawn) left_out_ = draw(values, dropout);
  drawn_ = dropout;
  return left_out_[dropout.place].view(values.sizes());
}

}  // namespace kangpt::operations
