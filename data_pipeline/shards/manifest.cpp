#include "data_pipeline/shards/manifest.hpp"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <array>
#include <cstdio>
#include <optional>

#include "base/command.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/seal.hpp"
#include "data_pipeline/shards/manifest.pb.h"

namespace kangpt::data {
namespace {

constexpr std::uint32_t kFormatVersion = 1;
constexpr std::uint64_t kMostShardTokens = std::uint64_t{1} << 40;  // far above any shard, far below any overflow

void set(const PreprocessOptions& options, proto::Options& out) {
  out.set_shard_tokens(options.shard_tokens);
  out.set_invalid_utf8(options.invalid_utf8);
  out.set_key(options.key);
  out.set_deduplicate(options.deduplicate);
  out.set_vocabulary(options.vocabulary);
  const PreprocessOptions usual;  // is not written: manifests from before these options say the same
  if (options.invalid_records != usual.invalid_records) out.set_invalid_records(options.invalid_records);
  if (options.separator != usual.separator) out.set_separator(options.separator);
}

PreprocessOptions options_from(const proto::Options& in) {
  PreprocessOptions options;
  options.shard_tokens = in.shard_tokens();
  options.invalid_utf8 = in.invalid_utf8();
  options.key = in.key();
  options.deduplicate = in.deduplicate();
  options.vocabulary = in.vocabulary();
  if (!in.invalid_records().empty()) options.invalid_records = in.invalid_records();
  if (!in.separator().empty()) options.separator = in.separator();
  return options;
}

void set(const SplitRecord& split, proto::Split& out) {
  out.set_name(split.name);
  out.set_stories(split.stories);
  out.set_tokens(split.tokens);
  out.set_text_bytes(split.text_bytes);
  out.set_empty_stories(split.empty_stories);
  out.set_duplicate_stories(split.duplicate_stories);
  out.set_replaced_bytes(split.replaced_bytes);
  out.set_bytes_per_token(split.bytes_per_token());
  out.set_separators_in_text(split.odd.separators_in_text);
  out.set_zero_bytes(split.odd.zero_bytes);
  out.set_byte_order_marks(split.odd.byte_order_marks);
  out.set_skipped_records(split.odd.skipped_records);
  for (const ShardRecord& shard : split.shards) {
    proto::Shard& record = *out.add_shard();
    record.set_name(shard.name);
    record.set_size_bytes(shard.size_bytes);
    record.set_stories(shard.stories);
    record.set_tokens(shard.tokens);
    record.set_xxh3(shard.xxh3);
    record.set_tokens_offset(shard.tokens_offset);
    record.set_frame_xxh3(shard.frame_xxh3);
  }
}

SplitRecord split_from(const proto::Split& in) {
  const Oddities odd{in.separators_in_text(), in.zero_bytes(), in.byte_order_marks(), in.skipped_records()};
  SplitRecord split{
      in.name(),           in.stories(), in.tokens(), in.text_bytes(), in.empty_stories(), in.duplicate_stories(),
      in.replaced_bytes(), odd,          {}};
  for (const proto::Shard& shard : in.shard()) {
    split.shards.push_back({shard.name(), shard.size_bytes(), shard.stories(), shard.tokens(), shard.xxh3(),
                            shard.tokens_offset(), shard.frame_xxh3()});
  }
  return split;
}

Manifest manifest_from(const proto::Manifest& in) {
  Manifest manifest;
  manifest.vocabulary_size = in.vocabulary().size();
  manifest.vocabulary_sha256 = in.vocabulary().sha256();
  manifest.options = options_from(in.options());
  for (const proto::Source& source : in.source()) {
    manifest.sources.push_back({source.path(), source.split(), source.size_bytes(), source.sha256()});
  }
  for (const proto::Split& split : in.split()) manifest.splits.push_back(split_from(split));
  if (in.has_resume()) {
    const proto::Resume& resume = in.resume();
    manifest.resume =
        ResumePoint{resume.split(), resume.source(), resume.block(), resume.story(), resume.blocks_through()};
  }
  return manifest;
}

// Keeps the first error, as LINE:COLUMN: message.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (text_.empty()) text_ = std::to_string(line + 1) + ":" + std::to_string(column + 1) + ": " + message;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void require(bool condition, const std::string& problem) {
  if (!condition) throw DataError(" " + problem);
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

// Throws DataError with what follows the file's name and a colon.
Manifest parse(std::string_view text) {
  const std::optional<std::string_view> body = base::unseal(text);
  require(body.has_value(), "the last line is not the digest of those before it: cut off or changed");
  proto::Manifest message;
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(std::string(*body), &message)) throw DataError(error.text());
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
  out.set_format_version(kFormatVersion);
  out.mutable_vocabulary()->set_size(manifest.vocabulary_size);
  out.mutable_vocabulary()->set_sha256(manifest.vocabulary_sha256);
  set(manifest.options, *out.mutable_options());
  for (const SourceRecord& source : manifest.sources) {
    proto::Source& record = *out.add_source();
    record.set_path(source.path);
    record.set_split(source.split);
    record.set_size_bytes(source.size_bytes);
    record.set_sha256(source.sha256);
  }
  for (const SplitRecord& split : manifest.splits) set(split, *out.add_split());
  if (manifest.resume) {
    proto::Resume& resume = *out.mutable_resume();
    resume.set_split(manifest.resume->split);
    resume.set_source(manifest.resume->source);
    resume.set_block(manifest.resume->block);
    resume.set_story(manifest.resume->story);
    resume.set_blocks_through(manifest.resume->blocks);
  }
  std::string text;
  if (!google::protobuf::TextFormat::PrintToString(out, &text)) throw InternalError("the manifest can't be printed");
  return base::sealed(text);
}

Manifest read_manifest(const fs::path& file) {
  const std::string text = base::read_file(file);
  try {
    return parse(text);
  } catch (const DataError& error) {
    throw DataError(file.string() + ":" + error.what() +
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
  return command;
}

}  // namespace kangpt::data
