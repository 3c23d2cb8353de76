#include "data_pipeline/shards/dataset.hpp"

#include <algorithm>

#include "base/command.hpp"
#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"

namespace kangpt::data {
namespace {

// Each takes a mapping, of which Linux gives a process 65,530.
constexpr std::size_t kMostOpenShards = 4096;

std::size_t interval_of(const std::vector<std::uint64_t>& firsts, std::uint64_t value) {
  return static_cast<std::size_t>(std::upper_bound(firsts.begin(), firsts.end(), value) - firsts.begin()) - 1;
}

// A folder of this name does not exist, but a file does: text that was to be prepared first, or part of a data
// directory.
[[noreturn]] void refuse_file(const fs::path& file) {
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (file.filename() == kManifestName || (file.extension() == ".h5" && fs::exists(folder / kManifestName))) {
    throw MissingInputError(file.string() + " is a file of a data directory; name the directory: " + folder.string());
  }
  fs::path output = folder / file.stem().stem();
  if (fs::exists(output)) output += "-tokens";
  throw MissingInputError(file.string() + " is a file, not a data directory. Make one of it, and name that, with: " +
                          "kangpt_preprocess --input " + base::shell_quoted(file.string()) + " --output " +
                          base::shell_quoted(output.lexically_normal().string()));
}

// Checkpoints have a manifest of the same name; it is not a damaged one of data.
void refuse_checkpoint(const fs::path& folder, const fs::path& manifest) {
  if (!base::read_file(manifest).starts_with("version:")) return;
  throw MissingInputError(folder.string() +
                          " is a checkpoint, no training data; name a folder that kangpt_preprocess wrote");
}

Manifest read_finished(const fs::path& folder, const fs::path& manifest) {
  try {
    return read_manifest(manifest);
  } catch (const DataError&) {
    refuse_checkpoint(folder, manifest);
    throw;
  }
}

// A folder without a manifest, in which there may be anything.
[[noreturn]] void refuse_folder(const fs::path& folder) {
  if (fs::exists(folder / "checkpoints") || fs::exists(folder / "model.safetensors")) {
    throw MissingInputError(folder.string() +
                            " holds a trained network, no training data; name a folder that kangpt_preprocess wrote");
  }
  std::error_code ignored;
  const bool is_empty = fs::is_empty(folder, ignored);
  const fs::path name = folder.has_filename() ? folder : folder.parent_path();  // "texts/"
  throw MissingInputError(folder.string() + " holds no " + kManifestName +
                          ", so it is not a data directory.\nMake one with: kangpt_preprocess --input " +
                          (is_empty ? "FILE.txt" : base::shell_quoted(name.string())) +
                          " --validation FILE.txt --output " +
                          base::shell_quoted(name.string() + (is_empty ? "" : "-tokens")));
}

}  // namespace

Manifest open_manifest(const fs::path& directory) {
  if (fs::exists(directory) && !fs::is_directory(directory)) refuse_file(directory);
  if (!fs::is_directory(directory)) {
    throw MissingInputError(
        "there is no data directory " + directory.string() +
        ".\nMake it with: kangpt_preprocess --input TinyStories-train.txt --validation TinyStories-valid.txt "
        "--output " +
        base::shell_quoted(directory.string()) +
        "\nAny text will do, with a line <|endoftext|> after each story; kangpt_stories makes some up.");
  }
  const fs::path file = directory / kManifestName;
  if (fs::exists(file)) return read_finished(directory, file);
  if (!fs::exists(directory / kPartialManifestName)) refuse_folder(directory);
  throw MissingInputError(directory.string() + " is incomplete: kangpt_preprocess did not finish.\nFinish it with: " +
                          preprocess_command(read_manifest(directory / kPartialManifestName), directory));
}

const SplitRecord& require_split(const Manifest& manifest, const fs::path& directory, const std::string& split) {
  if (const SplitRecord* const found = manifest.find_split(split)) return *found;
  throw MissingInputError(directory.string() + " has no " + split +
                          " split.\nMake it with: " + preprocess_command(manifest, directory) +
                          (split == kTrainSplit ? " --input FILE.txt" : " --validation FILE.txt") + " --force");
}

std::uint64_t fingerprint(const Manifest& manifest, const SplitRecord& split) {
  std::string content = manifest.vocabulary_sha256;
  for (const ShardRecord& shard : split.shards)
    content += "\n" + shard.name + " " + std::to_string(shard.tokens) + " " + shard.xxh3;
  return std::max<std::uint64_t>(base::xxh3(std::as_bytes(std::span(content))), 1);
}

TokenStore::TokenStore(const Manifest& manifest, const fs::path& directory, const std::string& split) {
  const SplitRecord& record = require_split(manifest, directory, split);
  vocabulary_ = {manifest.vocabulary_size, manifest.vocabulary_sha256};
  shards_.reserve(record.shards.size());
  first_token_.push_back(0);
  first_story_.push_back(0);
  for (const ShardRecord& shard : record.shards) {
    shards_.emplace_back(directory, shard, vocabulary_);
    first_token_.push_back(first_token_.back() + shard.tokens);
    first_story_.push_back(first_story_.back() + shard.stories);
  }
  end_story_ = first_story_.back();
  end_token_ = first_token_.back();
}

TokenStore::TokenStore(const Manifest& manifest, const fs::path& directory, const StorySlice& slice)
    : TokenStore(manifest, directory, slice.split) {
  if (slice.first > slice.end || slice.end > first_story_.back())
    throw InternalError("stories " + std::to_string(slice.first) + " to " + std::to_string(slice.end) + " of " +
                        std::to_string(first_story_.back()));
  begin_story_ = slice.first;
  end_story_ = slice.end;
  if (slice.first < first_story_.back()) begin_token_ = range_of(slice.first).begin;
  if (slice.end < first_story_.back()) end_token_ = range_of(slice.end).begin;
}

ShardReader& TokenStore::shard(std::size_t index) {
  if (shards_[index].is_open()) return shards_[index];
  if (open_.size() == kMostOpenShards) {
    shards_[open_.front()].close();
    open_.pop_front();
  }
  open_.push_back(index);
  return shards_[index];
}

TokenStore::TokenRange TokenStore::story(std::uint64_t story) {
  if (story >= stories()) throw InternalError("story " + std::to_string(story) + " of " + std::to_string(stories()));
  TokenRange range = range_of(begin_story_ + story);
  range.begin -= begin_token_;
  return range;
}

TokenStore::TokenRange TokenStore::range_of(std::uint64_t story) {
  const std::size_t index = interval_of(first_story_, story);
  const auto offsets = shard(index).doc_offsets();
  const std::uint64_t local = story - first_story_[index];
  return {first_token_[index] + offsets[local], offsets[local + 1] - offsets[local]};
}

void TokenStore::for_each_story(const std::function<void(const TokenRange&)>& use) {
  for (std::uint64_t story = begin_story_; story < end_story_;) {
    const std::size_t index = interval_of(first_story_, story);
    const bool was_open = shards_[index].is_open();
    const auto offsets = shard(index).doc_offsets();
    for (; story < std::min(end_story_, first_story_[index + 1]); ++story) {
      const std::uint64_t local = story - first_story_[index];
      use({first_token_[index] + offsets[local] - begin_token_, offsets[local + 1] - offsets[local]});
    }
    if (was_open) continue;
    shards_[index].close();
    open_.pop_back();
  }
}

void TokenStore::read(std::uint64_t begin, std::span<std::int64_t> ids) {
  if (begin > tokens() || ids.size() > tokens() - begin) throw InternalError("read past the last token");
  begin += begin_token_;
  for (std::size_t index = interval_of(first_token_, begin); !ids.empty(); ++index) {
    const std::uint64_t local = begin - first_token_[index];
    const std::size_t count = std::min<std::uint64_t>(ids.size(), shards_[index].tokens() - local);
    shard(index).read(local, ids.first(count));
    ids = ids.subspan(count);
    begin += count;
  }
}

void TokenStore::read_ahead(TokenRange range) {
  std::uint64_t begin = begin_token_ + std::min(range.begin, tokens());
  const std::uint64_t end = begin + std::min(range.size, end_token_ - begin);
  for (std::size_t index = interval_of(first_token_, begin); begin < end; ++index) {
    const std::uint64_t local = begin - first_token_[index];
    const std::uint64_t count = std::min(end - begin, shards_[index].tokens() - local);
    shard(index).read_ahead(local, count);
    begin += count;
  }
}

void TokenStore::verify() {
  for (std::size_t index = 0; index < shards_.size(); ++index) shard(index).verify();
}

}  // namespace kangpt::data
