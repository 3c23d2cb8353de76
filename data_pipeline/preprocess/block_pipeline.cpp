#include "data_pipeline/preprocess/block_pipeline.hpp"

#include <algorithm>
#include <exception>
#include <optional>

namespace kangpt::data {
namespace {

constexpr std::size_t kBlocksPerWorker = 4;
constexpr std::size_t kFewestBlocks = 16;  // while the one who takes them waits for the disk, encoding goes on
// Of a block with a long record; it counts as one more block for each of these.
constexpr std::size_t kLongBlockBytes = std::size_t{4} << 20;

void give_back(SpareBuffers<std::string>& spare, std::string buffer) {
  if (buffer.capacity() <= kLongBlockBytes) spare.give(std::move(buffer));
}

}  // namespace

BlockPipeline::BlockPipeline(EncoderPool& pool, const BlockOptions& options)
    : pool_(pool),
      options_(std::make_shared<BlockOptions>(options)),
      blocks_(options.stories.source, options.stories.separators, pool.spare_texts()),
      results_(std::max(kFewestBlocks, kBlocksPerWorker * static_cast<std::size_t>(pool.workers()))),
      reader_([this] { read(); }) {}

EncoderPool::Task BlockPipeline::make_task(TextBlock block) const {
  return EncoderPool::Task([&pool = pool_, options = options_, text = std::move(block)](Encoder& encoder) mutable {
    EncodedBlock result = pool.spare_blocks().take();
    encode_block(text, *options, encoder, result);
    give_back(pool.spare_texts(), std::move(text.buffer));
    return result;
  });
}

void BlockPipeline::read() {
  try {
    while (std::optional<TextBlock> block = blocks_.next()) {
      const std::size_t weight = 1 + block->size / kLongBlockBytes;
      EncoderPool::Task task = make_task(std::move(*block));
      // The future first: results_ then has the order of the text, and its limit is that of the blocks in memory.
      if (!results_.push(task.get_future(), weight)) return;
      pool_.submit(std::move(task));
    }
  } catch (...) {  // to be thrown by next(), behind the blocks before it: errors come in the order of the text too
    std::promise<EncodedBlock> failed;
    failed.set_exception(std::current_exception());
    results_.push(failed.get_future());
  }
  results_.close();
}

const EncodedBlock* BlockPipeline::next() {
  pool_.spare_blocks().give(std::move(current_));
  std::optional<std::future<EncodedBlock>> result = results_.pop();
  if (!result) return nullptr;
  current_ = result->get();
  return &current_;
}

}  // namespace kangpt::data
