// One shard: an HDF5 file with the tokens of whole stories (FORMAT.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
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

// Reads tokens of one shard, from a mapping where the file allows it, else through HDF5. The file is opened when it is
// first asked for what is in it; each block's checksum and token range are checked when that is first touched.
// Move-only; one thread at a time.
class ShardReader {
 public:
  // Looks at the file's size alone. Throws MissingInputError, or DataError (names the file) if it has another than its
  // record in the manifest says; the other functions throw the latter where it proves damaged.
  ShardReader(const fs::path& folder, const ShardRecord& record, const ShardVocabulary& vocabulary);

  std::uint64_t tokens() const noexcept { return record_.tokens; }
  std::uint64_t stories() const noexcept { return record_.stories; }
  // [stories + 1], until close().
  std::span<const std::uint64_t> doc_offsets();
  // Tokens [begin, begin + ids.size()), which have to lie inside.
  void read(std::uint64_t begin, std::span<std::int64_t> ids);
  // Has the system read tokens [begin, begin + count) from the disk, in the background where they are mapped.
  void read_ahead(std::uint64_t begin, std::uint64_t count);
  // Checks every block that was not touched yet.
  void verify();

  bool is_open() const noexcept { return opened_ != nullptr; }
  // Gives mapping and descriptor back until it is asked again; what has been checked is not checked again.
  void close() noexcept { opened_.reset(); }

 private:
  // Where the parts of a file that proved to be as it was written lie in it.
  struct Layout {
    std::uint64_t block_tokens = 0;
    std::optional<std::uint64_t> tokens;
    std::optional<std::uint64_t> crc32c;
    std::optional<std::uint64_t> doc_offsets;

    bool is_mappable() const noexcept { return tokens && crc32c && doc_offsets; }
  };
  struct Opened {
    base::MappedFile mapping;
    std::optional<io::Hdf5File> file;  // where not all can be read from the mapping
    std::span<const std::uint32_t> crc32c;
    std::span<const std::uint64_t> doc_offsets;
    const std::byte* tokens = nullptr;  // nullptr: read through HDF5
    // Without a mapping: all of these, and the block read last.
    std::vector<std::uint32_t> crc32c_values;
    std::vector<std::uint64_t> doc_offset_values;
    std::vector<std::byte> block;
    std::uint64_t block_index = ~std::uint64_t{0};
  };

  Opened& open();
  void check_file(Opened& opened);
  void map_parts(Opened& opened) const;
  io::Hdf5File open_checked(std::span<const std::byte> file) const;
  void check_attributes(const io::Hdf5File& file) const;
  std::optional<std::uint64_t> place_of(const io::Hdf5File& file, const std::string& name,
                                        const io::DatasetInfo& expected) const;
  void check_offsets(Opened& opened) const;
  std::uint64_t blocks() const noexcept;
  void check_block(std::uint64_t block);
  template <typename Token>
  void check_tokens(std::uint64_t block, std::span<const Token> tokens) const;
  std::span<const std::byte> block_bytes(std::uint64_t block);
  [[noreturn]] void fail(const std::string& problem) const;

  fs::path path_;
  ShardRecord record_;
  ShardVocabulary vocabulary_;
  Layout layout_;
  std::vector<bool> checked_;  // by block
  std::unique_ptr<Opened> opened_;
};

}  // namespace kangpt::data
