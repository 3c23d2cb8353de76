#include "tools/preprocess/inspect.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>
#include <vector>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/format.hpp"
#include "data_pipeline/preprocess/split_notes.hpp"
#include "data_pipeline/shards/dataset.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;
using data::Manifest;
using data::ShardRecord;
using data::ShardVocabulary;
using data::SplitRecord;
using data::TokenStore;
using data::Vocabulary;

void verify_shard(const fs::path& directory, const ShardRecord& record, const ShardVocabulary& vocabulary) {
  const fs::path path = directory / record.name;
  const std::string found = data::to_hexadecimal(base::xxh3_file(path));
  data::ShardReader reader(directory, record, vocabulary);
  reader.verify();
  if (found != record.xxh3) {
    throw DataError(path.string() + " differs from its XXH3 digest in the manifest, though its tokens are intact");
  }
}

void check_vocabulary(const Manifest& manifest, const fs::path& directory, const Vocabulary& vocabulary) {
  if (manifest.vocabulary_sha256 == vocabulary.sha256()) return;
  throw DataError(directory.string() + " was made with another vocabulary file; name it with --vocabulary FILE");
}

std::vector<std::int64_t> read_story(TokenStore& store, std::uint64_t story) {
  const TokenStore::TokenRange range = store.story(story);
  std::vector<std::int64_t> ids(range.size);
  store.read(range.begin, ids);
  return ids;
}

void show_counts(const Manifest& manifest, const SplitRecord& split) {
  const auto count = [](std::uint64_t value) { return base::format_count(value); };
  std::printf("\n%s: %s stories, %s tokens in %zu shards, %.3f bytes a token\n", split.name.c_str(),
              count(split.stories).c_str(), count(split.tokens).c_str(), split.shards.size(), split.bytes_per_token());
  std::printf("  left out: %s empty stories, %s duplicates; %s bytes replaced; data::fingerprint %s\n",
              count(split.empty_stories).c_str(), count(split.duplicate_stories).c_str(),
              count(split.replaced_bytes).c_str(), data::to_hexadecimal(data::fingerprint(manifest, split)).c_str());
  if (const std::string odd = data::text_of(split.odd); !odd.empty()) std::printf("  %s\n", odd.c_str());
}

// Story lengths by powers of two, end-of-text token included.
void show_lengths(TokenStore& store) {
  std::vector<std::uint64_t> counts;
  store.for_each_story([&](const TokenStore::TokenRange& story) {
    const auto bin = static_cast<std::size_t>(std::bit_width(story.size) - 1);
    if (counts.size() <= bin) counts.resize(bin + 1);
    ++counts[bin];
  });
  const std::uint64_t most = *std::max_element(counts.begin(), counts.end());
  std::printf("  tokens a story:\n");
  for (std::size_t bin = 0; bin < counts.size(); ++bin) {
    if (counts[bin] == 0) continue;
    constexpr std::uint64_t kWidest = 50;
    const std::string bar((counts[bin] * kWidest + most - 1) / most, '#');
    std::printf("  %8llu to %-8llu %12s %s\n", 1ULL << bin, (2ULL << bin) - 1, base::format_count(counts[bin]).c_str(),
                bar.c_str());
  }
}

// A text on one line in quotes; control characters that have no short name become question marks.
std::string on_one_line(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '\n' || c == '\r' || c == '\t') {
      result += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (c == '"' || c == '\\') {
      result += std::string("\\") + c;
    } else {
      result += static_cast<unsigned char>(c) < 32 ? '?' : c;
    }
  }
  return result + "\"";
}

void show_frequent_tokens(TokenStore& store, const Vocabulary& vocabulary) {
  constexpr std::size_t kShown = 20;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> counts(vocabulary.size());
  for (std::uint32_t id = 0; id < counts.size(); ++id) counts[id].second = id;
  std::vector<std::int64_t> ids(std::size_t{1} << 16);
  for (std::uint64_t begin = 0; begin < store.tokens(); begin += ids.size()) {
    ids.resize(std::min<std::uint64_t>(ids.size(), store.tokens() - begin));
    store.read(begin, ids);
    for (const std::int64_t id : ids) ++counts[static_cast<std::size_t>(id)].first;
  }
  const std::size_t shown = std::min(kShown, counts.size());
  std::partial_sort(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(shown), counts.end(),
                    std::greater<>());
  std::printf("  most frequent tokens:");
  for (std::size_t i = 0; i < shown && counts[i].first > 0; ++i) {
    const double percent = 100.0 * static_cast<double>(counts[i].first) / static_cast<double>(store.tokens());
    std::printf("%s %s %.1f %%", i == 0 ? "" : ",", on_one_line(vocabulary.token_bytes(counts[i].second)).c_str(),
                percent);
  }
  std::printf("\n");
}

void show_beginnings(TokenStore& store, const Vocabulary& vocabulary) {
  constexpr std::size_t kTokens = 24;
  for (std::uint64_t story = 0; story < std::min<std::uint64_t>(3, store.stories()); ++story) {
    std::vector<std::int64_t> ids = read_story(store, story);
    const bool cut = ids.size() > kTokens + 1;
    ids.resize(std::min(kTokens, ids.size() - 1));
    std::printf("  story %llu: %s%s\n", static_cast<unsigned long long>(story),
                on_one_line(vocabulary.decode(ids)).c_str(), cut ? "..." : "");
  }
}

// Directories that an earlier version made have none.
void verify_vocabulary(const fs::path& directory, const Manifest& manifest) {
  const fs::path file = data::vocabulary_in(directory);
  if (file.empty()) return;
  const std::optional<Vocabulary> kept = data::kept_vocabulary(directory, manifest.vocabulary_sha256);
  if (!kept) throw DataError(file.string() + " is damaged: it is not the vocabulary that the manifest names");
  std::printf("%s: ok, %s tokens\n", kept->file().name.c_str(), base::format_count(kept->size()).c_str());
}

}  // namespace

void verify_directory(const fs::path& directory) {
  const Manifest manifest = data::open_manifest(directory);
  const ShardVocabulary vocabulary{manifest.vocabulary_size, manifest.vocabulary_sha256, {}};
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t bytes = 0;
  for (const SplitRecord& split : manifest.splits) {
    for (const ShardRecord& shard : split.shards) {
      try {
        verify_shard(directory, shard, vocabulary);
      } catch (const MissingInputError&) {
        throw DataError((directory / shard.name).string() + " is missing, though the manifest names it");
      }
      std::printf("%s: ok, %s stories, %s tokens\n", shard.name.c_str(), base::format_count(shard.stories).c_str(),
                  base::format_count(shard.tokens).c_str());
      bytes += shard.size_bytes;
    }
  }
  verify_vocabulary(directory, manifest);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%s is intact: %s checked in %s\n", directory.c_str(),
              base::format_bytes(static_cast<double>(bytes)).c_str(), base::format_duration(seconds).c_str());
}

void show_directory(const fs::path& directory, const Vocabulary& vocabulary) {
  const Manifest manifest = data::open_manifest(directory);
  check_vocabulary(manifest, directory, vocabulary);
  std::printf("%s\n  vocabulary: %s tokens, SHA-256 %s\n", directory.c_str(),
              base::format_count(manifest.vocabulary_size).c_str(), manifest.vocabulary_sha256.c_str());
  for (const data::SourceRecord& source : manifest.sources) {
    std::printf("  source: %s (%s), %s, SHA-256 %s\n", source.path.c_str(), source.split.c_str(),
                base::format_bytes(static_cast<double>(source.size_bytes)).c_str(), source.sha256.c_str());
  }
  for (const SplitRecord& split : manifest.splits) {
    show_counts(manifest, split);
    TokenStore store(directory, split.name);
    show_lengths(store);
    show_frequent_tokens(store, vocabulary);
    show_beginnings(store, vocabulary);
  }
}

std::string story_text(const fs::path& directory, const std::string& split, std::uint64_t story,
                       const Vocabulary& vocabulary) {
  check_vocabulary(data::open_manifest(directory), directory, vocabulary);
  TokenStore store(directory, split);
  if (story >= store.stories()) {
    throw UsageError("there is no story " + std::to_string(story) + ": the " + split + " split of " +
                     directory.string() + " has stories 0 to " + std::to_string(store.stories() - 1));
  }
  std::vector<std::int64_t> ids = read_story(store, story);
  ids.pop_back();
  return vocabulary.decode(ids);
}

}  // namespace kangpt::tools
