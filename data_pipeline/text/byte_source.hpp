// The bytes of a source: a file or standard input, decompressed where it is compressed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/digest.hpp"
#include "base/unique_fd.hpp"

namespace kangpt::data {

// Turns compressed bytes into plain ones.
class Decompressor {
 public:
  virtual ~Decompressor() = default;
  struct Progress {
    std::size_t consumed = 0;
    std::size_t produced = 0;
  };
  // Consumes and produces what it can. Throws DataError if the input is damaged.
  virtual Progress run(std::span<const char> input, std::span<char> output) = 0;
  // True at the begin and between the parts of a file: the input may end here.
  virtual bool may_end() const noexcept = 0;
};

// nullptr if the file beginning with `head` is not compressed. gzip and Zstandard are known, by content.
std::unique_ptr<Decompressor> make_decompressor(std::string_view head, const std::string& name);

// Reads one source from front to back. Not thread-safe, bytes_read() aside.
class ByteSource {
 public:
  // "-" is standard input. Throws MissingInputError, IoError.
  explicit ByteSource(const std::string& path);

  // For messages: the path or "(standard input)".
  const std::string& name() const noexcept { return name_; }

  // Fills `bytes` as far as the source reaches; less than its size only at the end. Throws IoError, DataError (damaged
  // or incomplete compressed data).
  std::size_t read(std::span<char> bytes);

  // Bytes of the file, as it lies on disk, read so far; any thread may ask.
  std::uint64_t bytes_read() const noexcept { return bytes_read_; }
  // Of all bytes of the file as it lies on disk, after read() came to the end.
  std::string sha256() { return digest_.hex(); }

 private:
  void start();
  bool refill();
  std::size_t read_plain(std::span<char> bytes);
  std::size_t read_compressed(std::span<char> bytes);
  std::size_t read_raw(std::span<char> bytes);

  std::string name_;
  base::UniqueFd fd_;
  base::Sha256 digest_;
  std::atomic<std::uint64_t> bytes_read_ = 0;
  std::unique_ptr<Decompressor> decompressor_;
  bool started_ = false;
  std::string buffer_;         // raw bytes
  std::span<const char> raw_;  // of buffer_: not yet used
};

}  // namespace kangpt::data
