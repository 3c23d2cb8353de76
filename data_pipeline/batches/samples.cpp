#include "data_pipeline/batches/samples.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace kangpt::data {
namespace {

class PackedSamples : public Samples {
 public:
  PackedSamples(TokenStore store, std::uint64_t length) : store_(std::move(store)), length_(length) {}
  std::uint64_t size() const noexcept override { return store_.tokens() == 0 ? 0 : (store_.tokens() - 1) / length_; }
  std::size_t row_ids() const noexcept override { return length_ + 1; }
  std::size_t read(std::uint64_t sample, std::span<std::int64_t> ids) override {
    store_.read(sample * length_, ids);
    return ids.size();
  }

 private:
  TokenStore store_;
  std::uint64_t length_;
};

class StorySamples : public Samples {
 public:
  StorySamples(TokenStore store, std::uint64_t length) : store_(std::move(store)), length_(length) {}
  std::uint64_t size() const noexcept override { return store_.stories(); }
  std::size_t row_ids() const noexcept override { return length_; }
  std::size_t read(std::uint64_t sample, std::span<std::int64_t> ids) override {
    const TokenStore::TokenRange story = store_.story(sample);
    const std::size_t count = std::min<std::uint64_t>(story.size, ids.size());
    store_.read(story.begin, ids.first(count));
    return count;
  }

 private:
  TokenStore store_;
  std::uint64_t length_;
};

class PaddedSamples : public Samples {
 public:
  PaddedSamples(TokenStore store, std::uint64_t length) : store_(std::move(store)), length_(length) {
    first_row_.reserve(store_.stories() + 1);
    first_row_.push_back(0);
    for (std::uint64_t story = 0; story < store_.stories(); ++story) {
      const std::uint64_t targets = store_.story(story).size - 1;
      first_row_.push_back(first_row_.back() + (targets + length_ - 1) / length_);
    }
  }
  std::uint64_t size() const noexcept override { return first_row_.back(); }
  std::size_t row_ids() const noexcept override { return length_ + 1; }
  std::size_t read(std::uint64_t sample, std::span<std::int64_t> ids) override {
    const auto after = std::upper_bound(first_row_.begin(), first_row_.end(), sample);
    const auto story = static_cast<std::uint64_t>(after - first_row_.begin()) - 1;
    const TokenStore::TokenRange range = store_.story(story);
    const std::uint64_t skipped = (sample - first_row_[story]) * length_;
    const std::size_t count = std::min<std::uint64_t>(range.size - skipped, ids.size());
    store_.read(range.begin + skipped, ids.first(count));
    return count;
  }

 private:
  TokenStore store_;
  std::uint64_t length_;
  std::vector<std::uint64_t> first_row_;  // [stories + 1]
};

}  // namespace

std::unique_ptr<Samples> open_samples(TokenStore store, config::DataMode mode, std::uint64_t sequence_length) {
  switch (mode) {
    case config::DataMode::kPacked:
      return std::make_unique<PackedSamples>(std::move(store), sequence_length);
    case config::DataMode::kStory:
      return std::make_unique<StorySamples>(std::move(store), sequence_length);
    case config::DataMode::kPadded:
      return std::make_unique<PaddedSamples>(std::move(store), sequence_length);
  }
  throw InternalError("unknown data mode");
}

}  // namespace kangpt::data
