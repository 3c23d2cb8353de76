#include "data_pipeline/preprocess/vocabulary_training.hpp"

#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "base/processor/usable_processors.hpp"
#include "base/progress_line.hpp"
#include "data_pipeline/preprocess/block_encoder.hpp"
#include "data_pipeline/preprocess/bounded_queue.hpp"
#include "data_pipeline/preprocess/split_progress.hpp"
#include "data_pipeline/text/input_files.hpp"
#include "data_pipeline/text/text_blocks.hpp"
#include "data_pipeline/tokenizer/vocabulary_files.hpp"
#include "data_pipeline/tokenizer/vocabulary_trainer.hpp"

namespace kangpt::data {
namespace {

constexpr std::size_t kLongBlockBytes = std::size_t{4} << 20;

// Threads that count the words of blocks, each in a table of its own.
class WordCounters {
 public:
  explicit WordCounters(int workers)
      : blocks_(2 * static_cast<std::size_t>(workers)), counts_(static_cast<std::size_t>(workers)) {
    for (WordCounts& counts : counts_) threads_.emplace_back([this, &counts] { work(counts); });
  }
  WordCounters(const WordCounters&) = delete;
  WordCounters& operator=(const WordCounters&) = delete;
  ~WordCounters() { blocks_.close(); }

  SpareBuffers<std::string>& spare() noexcept { return spare_; }

  // False after a failure, which finish() throws.
  bool submit(TextBlock block, const StoryOptions& options) {
    const std::size_t weight = 1 + block.size / kLongBlockBytes;
    return blocks_.push({std::move(block), &options}, weight);
  }

  WordCounts finish() {
    blocks_.close();
    threads_.clear();
    if (failure_) std::rethrow_exception(failure_);
    for (std::size_t i = 1; i < counts_.size(); ++i) counts_[0].add(counts_[i]);
    return std::move(counts_[0]);
  }

 private:
  struct Work {
    TextBlock block;
    const StoryOptions* options;
  };

  void work(WordCounts& counts) {
    while (std::optional<Work> next = blocks_.pop()) {
      try {
        const BlockStories found(next->block, *next->options);
        for (const Story& story : found.stories())
          if (story.odd.skipped_records == 0) counts.add(story.text);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
        blocks_.close();
      }
      if (next->block.buffer.capacity() <= kLongBlockBytes) spare_.give(std::move(next->block.buffer));
    }
  }

  SpareBuffers<std::string> spare_;
  BoundedQueue<Work> blocks_;
  std::vector<WordCounts> counts_;
  std::mutex mutex_;
  std::exception_ptr failure_;
  std::vector<std::jthread> threads_;  // last: they use all the others
};

}  // namespace

WordCounts count_words(const VocabularyRequest& request) {
  std::vector<StoryOptions> options;  // stay where they are while others count
  for (const std::string& file : request.files) options.push_back(story_options(file, request.options));
  WordCounters counters(request.workers > 0 ? request.workers : base::usable_processors());
  SplitProgress progress("words", total_bytes(request.files));
  std::uint64_t bytes_before = 0;
  bool failed = false;
  for (std::size_t file = 0; file < options.size() && !failed; ++file) {
    TextBlocks blocks(request.files[file], options[file].separators, counters.spare());
    while (std::optional<TextBlock> block = blocks.next()) {
      if (failed = !counters.submit(std::move(*block), options[file]); failed) break;
      progress.update(bytes_before + blocks.bytes_read());
    }
    bytes_before += blocks.bytes_read();
  }
  return counters.finish();
}

Vocabulary train_vocabulary(const VocabularyRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<WordCounts::Word> words = count_words(request).sorted();
  if (words.empty()) {
    throw DataError("input " + base::join(request.files, ", ") + " holds no story: there are no words to train on");
  }
  base::ProgressLine line(base::ProgressLine::PlainLines::kAfterAWhile);
  VocabularyParts parts = train_vocabulary(words, request.size, [&](std::uint32_t tokens) {
    if (tokens % 64 != 0) return;
    line.show(
        {.done = std::min(0.999, static_cast<double>(tokens) / request.size),
         .parts = {{"vocabulary: " + base::format_count(tokens) + " of " + base::format_count(request.size) + " tokens",
                    1}}});
  });
  line.finish();
  if (parts.tokens.size() < request.size) {
    base::log_warning("the text has no more pairs of tokens within words: the vocabulary has " +
                      base::format_count(parts.tokens.size()) + " tokens, not " + base::format_count(request.size));
  }
  std::string text = tokenizer_json(parts);
  Vocabulary vocabulary(std::move(parts), {"tokenizer.json", std::move(text)});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("vocabulary: %s tokens from %s distinct words in %s\n", base::format_count(vocabulary.size()).c_str(),
              base::format_count(words.size()).c_str(), base::format_duration(seconds).c_str());
  return vocabulary;
}

}  // namespace kangpt::data
