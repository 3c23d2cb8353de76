// Encodes the blocks of one source on several threads and gives them back in order.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "data_pipeline/preprocess/bounded_queue.hpp"
#include "data_pipeline/preprocess/encoder_pool.hpp"
#include "data_pipeline/text/stories.hpp"
#include "data_pipeline/text/text_blocks.hpp"

namespace kangpt::data {

// A thread of its own reads, the pool encodes; a few blocks for each worker are in memory at a time. Borrows the pool.
class BlockPipeline {
 public:
  // The source is options.stories.source.
  BlockPipeline(EncoderPool& pool, const BlockOptions& options);
  BlockPipeline(const BlockPipeline&) = delete;
  BlockPipeline& operator=(const BlockPipeline&) = delete;
  ~BlockPipeline() { results_.close(); }

  // The next block in the order of the source, which stays until the next call; nullptr at its end. Throws what reading
  // or encoding threw.
  const EncodedBlock* next();

  std::uint64_t bytes_read() const noexcept { return blocks_.bytes_read(); }
  // Of the source, after next() gave nullptr.
  std::string sha256() { return blocks_.sha256(); }

 private:
  void read();
  EncoderPool::Task make_task(TextBlock block) const;

  EncoderPool& pool_;
  std::shared_ptr<const BlockOptions> options_;  // shared with the tasks, which may outlive this object
  TextBlocks blocks_;
  BoundedQueue<std::future<EncodedBlock>> results_;
  EncodedBlock current_;
  std::jthread reader_;  // last: it uses all the others
};

}  // namespace kangpt::data
