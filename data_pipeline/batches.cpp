#include "data_pipeline/batches.hpp"

#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "data_pipeline/dataset.hpp"
#include "data_pipeline/permutation.hpp"
#include "data_pipeline/samples.hpp"

namespace kangpt::data {
namespace {

class DatasetBatches : public training::BatchSource {
 public:
  DatasetBatches(std::unique_ptr<Samples> samples, const BatchOptions& options)
      : samples_(std::move(samples)),
        size_(samples_->size()),
        batch_size_(static_cast<std::uint64_t>(options.batch_size)),
        rows_(batch_size_ / static_cast<std::uint64_t>(options.logical_shards)),
        seed_(options.seed),
        shuffled_(options.shuffle == config::Shuffle::kSample),
        mask_tail_(options.tail == Tail::kMask),
        drop_tail_(options.tail == Tail::kTrain && options.mode == config::DataMode::kStory),
        ids_(samples_->row_ids()) {}

  training::MicroBatch micro_batch(std::uint64_t batch, int logical_shard) override {
    training::MicroBatch result;
    result.rows = static_cast<std::int64_t>(rows_);
    result.time = static_cast<std::int64_t>(ids_.size()) - 1;
    const std::size_t cells = rows_ * (ids_.size() - 1);
    result.inputs.assign(cells, 0);
    result.targets.assign(cells, 0);
    result.mask.assign(cells, 0.0F);
    for (std::uint64_t row = 0; row < rows_; ++row) {
      const auto sample = sample_at(batch, static_cast<std::uint64_t>(logical_shard) * rows_ + row);
      if (sample) fill_row(*sample, row, result);
    }
    return result;
  }

  std::vector<std::uint64_t> samples(std::uint64_t batch) const {
    std::vector<std::uint64_t> found;
    for (std::uint64_t slot = 0; slot < batch_size_; ++slot) {
      if (const auto sample = sample_at(batch, slot)) found.push_back(*sample);
    }
    return found;
  }

  std::uint64_t batches_per_epoch() const override {
    const std::uint64_t whole = size_ / batch_size_;
    return std::max<std::uint64_t>(drop_tail_ ? whole : whole + (size_ % batch_size_ != 0 ? 1 : 0), 1);
  }

 private:
  // The sample in slot `slot` < batch_size_ of a batch; none for a masked row.
  std::optional<std::uint64_t> sample_at(std::uint64_t batch, std::uint64_t slot) const {
    const bool stops_at_epoch = drop_tail_ || mask_tail_;
    const std::uint64_t position = (stops_at_epoch ? batch % batches_per_epoch() : batch) * batch_size_ + slot;
    const std::uint64_t epoch = stops_at_epoch ? batch / batches_per_epoch() : position / size_;
    if (mask_tail_ && position >= size_) return std::nullopt;
    const std::uint64_t index = position % size_;
    return shuffled_ ? Permutation(size_, seed_, epoch)(index) : index;
  }

  void fill_row(std::uint64_t sample, std::uint64_t row, training::MicroBatch& result) {
    const std::size_t columns = ids_.size() - 1;
    const std::size_t count = samples_->read(sample, ids_);
    const auto first = static_cast<std::ptrdiff_t>(row * columns);
    std::copy_n(ids_.begin(), std::min(count, columns), result.inputs.begin() + first);
    if (count < 2) return;
    std::copy_n(ids_.begin() + 1, count - 1, result.targets.begin() + first);
    std::fill_n(result.mask.begin() + first, count - 1, 1.0F);
  }

  std::unique_ptr<Samples> samples_;
  std::uint64_t size_;  // samples in an epoch
  std::uint64_t batch_size_;
  std::uint64_t rows_;  // of a logical shard
  std::uint64_t seed_;
  bool shuffled_;
  bool mask_tail_;
  bool drop_tail_;
  std::vector<std::int64_t> ids_;  // of one row
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

void check_vocabulary(const BatchOptions& options, std::uint64_t vocabulary_size) {
  if (options.vocabulary_size == 0 || options.vocabulary_size == vocabulary_size) return;
  throw ConfigError("the data in " + options.directory.string() + " was made with a vocabulary of " +
                    std::to_string(vocabulary_size) + " tokens, the model has " +
                    std::to_string(options.vocabulary_size) +
                    ". Set model.vocabulary_size to the former, or name another data.directory");
}

std::unique_ptr<DatasetBatches> open(const BatchOptions& options) {
  check_options(options);
  TokenStore store(options.directory, options.split);
  check_vocabulary(options, store.vocabulary_size());
  auto samples = open_samples(std::move(store), options.mode, static_cast<std::uint64_t>(options.sequence_length));
  const std::uint64_t needed = options.tail == Tail::kTrain && options.mode == config::DataMode::kStory
                                   ? static_cast<std::uint64_t>(options.batch_size)
                                   : 1;
  if (samples->size() < needed) {
    throw ConfigError("the " + options.split + " split of " + options.directory.string() + " has " +
                      std::to_string(samples->size()) + " samples; at least " + std::to_string(needed) +
                      " are needed with batch_size " + std::to_string(options.batch_size) + " and sequence_length " +
                      std::to_string(options.sequence_length) + ". Lower them, or prepare more text");
  }
  return std::make_unique<DatasetBatches>(std::move(samples), options);
}

}  // namespace

std::unique_ptr<training::BatchSource> open_batches(const BatchOptions& options) {
  return open(options);
}

std::vector<std::uint64_t> samples_of_batch(const BatchOptions& options, std::uint64_t batch) {
  return open(options)->samples(batch);
}

DatasetFacts dataset_facts(const fs::path& directory, const std::string& split) {
  const Manifest manifest = open_manifest(directory);
  const SplitRecord& record = require_split(manifest, directory, split);
  return {fingerprint(manifest, record),
          manifest.vocabulary_size,
          manifest.vocabulary_sha256,
          record.stories,
          record.tokens,
          record.text_bytes,
          record.bytes_per_token()};
}

}  // namespace kangpt::data
