#include "data_pipeline/batches/batches.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/error.hpp"
#include "data_pipeline/batches/blend.hpp"
#include "data_pipeline/batches/block_order.hpp"
#include "data_pipeline/batches/blocks_ahead.hpp"
#include "data_pipeline/batches/permutation.hpp"
#include "data_pipeline/batches/samples.hpp"
#include "data_pipeline/shards/dataset.hpp"

namespace kangpt::data {
namespace {

using SampleSources = std::vector<std::unique_ptr<Samples>>;

std::vector<double> weights_of(const std::vector<OpenedSource>& sources) {
  std::vector<double> weights;
  for (const DataSource& source : sources) weights.push_back(source.weight);
  return weights;
}

// Which samples a batch has; knows of the data no more than how many there are, and of how many tokens.
class SampleOrder {
 public:
  struct Sample {
    std::size_t source = 0;
    std::uint64_t index = 0;
    // Where in the order of the source it stands.
    std::uint64_t epoch = 0;
    std::uint64_t position = 0;
  };

  SampleOrder(const SampleSources& sources, const BatchOptions& options)
      : blend_(weights_of(options.sources)),
        batch_size_(static_cast<std::uint64_t>(options.batch_size)),
        seed_(options.seed),
        shuffle_(options.shuffle),
        mask_tail_(options.tail == Tail::kMask),
        drop_tail_(!mask_tail_ && options.mode == config::DataMode::kStory && sources.size() == 1) {
    for (const auto& source : sources) {
      sizes_.push_back(source->size());
      blocks_.push_back(block_shape_of(*source));
    }
  }

  // The sample in slot `slot` < batch size of a batch; none for a masked row.
  std::optional<Sample> sample_at(std::uint64_t batch, std::uint64_t slot) const {
    if (mask_tail_ || drop_tail_)
      return one_after_the_other(batch / batches_per_epoch(), batch % batches_per_epoch() * batch_size_ + slot);
    const Blend::Place place = blend_.at(batch * batch_size_ + slot);
    const std::uint64_t size = sizes_[place.source];
    return sample(place.source, place.position / size, place.position % size);
  }

  std::vector<std::uint64_t> samples(std::uint64_t batch) const {
    std::vector<std::uint64_t> found;
    for (std::uint64_t slot = 0; slot < batch_size_; ++slot) {
      const auto sample = sample_at(batch, slot);
      if (!sample) continue;
      const auto source = sizes_.begin() + static_cast<std::ptrdiff_t>(sample->source);
      found.push_back(std::accumulate(sizes_.begin(), source, sample->index));
    }
    return found;
  }

  std::uint64_t batches_per_epoch() const {
    const std::uint64_t size = std::accumulate(sizes_.begin(), sizes_.end(), std::uint64_t{0});
    const std::uint64_t whole = size / batch_size_;
    return std::max<std::uint64_t>(drop_tail_ ? whole : whole + (size % batch_size_ != 0 ? 1 : 0), 1);
  }

 private:
  // Sample `position` of an epoch in which all sources follow each other; none past the end.
  std::optional<Sample> one_after_the_other(std::uint64_t epoch, std::uint64_t position) const {
    for (std::size_t source = 0; source < sizes_.size(); ++source) {
      if (position < sizes_[source]) return sample(source, epoch, position);
      position -= sizes_[source];
    }
    return std::nullopt;
  }

  Sample sample(std::size_t source, std::uint64_t epoch, std::uint64_t position) const {
    return {source, shuffled(source, epoch, position), epoch, position};
  }

  std::uint64_t shuffled(std::size_t source, std::uint64_t epoch, std::uint64_t position) const {
    switch (shuffle_) {
      case config::Shuffle::kNone:
        return position;
      case config::Shuffle::kSample:
        return Permutation(sizes_[source], seed_ + source, epoch)(position);
      case config::Shuffle::kBlock:
        return BlockOrder(blocks_[source], seed_ + source, epoch)(position);
    }
    throw InternalError("unknown shuffle");
  }

  // Of each source.
  std::vector<std::uint64_t> sizes_;  // in samples
  std::vector<BlockOrder::Shape> blocks_;
  Blend blend_;
  std::uint64_t batch_size_;
  std::uint64_t seed_;
  config::Shuffle shuffle_;
  bool mask_tail_;
  bool drop_tail_;
};

class DatasetBatches : public training::BatchSource {
 public:
  DatasetBatches(SampleSources sources, const BatchOptions& options)
      : sources_(std::move(sources)),
        order_(sources_, options),
        rows_(static_cast<std::uint64_t>(options.batch_size / options.logical_shards)),
        ids_(sources_.front()->row_ids()) {
    if (options.shuffle != config::Shuffle::kBlock) return;
    for (std::size_t source = 0; source < sources_.size(); ++source)
      ahead_.emplace_back(*sources_[source], options.seed + source);
  }

  training::MicroBatch micro_batch(std::uint64_t batch, int logical_shard) override {
    training::MicroBatch result;
    result.rows = static_cast<std::int64_t>(rows_);
    result.time = static_cast<std::int64_t>(ids_.size()) - 1;
    const std::size_t cells = rows_ * (ids_.size() - 1);
    result.inputs.assign(cells, 0);
    result.targets.assign(cells, 0);
    result.mask.assign(cells, 0.0F);
    for (std::uint64_t row = 0; row < rows_; ++row) {
      const auto sample = order_.sample_at(batch, static_cast<std::uint64_t>(logical_shard) * rows_ + row);
      if (sample) fill_row(*sample, row, result);
    }
    return result;
  }

  std::uint64_t batches_per_epoch() const override { return order_.batches_per_epoch(); }
  const SampleOrder& order() const noexcept { return order_; }

 private:
  void fill_row(const SampleOrder::Sample& sample, std::uint64_t row, training::MicroBatch& result) {
    const std::size_t columns = ids_.size() - 1;
    if (!ahead_.empty()) ahead_[sample.source].at(sample.epoch, sample.position);
    const std::size_t count = sources_[sample.source]->read(sample.index, ids_);
    const auto first = static_cast<std::ptrdiff_t>(row * columns);
    std::copy_n(ids_.begin(), std::min(count, columns), result.inputs.begin() + first);
    if (count < 2) return;
    std::copy_n(ids_.begin() + 1, count - 1, result.targets.begin() + first);
    std::fill_n(result.mask.begin() + first, count - 1, 1.0F);
  }

  SampleSources sources_;
  SampleOrder order_;
  std::vector<BlocksAhead> ahead_;  // of each source, where they are read in blocks
  std::uint64_t rows_;              // of a logical shard
  std::vector<std::int64_t> ids_;   // of one row
};

void check_options(const BatchOptions& options) {
  if (options.logical_shards < 1 || options.batch_size < 1 || options.batch_size % options.logical_shards != 0) {
    throw ConfigError("train.batch_size " + std::to_string(options.batch_size) +
                      " is not a multiple of train.logical_shards " + std::to_string(options.logical_shards));
  }
  const int shortest = options.mode == config::DataMode::kStory ? 2 : 1;
  if (options.sequence_length < shortest) {
    throw ConfigError("data.sequence_length " + std::to_string(options.sequence_length) + " is below " +
                      std::to_string(shortest));
  }
}

void check_vocabulary(const BatchOptions& options, const DatasetFacts& facts) {
  if (options.vocabulary_size == 0 || options.vocabulary_size == facts.vocabulary_size) return;
  throw ConfigError("the data in " + directories(options.sources) + " was made with a vocabulary of " +
                    std::to_string(facts.vocabulary_size) + " tokens, the model has " +
                    std::to_string(options.vocabulary_size) +
                    ". Set model.vocabulary_size to the former, or name another data.directory");
}

std::unique_ptr<DatasetBatches> open(const BatchOptions& options) {
  check_options(options);
  check_vocabulary(options, dataset_facts(options.sources, options.split));
  const std::uint64_t least =
      options.tail == Tail::kTrain && options.mode == config::DataMode::kStory && options.sources.size() == 1
          ? static_cast<std::uint64_t>(options.batch_size)
          : 1;
  SampleSources samples;
  for (const OpenedSource& source : options.sources) {
    samples.push_back(open_samples(TokenStore(source.manifest, source.directory, source.stories_of(options.split)),
                                   options.mode, static_cast<std::uint64_t>(options.sequence_length)));
    if (samples.back()->size() >= least) continue;
    throw ConfigError("the " + options.split + " split of " + source.directory.string() + " has " +
                      std::to_string(samples.back()->size()) + " samples; at least " + std::to_string(least) +
                      " are needed with batch_size " + std::to_string(options.batch_size) + " and sequence_length " +
                      std::to_string(options.sequence_length) + ". Lower them, or prepare more text");
  }
  return std::make_unique<DatasetBatches>(std::move(samples), options);
}

}  // namespace

std::unique_ptr<training::BatchSource> open_batches(const BatchOptions& options) {
  return open(options);
}

std::function<std::vector<std::uint64_t>(std::uint64_t)> samples_of_batches(const BatchOptions& options) {
  return [order = open(options)->order()](std::uint64_t batch) { return order.samples(batch); };
}

}  // namespace kangpt::data
