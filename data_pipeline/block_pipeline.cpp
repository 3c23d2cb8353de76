#include "data_pipeline/block_pipeline.hpp"

#include <future>
#include <thread>
#include <vector>

#include "data_pipeline/bounded_queue.hpp"
#include "data_pipeline/text_blocks.hpp"

namespace kangpt::data {
namespace {

constexpr std::size_t kBlocksPerWorker = 4;

using Task = std::packaged_task<EncodedBlock(Encoder&)>;

}  // namespace

struct BlockPipeline::State {
  State(const Vocabulary& words, const std::string& path, const PipelineOptions& wanted)
      : vocabulary(words),
        source(path),
        options(wanted),
        blocks(path),
        tasks(kBlocksPerWorker * static_cast<std::size_t>(wanted.workers)),
        results(kBlocksPerWorker * static_cast<std::size_t>(wanted.workers)) {
    for (int worker = 0; worker < wanted.workers; ++worker) threads.emplace_back([this] { work(); });
    threads.emplace_back([this] { read(); });
  }
  ~State() {
    tasks.close();
    results.close();
  }

  void read() {
    try {
      while (std::optional<TextBlock> block = blocks.next()) {
        Task task([this, text = std::move(*block)](Encoder& encoder) {
          return encode_block(text, source, options.invalid_utf8, encoder);
        });
        if (!results.push(task.get_future()) || !tasks.push(std::move(task))) return;
      }
    } catch (...) {
      std::promise<EncodedBlock> failed;
      failed.set_exception(std::current_exception());
      results.push(failed.get_future());
    }
    tasks.close();
    results.close();
  }

  void work() {
    Encoder encoder(vocabulary);
    while (std::optional<Task> task = tasks.pop()) (*task)(encoder);
  }

  const Vocabulary& vocabulary;
  const std::string source;
  const PipelineOptions options;
  TextBlocks blocks;
  BoundedQueue<Task> tasks;
  BoundedQueue<std::future<EncodedBlock>> results;
  std::vector<std::jthread> threads;  // last: they use all the others
};

BlockPipeline::BlockPipeline(const Vocabulary& vocabulary, const std::string& source, const PipelineOptions& options)
    : state_(std::make_unique<State>(vocabulary, source, options)) {}

BlockPipeline::~BlockPipeline() = default;

std::optional<EncodedBlock> BlockPipeline::next() {
  std::optional<std::future<EncodedBlock>> result = state_->results.pop();
  if (!result) return std::nullopt;
  return result->get();
}

std::uint64_t BlockPipeline::bytes_read() const noexcept {
  return state_->blocks.bytes_read();
}

std::string BlockPipeline::sha256() {
  return state_->blocks.sha256();
}

}  // namespace kangpt::data
