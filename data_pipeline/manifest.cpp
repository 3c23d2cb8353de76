#include "data_pipeline/manifest.hpp"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <array>
#include <cstdio>

#include "base/error.hpp"
#include "base/file.hpp"
#include "data_pipeline/manifest.pb.h"

namespace kangpt::data {
namespace {

constexpr std::uint32_t kFormatVersion = 1;

void set(const PreprocessOptions& options, proto::Options& out) {
  out.set_shard_tokens(options.shard_tokens);
  out.set_invalid_utf8(options.invalid_utf8);
  out.set_key(options.key);
  out.set_deduplicate(options.deduplicate);
  out.set_vocabulary(options.vocabulary);
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
  for (const ShardRecord& shard : split.shards) {
    proto::Shard& record = *out.add_shard();
    record.set_name(shard.name);
    record.set_size_bytes(shard.size_bytes);
    record.set_stories(shard.stories);
    record.set_tokens(shard.tokens);
    record.set_xxh3(shard.xxh3);
  }
}

SplitRecord split_from(const proto::Split& in) {
  SplitRecord split{in.name(),          in.stories(),           in.tokens(),         in.text_bytes(),
                    in.empty_stories(), in.duplicate_stories(), in.replaced_bytes(), {}};
  for (const proto::Shard& shard : in.shard()) {
    split.shards.push_back({shard.name(), shard.size_bytes(), shard.stories(), shard.tokens(), shard.xxh3()});
  }
  return split;
}

Manifest manifest_from(const proto::Manifest& in) {
  Manifest manifest;
  manifest.vocabulary_size = in.vocabulary().size();
  manifest.vocabulary_sha256 = in.vocabulary().sha256();
  manifest.options = {in.options().shard_tokens(), in.options().invalid_utf8(), in.options().key(),
                      in.options().deduplicate(), in.options().vocabulary()};
  for (const proto::Source& source : in.source()) {
    manifest.sources.push_back({source.path(), source.split(), source.size_bytes(), source.sha256()});
  }
  for (const proto::Split& split : in.split()) manifest.splits.push_back(split_from(split));
  if (in.has_resume()) {
    const proto::Resume& resume = in.resume();
    manifest.resume = ResumePoint{resume.split(), resume.source(), resume.block(), resume.story(), resume.blocks()};
  }
  return manifest;
}

// Keeps the first error, as FILE:LINE:COLUMN: message.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(const fs::path& file) : file_(file.string()) {}
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (text_.empty())
      text_ = file_ + ":" + std::to_string(line + 1) + ":" + std::to_string(column + 1) + ": " + message;
  }
  const std::string& text() const { return text_; }

 private:
  std::string file_;
  std::string text_;
};

void check_consistency(const Manifest& manifest, const fs::path& file) {
  for (const SplitRecord& split : manifest.splits) {
    std::uint64_t stories = 0;
    std::uint64_t tokens = 0;
    for (const ShardRecord& shard : split.shards) {
      if (shard.name.find('/') != std::string::npos)
        throw DataError(file.string() + ": shard name '" + shard.name + "' leads out of the folder");
      stories += shard.stories;
      tokens += shard.tokens;
    }
    if (stories != split.stories || tokens != split.tokens) {
      throw DataError(file.string() + ": the counts of split " + split.name + " are not the sums over its shards");
    }
  }
}

std::string quoted(const std::string& argument) {
  const bool plain =
      argument.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=./,:@%") ==
      std::string::npos;
  if (plain && !argument.empty()) return argument;
  std::string text = "'";
  for (const char c : argument) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
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
    resume.set_blocks(manifest.resume->blocks);
  }
  std::string text;
  if (!google::protobuf::TextFormat::PrintToString(out, &text)) throw InternalError("the manifest can't be printed");
  return text;
}

Manifest read_manifest(const fs::path& file) {
  const std::string text = base::read_file(file);
  proto::Manifest message;
  FirstError error(file);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(text, &message)) throw DataError(error.text() + " (the manifest is damaged)");
  if (message.format_version() != kFormatVersion) {
    throw DataError(file.string() + ": format version " + std::to_string(message.format_version()) + " is not " +
                    std::to_string(kFormatVersion));
  }
  Manifest manifest = manifest_from(message);
  check_consistency(manifest, file);
  return manifest;
}

std::string preprocess_command(const Manifest& manifest, const fs::path& directory) {
  const PreprocessOptions& options = manifest.options;
  std::string inputs;
  std::string validation;
  for (const SourceRecord& source : manifest.sources) {
    (source.split == kTrainSplit ? inputs : validation) += " " + quoted(source.path);
  }
  std::string command = "kangpt_preprocess --input" + inputs + " --output " + quoted(directory.string());
  if (!validation.empty()) command += " --validation" + validation;
  if (options.shard_tokens != PreprocessOptions{}.shard_tokens)
    command += " --shard-tokens " + std::to_string(options.shard_tokens);
  if (options.invalid_utf8 != PreprocessOptions{}.invalid_utf8) command += " --invalid-utf8 " + options.invalid_utf8;
  if (!options.key.empty()) command += " --key " + quoted(options.key);
  if (options.deduplicate) command += " --deduplicate";
  if (!options.vocabulary.empty()) command += " --vocabulary " + quoted(options.vocabulary);
  return command;
}

}  // namespace kangpt::data
