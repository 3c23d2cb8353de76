// Cuts a source into blocks of whole stories that can be encoded independently.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "data_pipeline/text/byte_source.hpp"
#include "data_pipeline/text/record_format.hpp"
#include "data_pipeline/text/spare_buffers.hpp"

namespace kangpt::data {

inline constexpr std::size_t kMaximumStoryBytes = std::size_t{16} << 20;
inline constexpr std::size_t kMaximumRecordBytes = std::size_t{64}
                                                   << 20;  // of JSON: what is beside a story may be long

struct TextBlock {
  std::uint64_t index = 0;         // of the block in its source
  std::uint64_t offset_bytes = 0;  // of the text in the decompressed source
  std::string buffer;              // the text, and at least PaddedText::kPaddingBytes more
  std::size_t size = 0;            // of the text
  // For JSON alone:
  JsonPlace json_place = JsonPlace::kStart;
  std::uint64_t lines_before = 0;  // of the text, in its source

  std::string_view text() const noexcept { return std::string_view(buffer).substr(0, size); }
};

// Reads one source from front to back. Where blocks are cut depends on the content alone. Not thread-safe, bytes_read()
// aside.
class TextBlocks {
 public:
  // "-" is standard input; `separators` matters for text alone. Throws MissingInputError, IoError.
  // Blocks are read into buffers of `spare`, where the user may put them back; it is borrowed.
  TextBlocks(const std::string& path, SeparatorPlace separators, SpareBuffers<std::string>& spare);

  // The next block; nullopt at the end. A byte order mark at the beginning is left out. Throws IoError, and DataError
  // for a file that is not text, or damaged, or has a story (in JSON: a record) that is too long.
  std::optional<TextBlock> next();

  std::uint64_t bytes_read() const noexcept { return source_.bytes_read(); }
  // Of the file as it lies on disk, once next() gave nullopt.
  std::string sha256() { return source_.sha256(); }

 private:
  void fill(std::size_t size);
  void begin();
  TextBlock take(std::size_t size);
  std::size_t longest_record() const noexcept {
    return format_ == TextFormat::kText ? kMaximumStoryBytes : kMaximumRecordBytes;
  }
  [[noreturn]] void fail_too_long() const;
  std::string_view pending() const noexcept { return std::string_view(buffer_).substr(0, pending_size_); }

  TextFormat format_;
  ByteSource source_;
  std::unique_ptr<RecordCutter> cutter_;
  SpareBuffers<std::string>& spare_;
  std::string buffer_;                // begins with what was read and not yet given out,
  std::size_t pending_size_ = 0;      // so many bytes
  std::uint64_t pending_offset_ = 0;  // of them in the decompressed source
  std::uint64_t blocks_ = 0;          // given out
  std::uint64_t lines_ = 0;           // in them, where they are JSON
  bool began_ = false;
  bool at_end_ = false;
};

}  // namespace kangpt::data
