#include "data_pipeline/batches/blend.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kangpt::data {
namespace {

constexpr std::uint64_t kPlaces = 8192;

// Whole shares that add up to kPlaces: rounded down, then one more for those that lost most.
std::vector<std::uint64_t> whole_shares(const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::uint64_t> shares;
  std::vector<std::pair<double, std::size_t>> lost;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double exact = weights[i] / sum * static_cast<double>(kPlaces);
    shares.push_back(std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::floor(exact))));
    lost.emplace_back(static_cast<double>(shares.back()) - exact, i);
  }
  std::sort(lost.begin(), lost.end());
  std::uint64_t given = std::accumulate(shares.begin(), shares.end(), std::uint64_t{0});
  for (std::size_t i = 0; given < kPlaces; ++i, ++given) ++shares[lost[i % lost.size()].second];
  return shares;
}

}  // namespace

Blend::Blend(const std::vector<double>& weights) : shares_(whole_shares(weights)) {
  struct Wish {
    double where;
    Entry entry;
  };
  std::vector<Wish> wishes;
  for (std::uint32_t source = 0; source < shares_.size(); ++source) {
    for (std::uint32_t rank = 0; rank < shares_[source]; ++rank) {
      wishes.push_back({(rank + 0.5) / static_cast<double>(shares_[source]), {source, rank}});
    }
  }
  std::stable_sort(wishes.begin(), wishes.end(), [](const Wish& a, const Wish& b) { return a.where < b.where; });
  for (const Wish& wish : wishes) pattern_.push_back(wish.entry);
}

Blend::Place Blend::at(std::uint64_t sample) const noexcept {
  const Entry& entry = pattern_[sample % pattern_.size()];
  return {entry.source, sample / pattern_.size() * shares_[entry.source] + entry.rank};
}

}  // namespace kangpt::data
