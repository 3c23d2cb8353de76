// One shard: an HDF5 file with the tokens of whole stories (FORMAT.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "data_pipeline/shards/manifest.hpp"
#include "io/hdf5_file.hpp"

namespace kangpt::data {

struct ShardVocabulary {
  std::uint64_t size = 0;
  std::string sha256;
  std::uint64_t end_of_text = 0;  // for who writes shards; readers don't ask
};

// As wide as tokens are stored.
inline std::uint64_t token_size_bytes(const ShardVocabulary& vocabulary) noexcept {
  return vocabulary.size <= 65536 ? 2 : 4;
}

// Collects stories until they are written as one shard. Tokens are kept as wide as they are stored.
class ShardBuffer {
 public:
  explicit ShardBuffer(ShardVocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

  // Makes room, without using memory yet.
  void reserve(std::uint64_t tokens);
  void clear() noexcept;
  // Appends one story, its end-of-text token included.
  void append_story(std::span<const std::uint32_t> tokens);
  std::uint64_t tokens() const noexcept { return doc_offsets_.back(); }
  std::uint64_t stories() const noexcept { return doc_offsets_.size() - 1; }

  // Writes FOLDER/NAME durably: under NAME.tmp at first, which is removed on failure. Throws IoError.
  ShardRecord write(const fs::path& folder, const std::string& name) const;

 private:
  bool narrow() const noexcept { return token_size_bytes(vocabulary_) == 2; }
  std::span<const std::byte> token_bytes() const noexcept;
  ShardRecord describe(const fs::path& path, const std::string& name) const;
  template <typename Token>
  void write_tokens(io::Hdf5File& file, const std::vector<Token>& tokens) const;
  void write_file(const fs::path& path) const;

  ShardVocabulary vocabulary_;
  std::vector<std::uint16_t> tokens16_;
  std::vector<std::uint32_t> tokens32_;
  std::vector<std::uint64_t> doc_offsets_ = {0};
};

// Digest of what lies before and behind the tokens of a shard: of all that the HDF5 library interprets. 16 hexadecimal
// digits.
std::string frame_xxh3(std::span<const std::byte> before, std::span<const std::byte> behind);

// Reads tokens of one shard, from a mapping where the file allows it, else through HDF5. Each block's checksum and
// token range are checked when it is first touched. Move-only; one thread at a time.
class ShardReader {
 public:
  // Throws MissingInputError, or DataError (names the file) if it is damaged or differs from its record in the
  // manifest.
  ShardReader(const fs::path& folder, const ShardRecord& record, const ShardVocabulary& vocabulary);

  std::uint64_t tokens() const noexcept { return tokens_; }
  std::uint64_t stories() const noexcept { return doc_offsets_.size() - 1; }
  // [stories + 1]
  std::span<const std::uint64_t> doc_offsets() const noexcept { return doc_offsets_; }
  // Tokens [begin, begin + ids.size()), which have to lie inside. Throws DataError.
  void read(std::uint64_t begin, std::span<std::int64_t> ids);
  // Checks every block that was not touched yet.
  void verify();

 private:
  io::Hdf5File open_checked(const ShardRecord& record) const;
  void check_attributes(const ShardRecord& record, const ShardVocabulary& vocabulary) const;
  void load_offsets();
  template <typename T>
  std::vector<T> load(const std::string& name, std::uint64_t size) const;
  void check_block(std::uint64_t block);
  template <typename Token>
  void check_tokens(std::uint64_t block, std::span<const Token> tokens);
  std::span<const std::byte> block_bytes(std::uint64_t block);
  [[noreturn]] void fail(const std::string& problem) const;

  fs::path path_;
  std::uint64_t vocabulary_size_ = 0;
  std::uint64_t tokens_ = 0;
  std::uint64_t token_bytes_ = 2;
  base::MappedFile mapping_;
  io::Hdf5File file_;
  std::uint64_t block_tokens_ = 0;
  std::vector<std::uint64_t> doc_offsets_;
  std::vector<std::uint32_t> crc32c_;
  std::vector<bool> checked_;            // by block
  const std::byte* mapped_ = nullptr;    // /tokens in the mapping; nullptr: read through HDF5
  std::vector<std::byte> block_buffer_;  // without a mapping: the block read last
  std::uint64_t buffered_block_ = ~std::uint64_t{0};
};

}  // namespace kangpt::data
