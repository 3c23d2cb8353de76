#include <sys/mman.h>

#include <algorithm>
#include <array>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "data_pipeline/shards/shard_file.hpp"

namespace kangpt::data {
namespace {

// The largest block a reader accepts: it may have to hold one in memory.
constexpr std::uint64_t kMaximumBlockTokens = std::uint64_t{1} << 24;

// Deflate, the strongest filter that a reader may have to undo, makes at most so many bytes of one.
constexpr std::uint64_t kMostExpansion = 1032;

// Rows are read in random order: what lies around them would be read in vain, megabytes where a disk is set to it.
void read_what_is_touched(const base::MappedFile& file) noexcept {
  ::madvise(const_cast<std::byte*>(file.bytes().data()), file.bytes().size(), MADV_RANDOM);
}

}  // namespace

std::string frame_xxh3(std::span<const std::byte> before, std::span<const std::byte> behind) {
  const std::array<std::uint64_t, 2> parts = {base::xxh3(before), base::xxh3(behind)};
  return to_hexadecimal(base::xxh3(std::as_bytes(std::span(parts))));
}

ShardReader::ShardReader(const fs::path& folder, const ShardRecord& record, const ShardVocabulary& vocabulary)
    : path_(folder / record.name), record_(record), vocabulary_(vocabulary) {
  std::error_code error;
  const std::uint64_t size_bytes = fs::file_size(path_, error);
  if (error) const base::MappedFile unreadable(path_);  // says why
  if (size_bytes != record_.size_bytes) {
    fail("has " + std::to_string(size_bytes) + " bytes, the manifest says " + std::to_string(record_.size_bytes));
  }
}

ShardReader::Opened& ShardReader::open() {
  if (opened_) return *opened_;
  auto opened = std::make_unique<Opened>();
  opened->mapping = base::MappedFile(path_);
  if (opened->mapping.bytes().size() != record_.size_bytes) fail("has changed its size");
  const bool is_known = layout_.is_mappable();
  if (!is_known) check_file(*opened);
  map_parts(*opened);
  read_what_is_touched(opened->mapping);
  if (!is_known) {
    check_offsets(*opened);
    opened->mapping.unload();  // the offsets of many shards, which not everybody needs
  }
  opened_ = std::move(opened);
  return *opened_;
}

// All that has to be right before anything is read from the mapping.
void ShardReader::check_file(Opened& opened) {
  const io::Hdf5File& file = opened.file.emplace(open_checked(opened.mapping.bytes()));
  check_attributes(file);
  layout_.block_tokens = file.integer_attribute("block_tokens");
  if (layout_.block_tokens == 0 || layout_.block_tokens > kMaximumBlockTokens) fail("has an impossible block_tokens");
  const bool is_narrow = token_size_bytes(vocabulary_) == 2;
  layout_.tokens = place_of(file, "tokens", {is_narrow ? io::ElementType::kU16 : io::ElementType::kU32, tokens(), {}});
  layout_.crc32c = place_of(file, "crc32c", {io::ElementType::kU32, blocks(), {}});
  layout_.doc_offsets = place_of(file, "doc_offsets", {io::ElementType::kU64, stories() + 1, {}});
  checked_.resize(blocks());
}

// Damaged metadata can crash the HDF5 library: it sees the file only after it proved to be as it was written.
io::Hdf5File ShardReader::open_checked(std::span<const std::byte> file) const {
  if (stories() == 0 || stories() > tokens() || tokens() / kMostExpansion > file.size())
    fail("can't have as many stories and tokens as the manifest says");
  if (record_.frame_xxh3.empty()) return io::Hdf5File::open(path_);
  const std::uint64_t room = file.size() - std::min<std::uint64_t>(record_.tokens_offset, file.size());
  if (tokens() > room / token_size_bytes(vocabulary_)) fail("has no room for its tokens");
  const std::uint64_t end = record_.tokens_offset + tokens() * token_size_bytes(vocabulary_);
  if (frame_xxh3(file.first(record_.tokens_offset), file.subspan(end)) != record_.frame_xxh3)
    fail("differs from its digest in the manifest");
  return io::Hdf5File::open(path_);
}

void ShardReader::fail(const std::string& problem) const {
  throw DataError(path_.string() + " " + problem +
                  ". The shard is damaged: make it again with kangpt_preprocess --force");
}

void ShardReader::check_attributes(const io::Hdf5File& file) const {
  if (file.string_attribute("format") != "kangpt-tokens" || file.integer_attribute("version") != 1) {
    fail("is not a kangpt-tokens file of version 1");
  }
  if (file.integer_attribute("vocabulary_size") != vocabulary_.size ||
      file.string_attribute("vocabulary_sha256") != vocabulary_.sha256) {
    fail("was made with another vocabulary than the manifest says");
  }
  if (file.integer_attribute("stories") != stories() || file.integer_attribute("tokens") != tokens()) {
    fail("has other counts than the manifest says");
  }
}

// Where a dataset can be read from the mapping.
std::optional<std::uint64_t> ShardReader::place_of(const io::Hdf5File& file, const std::string& name,
                                                   const io::DatasetInfo& expected) const {
  const io::DatasetInfo info = file.dataset(name);
  if (info.size != expected.size || info.type != expected.type) fail("has a /" + name + " of another size or type");
  const bool is_aligned = info.file_offset && *info.file_offset % io::element_size_bytes(info.type) == 0;
  return is_aligned ? info.file_offset : std::nullopt;
}

void ShardReader::map_parts(Opened& opened) const {
  const std::byte* const begin = opened.mapping.bytes().data();
  if (layout_.tokens) opened.tokens = begin + *layout_.tokens;
  if (layout_.is_mappable()) {
    opened.crc32c = {reinterpret_cast<const std::uint32_t*>(begin + *layout_.crc32c), blocks()};
    opened.doc_offsets = {reinterpret_cast<const std::uint64_t*>(begin + *layout_.doc_offsets), stories() + 1};
    return;
  }
  opened.crc32c_values.resize(blocks());
  opened.doc_offset_values.resize(stories() + 1);
  opened.file->read("crc32c", 0, std::span(opened.crc32c_values));
  opened.file->read("doc_offsets", 0, std::span(opened.doc_offset_values));
  opened.crc32c = opened.crc32c_values;
  opened.doc_offsets = opened.doc_offset_values;
}

void ShardReader::check_offsets(Opened& opened) const {
  const std::span<const std::uint64_t> offsets = opened.doc_offsets;
  const std::uint64_t stored = opened.file->integer_attribute("doc_offsets_crc32c");
  if (layout_.is_mappable()) opened.file.reset();
  if (base::crc32c(std::as_bytes(offsets)) != stored) fail("has a wrong checksum of /doc_offsets");
  const bool rising = std::adjacent_find(offsets.begin(), offsets.end(), std::greater_equal<>()) == offsets.end();
  if (!rising || offsets.front() != 0 || offsets.back() != tokens()) fail("has story offsets that make no sense");
}

std::uint64_t ShardReader::blocks() const noexcept {
  return (tokens() + layout_.block_tokens - 1) / layout_.block_tokens;
}

std::span<const std::uint64_t> ShardReader::doc_offsets() {
  return open().doc_offsets;
}

std::span<const std::byte> ShardReader::block_bytes(std::uint64_t block) {
  Opened& opened = open();
  const std::uint64_t token_bytes = token_size_bytes(vocabulary_);
  const std::uint64_t first = block * layout_.block_tokens;
  const std::uint64_t count = std::min(layout_.block_tokens, tokens() - first);
  if (opened.tokens != nullptr) return {opened.tokens + first * token_bytes, count * token_bytes};
  if (opened.block_index != block) {
    opened.block_index = ~std::uint64_t{0};
    opened.block.resize(count * token_bytes);
    if (token_bytes == 2) {
      opened.file->read("tokens", first, std::span(reinterpret_cast<std::uint16_t*>(opened.block.data()), count));
    } else {
      opened.file->read("tokens", first, std::span(reinterpret_cast<std::uint32_t*>(opened.block.data()), count));
    }
    opened.block_index = block;
  }
  return opened.block;
}

template <typename Token>
void ShardReader::check_tokens(std::uint64_t block, std::span<const Token> tokens) const {
  const std::uint64_t largest = *std::max_element(tokens.begin(), tokens.end());
  if (largest < vocabulary_.size) return;
  fail("has token " + std::to_string(largest) + " in block " + std::to_string(block) + ", outside the vocabulary");
}

void ShardReader::check_block(std::uint64_t block) {
  const std::span<const std::byte> bytes = block_bytes(block);
  if (checked_[block]) return;
  if (opened_->tokens != nullptr) opened_->mapping.read_ahead(bytes);
  if (base::crc32c(bytes) != opened_->crc32c[block]) {
    fail("has a wrong checksum of block " + std::to_string(block) + " (tokens from " +
         std::to_string(block * layout_.block_tokens) + ")");
  }
  if (token_size_bytes(vocabulary_) == 2) {
    check_tokens(block, std::span(reinterpret_cast<const std::uint16_t*>(bytes.data()), bytes.size() / 2));
  } else {
    check_tokens(block, std::span(reinterpret_cast<const std::uint32_t*>(bytes.data()), bytes.size() / 4));
  }
  checked_[block] = true;
}

void ShardReader::read(std::uint64_t begin, std::span<std::int64_t> ids) {
  if (begin > tokens() || ids.size() > tokens() - begin) throw InternalError("read outside " + path_.string());
  const bool is_mapped = open().tokens != nullptr;
  const std::uint64_t token_bytes = token_size_bytes(vocabulary_);
  for (std::size_t done = 0; done < ids.size();) {
    const std::uint64_t position = begin + done;
    const std::uint64_t block = position / layout_.block_tokens;
    const std::uint64_t first = position % layout_.block_tokens;
    const std::size_t count = std::min<std::uint64_t>(ids.size() - done, layout_.block_tokens - first);
    if (!is_mapped || !checked_[block]) check_block(block);
    const std::byte* const source = block_bytes(block).data() + first * token_bytes;
    if (token_bytes == 2) {
      std::copy_n(reinterpret_cast<const std::uint16_t*>(source), count, ids.data() + done);
    } else {
      std::copy_n(reinterpret_cast<const std::uint32_t*>(source), count, ids.data() + done);
    }
    done += count;
  }
}

void ShardReader::read_ahead(std::uint64_t begin, std::uint64_t count) {
  const Opened& opened = open();
  if (opened.tokens == nullptr) return;
  const std::uint64_t token_bytes = token_size_bytes(vocabulary_);
  opened.mapping.read_ahead({opened.tokens + begin * token_bytes, count * token_bytes});
}

void ShardReader::verify() {
  open();
  for (std::uint64_t block = 0; block < checked_.size(); ++block) check_block(block);
}

}  // namespace kangpt::data
