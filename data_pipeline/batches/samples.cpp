#include "data_pipeline/batches/samples.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace kangpt::data {
namespace {

class StoredSamples : public Samples {
 public:
  StoredSamples(TokenStore store, std::uint64_t length) : store_(std::move(store)), length_(length) {}
  std::uint64_t tokens() const noexcept override { return store_.tokens(); }

 protected:
  void read_stories_ahead(std::uint64_t first, std::uint64_t last) {
    const TokenStore::TokenRange begin = store_.story(first);
    const TokenStore::TokenRange end = store_.story(last);
    store_.read_ahead({begin.begin, end.begin + end.size - begin.begin});
  }

  TokenStore store_;
  std::uint64_t length_;
};

class PackedSamples : public StoredSamples {
 public:
  using StoredSamples::StoredSamples;
  std::uint64_t size() const noexcept override { return store_.tokens() == 0 ? 0 : (store_.tokens() - 1) / length_; }
  std::size_t row_ids() const noexcept override { return length_ + 1; }
  std::size_t read(std::uint64_t sample, std::span<std::int64_t> ids) override {
    store_.read(sample * length_, ids);
    return ids.size();
  }
  void read_ahead(std::uint64_t first, std::uint64_t count) override {
    store_.read_ahead({first * length_, count * length_ + 1});
  }
};

class StorySamples : public StoredSamples {
 public:
  using StoredSamples::StoredSamples;
  std::uint64_t size() const noexcept override { return store_.stories(); }
  std::size_t row_ids() const noexcept override { return length_; }
  std::size_t read(std::uint64_t sample, std::span<std::int64_t> ids) override {
    const TokenStore::TokenRange story = store_.story(sample);
    const std::size_t count = std::min<std::uint64_t>(story.size, ids.size());
    store_.read(story.begin, ids.first(count));
    return count;
  }
  void read_ahead(std::uint64_t first, std::uint64_t count) override { read_stories_ahead(first, first + count - 1); }
};

// How many rows there are, only the length of every story says: they are counted once, but only every kGroup-th count
// is kept.
class PaddedSamples : public StoredSamples {
 public:
  PaddedSamples(TokenStore store, std::uint64_t length) : StoredSamples(std::move(store), length) {
    std::uint64_t stories = 0;
    store_.for_each_story([&](const TokenStore::TokenRange& story) {
      if (stories++ % kGroup == 0) first_row_.push_back(size_);
      size_ += rows_of(story);
    });
  }
  std::uint64_t size() const noexcept override { return size_; }
  std::size_t row_ids() const noexcept override { return length_ + 1; }
  std::size_t read(std::uint64_t sample, std::span<std::int64_t> ids) override {
    const Place place = place_of(sample);
    const std::uint64_t skipped = place.row * length_;
    const std::size_t count = std::min<std::uint64_t>(place.range.size - skipped, ids.size());
    store_.read(place.range.begin + skipped, ids.first(count));
    return count;
  }
  void read_ahead(std::uint64_t first, std::uint64_t count) override {
    read_stories_ahead(place_of(first).story, place_of(first + count - 1).story);
  }

 private:
  static constexpr std::uint64_t kGroup = 512;  // stories: 4 KB of offsets to search
  struct Place {
    std::uint64_t story;
    TokenStore::TokenRange range;
    std::uint64_t row;  // of that story
  };

  std::uint64_t rows_of(const TokenStore::TokenRange& story) const {
    const std::uint64_t targets = story.size - 1;
    return targets <= length_ ? std::min<std::uint64_t>(targets, 1) : (targets + length_ - 1) / length_;
  }

  Place place_of(std::uint64_t sample) {
    const auto after = std::upper_bound(first_row_.begin(), first_row_.end(), sample);
    std::uint64_t row = sample - *(after - 1);
    for (auto story = static_cast<std::uint64_t>(after - 1 - first_row_.begin()) * kGroup;; ++story) {
      const TokenStore::TokenRange range = store_.story(story);
      if (row < rows_of(range)) return {story, range, row};
      row -= rows_of(range);
    }
  }

  std::uint64_t size_ = 0;
  std::vector<std::uint64_t> first_row_;  // of each group
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
