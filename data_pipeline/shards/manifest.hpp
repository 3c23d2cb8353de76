// The manifest of a data directory: sources, vocabulary, options, shards and totals, in protobuf text format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/fields.hpp"
#include "data_pipeline/text/oddities.hpp"

namespace kangpt::data {

namespace fs = std::filesystem;

inline constexpr char kManifestName[] = "manifest.textproto";                 // written last: the directory is complete
inline constexpr char kPartialManifestName[] = "manifest.partial.textproto";  // while a run is under way
inline constexpr char kTrainSplit[] = "train";
inline constexpr char kValidationSplit[] = "validation";

struct SourceRecord {
  std::string path;  // as given; "-" for standard input
  std::string split;
  std::uint64_t size_bytes = 0;
  std::string sha256;

  KANGPT_FIELDS(path, split, size_bytes, sha256)
  bool operator==(const SourceRecord&) const = default;
};

struct PreprocessOptions {
  std::uint64_t shard_tokens = std::uint64_t{64} << 20;
  std::string invalid_utf8 = "error";     // or "replace"
  std::string invalid_records = "error";  // or "skip"
  std::string separator = "line";         // or "anywhere"
  std::string key;                        // of JSON objects; empty: "story" or "text"
  bool deduplicate = false;
  std::string vocabulary;              // file as given; empty: the default
  std::uint32_t train_vocabulary = 0;  // tokens of one that is made from the text; 0: none is

  KANGPT_FIELDS(shard_tokens, invalid_utf8, key, deduplicate, vocabulary)
  bool operator==(const PreprocessOptions&) const = default;
};

struct ShardRecord {
  std::string name;
  std::uint64_t size_bytes = 0;
  std::uint64_t stories = 0;
  std::uint64_t tokens = 0;
  std::string xxh3;
  std::uint64_t tokens_offset = 0;  // of the first token in the file
  std::string frame_xxh3;           // of the file without its tokens; empty: not to be checked

  KANGPT_FIELDS(name, size_bytes, stories, tokens, xxh3, tokens_offset, frame_xxh3)
  bool operator==(const ShardRecord&) const = default;
};

struct SplitRecord {
  std::string name;
  std::uint64_t stories = 0;
  std::uint64_t tokens = 0;      // end-of-text tokens included
  std::uint64_t text_bytes = 0;  // of the stories, without white space at their ends
  std::uint64_t empty_stories = 0;
  std::uint64_t duplicate_stories = 0;
  std::uint64_t replaced_bytes = 0;
  Oddities odd;
  std::vector<ShardRecord> shards;

  double bytes_per_token() const noexcept {
    return tokens == 0 ? 0.0 : static_cast<double>(text_bytes) / static_cast<double>(tokens);
  }
  KANGPT_FIELDS(name, stories, tokens, text_bytes, empty_stories, duplicate_stories, replaced_bytes, shards)
  bool operator==(const SplitRecord&) const = default;
};

// Where an unfinished run goes on: the first story that is in no finished shard.
struct ResumePoint {
  std::string split;
  std::uint64_t source = 0;  // index into Manifest::sources
  std::uint64_t block = 0;   // of that source's text
  std::uint64_t story = 0;   // in that block
  std::string blocks;        // digest of the source's blocks up to and with that one

  KANGPT_FIELDS(split, source, block, story)
  bool operator==(const ResumePoint&) const = default;
};

struct Manifest {
  std::uint64_t vocabulary_size = 0;
  std::string vocabulary_sha256;
  PreprocessOptions options;
  std::vector<SourceRecord> sources;
  std::vector<SplitRecord> splits;
  std::optional<ResumePoint> resume;

  KANGPT_FIELDS(sources)
  const SplitRecord* find_split(const std::string& name) const noexcept;
  bool operator==(const Manifest&) const = default;
};

// As digests stand in manifests: 16 digits.
std::string to_hexadecimal(std::uint64_t value);

// "train-00000.h5"
std::string shard_name(const std::string& split, std::uint64_t index);

// With a last line that seals it (base/seal.hpp).
std::string to_text(const Manifest& manifest);
// Throws MissingInputError if there is no such file, DataError with file:line:column if it is damaged: not
// sealed, not well formed, or not consistent.
Manifest read_manifest(const fs::path& file);

// The kangpt_preprocess command that makes (or finishes) what the manifest describes.
std::string preprocess_command(const Manifest& manifest, const fs::path& directory);

}  // namespace kangpt::data
