// Threads with an encoder each, for as long as a program prepares data.
#pragma once

#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "data_pipeline/preprocess/block_encoder.hpp"
#include "data_pipeline/preprocess/bounded_queue.hpp"
#include "data_pipeline/text/spare_buffers.hpp"
#include "data_pipeline/tokenizer/vocabulary.hpp"

namespace kangpt::data {

// Borrows the vocabulary. submit() may be called by several threads. The destructor waits for tasks that began.
// A task's future hands its result over, or what it threw: whoever waits for block 7 gets block 7, whichever thread
// encoded it and whatever others did meanwhile. The queue is as long as the pool is wide, enough for nobody to run dry;
// how much text lies in memory is for the one who submits to bound.
class EncoderPool {
 public:
  using Task = std::packaged_task<EncodedBlock(Encoder&)>;

  EncoderPool(const Vocabulary& vocabulary, int workers)
      : vocabulary_(vocabulary), workers_(workers), tasks_(static_cast<std::size_t>(workers)) {
    for (int worker = 0; worker < workers; ++worker) threads_.emplace_back([this] { work(); });
  }
  EncoderPool(const EncoderPool&) = delete;
  EncoderPool& operator=(const EncoderPool&) = delete;
  ~EncoderPool() { tasks_.close(); }

  int workers() const noexcept { return workers_; }
  // What tasks read from and write to, to be used again.
  SpareBuffers<std::string>& spare_texts() noexcept { return spare_texts_; }
  SpareBuffers<EncodedBlock>& spare_blocks() noexcept { return spare_blocks_; }

  // Waits for room. Tasks begin in the order of their submission.
  void submit(Task task) { tasks_.push(std::move(task)); }

 private:
  void work() {
    Encoder encoder(vocabulary_);
    while (std::optional<Task> task = tasks_.pop()) (*task)(encoder);
  }

  const Vocabulary& vocabulary_;
  int workers_;
  SpareBuffers<std::string> spare_texts_;
  SpareBuffers<EncodedBlock> spare_blocks_;
  BoundedQueue<Task> tasks_;
  std::vector<std::jthread> threads_;  // last: they use all the others
};

}  // namespace kangpt::data
