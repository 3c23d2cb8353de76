// Batches that are watched as they are evaluated.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "training/batch_source.hpp"

namespace kangpt::data {

// Passes the batches of another source on and counts the text that their unmasked targets stand for; an end-of-text
// token stands for none. Borrows the vocabulary.
class ObservedBatches final : public training::BatchSource {
 public:
  // `vocabulary`: none, and bytes are not counted. `on_batch` is told of the batch that begins.
  ObservedBatches(std::unique_ptr<training::BatchSource> batches, const Vocabulary* vocabulary,
                  std::function<void(std::uint64_t)> on_batch)
      : batches_(std::move(batches)), vocabulary_(vocabulary), on_batch_(std::move(on_batch)) {}

  training::MicroBatch micro_batch(std::uint64_t batch, int logical_shard) override {
    if (logical_shard == 0) on_batch_(batch);
    training::MicroBatch rows = batches_->micro_batch(batch, logical_shard);
    if (vocabulary_ != nullptr) count(rows);
    return rows;
  }
  std::uint64_t batches_per_epoch() const override { return batches_->batches_per_epoch(); }

  std::uint64_t text_bytes() const noexcept { return text_bytes_; }

 private:
  void count(const training::MicroBatch& rows) {
    for (std::size_t i = 0; i < rows.targets.size(); ++i) {
      const auto id = static_cast<std::uint32_t>(rows.targets[i]);
      if (rows.mask[i] != 0 && id != vocabulary_->end_of_text()) text_bytes_ += vocabulary_->token_bytes(id).size();
    }
  }

  std::unique_ptr<training::BatchSource> batches_;
  const Vocabulary* vocabulary_;
  std::function<void(std::uint64_t)> on_batch_;
  std::uint64_t text_bytes_ = 0;
};

}  // namespace kangpt::data
