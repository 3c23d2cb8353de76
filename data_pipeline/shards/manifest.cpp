#include "data_pipeline/shards/manifest.hpp"

#include <array>
#include <cstdio>

#include "base/command.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "data_pipeline/shards/manifest.pb.h"
#include "message/message_fields.hpp"
#include "message/message_text.hpp"

namespace kangpt::data {
namespace {

constexpr std::uint32_t kFormatVersion = 1;
constexpr std::uint64_t kMostShardTokens = std::uint64_t{1} << 40;  // far above any shard, far below any overflow

// ---- To and from the message: what has the same name in both as a whole, the rest piece by piece ----

void set(const PreprocessOptions& options, proto::Options& out) {
  message::write_fields(options, out);
  const PreprocessOptions usual;  // is not written: manifests from before these options say the same
  if (options.invalid_records != usual.invalid_records) out.set_invalid_records(options.invalid_records);
  if (options.separator != usual.separator) out.set_separator(options.separator);
  if (options.train_vocabulary != 0) out.set_train_vocabulary(options.train_vocabulary);
}

PreprocessOptions options_from(const proto::Options& in) {
  PreprocessOptions options;
  message::read_fields(in, options);
  if (!in.invalid_records().empty()) options.invalid_records = in.invalid_records();
  if (!in.separator().empty()) options.separator = in.separator();
  options.train_vocabulary = in.train_vocabulary();
  return options;
}

void set(const SplitRecord& split, proto::Split& out) {
  message::write_fields(split, out);
  message::write_fields(split.odd, out);
  out.set_bytes_per_token(split.bytes_per_token());
}

SplitRecord split_from(const proto::Split& in) {
  SplitRecord split;
  message::read_fields(in, split);
  message::read_fields(in, split.odd);
  return split;
}

void set(const ResumePoint& resume, proto::Resume& out) {
  message::write_fields(resume, out);
  out.set_blocks_through(resume.blocks);
}

ResumePoint resume_from(const proto::Resume& in) {
  ResumePoint resume;
  message::read_fields(in, resume);
  resume.blocks = in.blocks_through();
  return resume;
}

Manifest manifest_from(const proto::Manifest& in) {
  Manifest manifest;
  message::read_fields(in, manifest);
  manifest.vocabulary_size = in.vocabulary().size();
  manifest.vocabulary_sha256 = in.vocabulary().sha256();
  manifest.options = options_from(in.options());
  for (const proto::Split& split : in.split()) manifest.splits.push_back(split_from(split));
  if (in.has_resume()) manifest.resume = resume_from(in.resume());
  return manifest;
}

// ---- Checks ----

void require(bool condition, const std::string& problem) {
  if (!condition) throw DataError(": " + problem);
}

void check_split(const SplitRecord& split) {
  require(!split.shards.empty(), "split " + split.name + " has no shard");
  std::uint64_t stories = 0;
  std::uint64_t tokens = 0;
  for (std::size_t i = 0; i < split.shards.size(); ++i) {
    const ShardRecord& shard = split.shards[i];
    require(shard.name == shard_name(split.name, i),
            "shard '" + shard.name + "' stands where " + shard_name(split.name, i) + " belongs");
    require(shard.stories > 0 && shard.stories <= shard.tokens && shard.tokens <= kMostShardTokens,
            shard.name + " can't have " + std::to_string(shard.stories) + " stories and " +
                std::to_string(shard.tokens) + " tokens");
    stories += shard.stories;
    tokens += shard.tokens;
  }
  require(stories == split.stories && tokens == split.tokens,
          "the counts of split " + split.name + " are not the sums over its shards");
}

void check_consistency(const Manifest& manifest) {
  require(manifest.vocabulary_size > 0 && manifest.vocabulary_size <= kMostShardTokens, "the vocabulary has no size");
  const std::vector<SplitRecord>& splits = manifest.splits;
  require(splits.size() <= 2 && (splits.empty() || splits[0].name == kTrainSplit) &&
              (splits.size() < 2 || splits[1].name == kValidationSplit),
          "the splits are not train and validation");
  for (const SplitRecord& split : splits) check_split(split);
  if (!manifest.resume) return;
  const ResumePoint& resume = *manifest.resume;
  require(!splits.empty() && (resume.split == kTrainSplit || resume.split == kValidationSplit) &&
              resume.source <= manifest.sources.size(),
          "the place to go on at does not exist");
  require(!resume.blocks.empty(), "the digest of what was read is missing (an earlier version left this)");
}

// Throws DataError with what follows the file's name.
Manifest parse(std::string_view text) {
  proto::Manifest message;
  const std::string problem = message::read_sealed_text(text, message);
  if (!problem.empty()) throw DataError(problem);
  require(message.format_version() == kFormatVersion,
          "format version " + std::to_string(message.format_version()) + " is not " + std::to_string(kFormatVersion));
  Manifest manifest = manifest_from(message);
  check_consistency(manifest);
  return manifest;
}

}  // namespace

const SplitRecord* Manifest::find_split(const std::string& name) const noexcept {
  for (const SplitRecord& split : splits) {
    if (split.name == name) return &split;
  }
  return nullptr;
}

std::string to_hexadecimal(std::uint64_t value) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(value));
  return text.data();
}

std::string shard_name(const std::string& split, std::uint64_t index) {
  std::array<char, 32> number{};
  std::snprintf(number.data(), number.size(), "-%05llu.h5", static_cast<unsigned long long>(index));
  return split + number.data();
}

std::string to_text(const Manifest& manifest) {
  proto::Manifest out;
  message::write_fields(manifest, out);
  out.set_format_version(kFormatVersion);
  out.mutable_vocabulary()->set_size(manifest.vocabulary_size);
  out.mutable_vocabulary()->set_sha256(manifest.vocabulary_sha256);
  set(manifest.options, *out.mutable_options());
  for (const SplitRecord& split : manifest.splits) set(split, *out.add_split());
  if (manifest.resume) set(*manifest.resume, *out.mutable_resume());
  return message::sealed_text(out);
}

Manifest read_manifest(const fs::path& file) {
  const std::string text = base::read_file(file);
  try {
    return parse(text);
  } catch (const DataError& error) {
    throw DataError(file.string() + error.what() +
                    ". The manifest is damaged: make the directory again with kangpt_preprocess --force");
  }
}

std::string preprocess_command(const Manifest& manifest, const fs::path& directory) {
  const PreprocessOptions& options = manifest.options;
  std::string inputs;
  std::string validation;
  for (const SourceRecord& source : manifest.sources) {
    (source.split == kTrainSplit ? inputs : validation) += " " + base::shell_quoted(source.path);
  }
  std::string command = "kangpt_preprocess --input" + inputs + " --output " + base::shell_quoted(directory.string());
  if (!validation.empty()) command += " --validation" + validation;
  if (options.shard_tokens != PreprocessOptions{}.shard_tokens)
    command += " --shard-tokens " + std::to_string(options.shard_tokens);
  if (options.invalid_utf8 != PreprocessOptions{}.invalid_utf8) command += " --invalid-utf8 " + options.invalid_utf8;
  if (options.invalid_records != PreprocessOptions{}.invalid_records)
    command += " --invalid-records " + options.invalid_records;
  if (options.separator != PreprocessOptions{}.separator) command += " --separator " + options.separator;
  if (!options.key.empty()) command += " --key " + base::shell_quoted(options.key);
  if (options.deduplicate) command += " --deduplicate";
  if (!options.vocabulary.empty()) command += " --vocabulary " + base::shell_quoted(options.vocabulary);
  if (options.train_vocabulary != 0) command += " --train-vocabulary " + std::to_string(options.train_vocabulary);
  return command;
}

}  // namespace kangpt::data
