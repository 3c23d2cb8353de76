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

}  // namespace

std::string frame_xxh3(std::span<const std::byte> before, std::span<const std::byte> behind) {
  const std::array<std::uint64_t, 2> parts = {base::xxh3(before), base::xxh3(behind)};
  return to_hexadecimal(base::xxh3(std::as_bytes(std::span(parts))));
}

ShardReader::ShardReader(const fs::path& folder, const ShardRecord& record, const ShardVocabulary& vocabulary)
    : path_(folder / record.name),
      vocabulary_size_(vocabulary.size),
      tokens_(record.tokens),
      token_bytes_(token_size_bytes(vocabulary)),
      mapping_(path_),
      file_(open_checked(record)) {
  check_attributes(record, vocabulary);
  block_tokens_ = file_.integer_attribute("block_tokens");
  if (block_tokens_ == 0 || block_tokens_ > kMaximumBlockTokens) fail("has an impossible block_tokens");
  const io::DatasetInfo info = file_.dataset("tokens");
  if (info.size != tokens_ || io::element_size_bytes(info.type) != token_bytes_)
    fail("has a /tokens of another size or type");
  if (info.file_offset && *info.file_offset % token_bytes_ == 0) {
    mapped_ = mapping_.bytes().data() + *info.file_offset;
  }
  crc32c_ = load<std::uint32_t>("crc32c", (tokens_ + block_tokens_ - 1) / block_tokens_);
  checked_.resize(crc32c_.size());
  doc_offsets_ = load<std::uint64_t>("doc_offsets", record.stories + 1);
  load_offsets();
}

// Damaged metadata can crash the HDF5 library: it sees the file only after it proved to be as it was written.
io::Hdf5File ShardReader::open_checked(const ShardRecord& record) const {
  const std::span<const std::byte> file = mapping_.bytes();
  if (file.size() != record.size_bytes) {
    fail("has " + std::to_string(file.size()) + " bytes, the manifest says " + std::to_string(record.size_bytes));
  }
  if (record.stories == 0 || record.stories > tokens_ || tokens_ / kMostExpansion > file.size())
    fail("can't have as many stories and tokens as the manifest says");
  if (record.frame_xxh3.empty()) return io::Hdf5File::open(path_);
  const std::uint64_t room = file.size() - std::min<std::uint64_t>(record.tokens_offset, file.size());
  if (tokens_ > room / token_bytes_) fail("has no room for its tokens");
  const std::uint64_t end = record.tokens_offset + tokens_ * token_bytes_;
  if (frame_xxh3(file.first(record.tokens_offset), file.subspan(end)) != record.frame_xxh3)
    fail("differs from its digest in the manifest");
  return io::Hdf5File::open(path_);
}

void ShardReader::fail(const std::string& problem) const {
  throw DataError(path_.string() + " " + problem +
                  ". The shard is damaged: make it again with kangpt_preprocess --force");
}

void ShardReader::check_attributes(const ShardRecord& record, const ShardVocabulary& vocabulary) const {
  if (file_.string_attribute("format") != "kangpt-tokens" || file_.integer_attribute("version") != 1) {
    fail("is not a kangpt-tokens file of version 1");
  }
  if (file_.integer_attribute("vocabulary_size") != vocabulary.size ||
      file_.string_attribute("vocabulary_sha256") != vocabulary.sha256) {
    fail("was made with another vocabulary than the manifest says");
  }
  if (file_.integer_attribute("stories") != record.stories || file_.integer_attribute("tokens") != record.tokens) {
    fail("has other counts than the manifest says");
  }
}

template <typename T>
std::vector<T> ShardReader::load(const std::string& name, std::uint64_t size) const {
  const io::DatasetInfo info = file_.dataset(name);
  if (info.size != size || size > tokens_ + 1) fail("has a /" + name + " of another size");
  std::vector<T> values(size);
  file_.read(name, 0, std::span(values));
  return values;
}

void ShardReader::load_offsets() {
  const std::uint64_t stored = file_.integer_attribute("doc_offsets_crc32c");
  if (base::crc32c(std::as_bytes(std::span(doc_offsets_))) != stored) fail("has a wrong checksum of /doc_offsets");
  const bool rising =
      std::adjacent_find(doc_offsets_.begin(), doc_offsets_.end(), std::greater_equal<>()) == doc_offsets_.end();
  if (!rising || doc_offsets_.front() != 0 || doc_offsets_.back() != tokens_)
    fail("has story offsets that make no sense");
}

std::span<const std::byte> ShardReader::block_bytes(std::uint64_t block) {
  const std::uint64_t first = block * block_tokens_;
  const std::uint64_t count = std::min(block_tokens_, tokens_ - first);
  if (mapped_ != nullptr) return {mapped_ + first * token_bytes_, count * token_bytes_};
  if (buffered_block_ != block) {
    buffered_block_ = ~std::uint64_t{0};
    block_buffer_.resize(count * token_bytes_);
    if (token_bytes_ == 2) {
      file_.read("tokens", first, std::span(reinterpret_cast<std::uint16_t*>(block_buffer_.data()), count));
    } else {
      file_.read("tokens", first, std::span(reinterpret_cast<std::uint32_t*>(block_buffer_.data()), count));
    }
    buffered_block_ = block;
  }
  return block_buffer_;
}

template <typename Token>
void ShardReader::check_tokens(std::uint64_t block, std::span<const Token> tokens) {
  const std::uint64_t largest = *std::max_element(tokens.begin(), tokens.end());
  if (largest < vocabulary_size_) return;
  fail("has token " + std::to_string(largest) + " in block " + std::to_string(block) + ", outside the vocabulary");
}

void ShardReader::check_block(std::uint64_t block) {
  const std::span<const std::byte> bytes = block_bytes(block);
  if (checked_[block]) return;
  if (base::crc32c(bytes) != crc32c_[block]) {
    fail("has a wrong checksum of block " + std::to_string(block) + " (tokens from " +
         std::to_string(block * block_tokens_) + ")");
  }
  if (token_bytes_ == 2) {
    check_tokens(block, std::span(reinterpret_cast<const std::uint16_t*>(bytes.data()), bytes.size() / 2));
  } else {
    check_tokens(block, std::span(reinterpret_cast<const std::uint32_t*>(bytes.data()), bytes.size() / 4));
  }
  checked_[block] = true;
}

void ShardReader::read(std::uint64_t begin, std::span<std::int64_t> ids) {
  if (begin > tokens_ || ids.size() > tokens_ - begin) throw InternalError("read outside " + path_.string());
  for (std::size_t done = 0; done < ids.size();) {
    const std::uint64_t position = begin + done;
    const std::uint64_t block = position / block_tokens_;
    const std::uint64_t first = position % block_tokens_;
    const std::size_t count = std::min<std::uint64_t>(ids.size() - done, block_tokens_ - first);
    if (mapped_ == nullptr || !checked_[block]) check_block(block);
    const std::byte* const source = block_bytes(block).data() + first * token_bytes_;
    if (token_bytes_ == 2) {
      std::copy_n(reinterpret_cast<const std::uint16_t*>(source), count, ids.data() + done);
    } else {
      std::copy_n(reinterpret_cast<const std::uint32_t*>(source), count, ids.data() + done);
    }
    done += count;
  }
}

void ShardReader::verify() {
  for (std::uint64_t block = 0; block < checked_.size(); ++block) check_block(block);
}

}  // namespace kangpt::data
