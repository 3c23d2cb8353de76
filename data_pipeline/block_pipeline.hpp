// Encodes the blocks of one source on several threads and gives them back in order.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "data_pipeline/story_encoder.hpp"
#include "data_pipeline/vocabulary.hpp"

namespace kangpt::data {

struct PipelineOptions {
  int workers = 1;
  InvalidUtf8 invalid_utf8 = InvalidUtf8::kError;
};

// One thread reads, `workers` encode; a few blocks a worker are in memory at a time. Borrows the vocabulary.
class BlockPipeline {
 public:
  BlockPipeline(const Vocabulary& vocabulary, const std::string& source, const PipelineOptions& options);
  BlockPipeline(const BlockPipeline&) = delete;
  BlockPipeline& operator=(const BlockPipeline&) = delete;
  ~BlockPipeline();

  // The next block in the order of the source; nullopt at its end. Throws what reading or encoding threw.
  std::optional<EncodedBlock> next();

  std::uint64_t bytes_read() const noexcept;
  // Of the source, after next() gave nullopt.
  std::string sha256();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kangpt::data
