#include <algorithm>
#include <fstream>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "data_pipeline/shards/shard_file.hpp"

namespace kangpt::data {
namespace {

constexpr std::uint64_t kBlockTokens = 32768;

std::string read_range(const fs::path& path, std::uint64_t begin, std::uint64_t size) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(size, '\0');
  file.seekg(static_cast<std::streamoff>(begin));
  if (!file.read(bytes.data(), static_cast<std::streamsize>(size))) throw IoError("cannot read " + path.string());
  return bytes;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

void ShardBuffer::reserve(std::uint64_t tokens) {
  if (narrow()) {
    tokens16_.reserve(tokens);
  } else {
    tokens32_.reserve(tokens);
  }
}

void ShardBuffer::clear() noexcept {
  tokens16_.clear();
  tokens32_.clear();
  doc_offsets_.resize(1);
}

void ShardBuffer::append_story(std::span<const std::uint32_t> tokens) {
  if (narrow()) {
    const std::size_t first = tokens16_.size();
    tokens16_.resize(first + tokens.size());
    std::transform(tokens.begin(), tokens.end(), tokens16_.begin() + static_cast<std::ptrdiff_t>(first),
                   [](std::uint32_t token) { return static_cast<std::uint16_t>(token); });
  } else {
    tokens32_.insert(tokens32_.end(), tokens.begin(), tokens.end());
  }
  doc_offsets_.push_back(doc_offsets_.back() + tokens.size());
}

ShardRecord ShardBuffer::write(const fs::path& folder, const std::string& name) const {
  const fs::path path = folder / name;
  const fs::path temporary = path.string() + ".tmp";
  try {
    write_file(temporary);
    ShardRecord record = describe(temporary, name);  // while the disk is busy
    base::sync_path(temporary);
    base::rename_durably(temporary, path);
    return record;
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
}

std::span<const std::byte> ShardBuffer::token_bytes() const noexcept {
  return narrow() ? std::as_bytes(std::span(tokens16_)) : std::as_bytes(std::span(tokens32_));
}

// The tokens' digest is of what they are in memory, not of what the file gives back.
ShardRecord ShardBuffer::describe(const fs::path& path, const std::string& name) const {
  const std::uint64_t size_bytes = fs::file_size(path);
  const auto offset = io::Hdf5File::open(path).dataset("tokens").file_offset;
  if (!offset) throw InternalError(path.string() + ": the tokens do not lie in one piece");
  const std::uint64_t end = *offset + tokens() * token_size_bytes(vocabulary_);
  const std::string before = read_range(path, 0, *offset);
  const std::string behind = read_range(path, end, size_bytes - end);
  return {.name = name,
          .size_bytes = size_bytes,
          .stories = stories(),
          .tokens = tokens(),
          .xxh3 = to_hexadecimal(base::xxh3({bytes_of(before), token_bytes(), bytes_of(behind)})),
          .tokens_offset = *offset,
          .frame_xxh3 = frame_xxh3(bytes_of(before), bytes_of(behind))};
}

void ShardBuffer::write_file(const fs::path& path) const {
  io::Hdf5File file = io::Hdf5File::create(path);
  const std::span<const std::uint64_t> offsets(doc_offsets_);
  file.write_attribute("format", std::string("kangpt-tokens"));
  file.write_attribute("version", std::uint64_t{1});
  file.write_attribute("dtype", std::string(narrow() ? "u16" : "u32"));
  file.write_attribute("vocabulary_size", vocabulary_.size);
  file.write_attribute("vocabulary_sha256", vocabulary_.sha256);
  file.write_attribute("end_of_text", vocabulary_.end_of_text);
  file.write_attribute("stories", stories());
  file.write_attribute("tokens", tokens());
  file.write_attribute("block_tokens", kBlockTokens);
  file.write_attribute("doc_offsets_crc32c", std::uint64_t{base::crc32c(std::as_bytes(offsets))});
  if (narrow()) {
    write_tokens(file, tokens16_);
  } else {
    write_tokens(file, tokens32_);
  }
  file.create_dataset("doc_offsets", io::ElementType::kU64, offsets.size());
  file.write("doc_offsets", 0, offsets);
  file.close_unsynced();
}

template <typename Token>
void ShardBuffer::write_tokens(io::Hdf5File& file, const std::vector<Token>& tokens) const {
  const std::span<const Token> all(tokens);
  std::vector<std::uint32_t> sums;
  for (std::uint64_t begin = 0; begin < all.size(); begin += kBlockTokens) {
    sums.push_back(base::crc32c(std::as_bytes(all.subspan(begin, std::min(kBlockTokens, all.size() - begin)))));
  }
  file.create_dataset("tokens", io::ElementTypeOf<Token>::kType, all.size());
  file.write("tokens", 0, all);
  file.create_dataset("crc32c", io::ElementType::kU32, sums.size());
  file.write("crc32c", 0, std::span<const std::uint32_t>(sums));
}

}  // namespace kangpt::data
