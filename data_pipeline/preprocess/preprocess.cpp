#include "data_pipeline/preprocess/preprocess.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <unordered_set>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "base/processor/usable_processors.hpp"
#include "data_pipeline/preprocess/block_pipeline.hpp"
#include "data_pipeline/preprocess/split_notes.hpp"
#include "data_pipeline/preprocess/split_progress.hpp"
#include "data_pipeline/preprocess/split_writer.hpp"
#include "data_pipeline/preprocess/vocabulary_training.hpp"
#include "data_pipeline/shards/output_directory.hpp"
#include "data_pipeline/text/input_files.hpp"

namespace kangpt::data {
namespace {

// Half of a digest is as good a hash as any.
struct DigestHash {
  std::size_t operator()(const StoryDigest& digest) const noexcept { return digest[0]; }
};

// Follows the blocks of one source: a digest of all so far.
class BlockChain {
 public:
  void add(std::uint64_t block_xxh3) {
    const std::array<std::uint64_t, 2> link = {digest_, block_xxh3};
    digest_ = base::xxh3(std::as_bytes(std::span(link)));
  }
  std::string text() const { return to_hexadecimal(digest_); }

 private:
  std::uint64_t digest_ = 0;
};

class Run {
 public:
  Run(const PreprocessRequest& request, const OutputDirectory& output, const Vocabulary& vocabulary)
      : request_(request),
        output_(output),
        vocabulary_(vocabulary),
        pool_(vocabulary, request.workers > 0 ? request.workers : base::usable_processors()) {
    manifest_.vocabulary_size = vocabulary.size();
    manifest_.vocabulary_sha256 = vocabulary.sha256();
    manifest_.options = request.options;
    for (const std::string& path : request.inputs) manifest_.sources.push_back({path, kTrainSplit, 0, ""});
    for (const std::string& path : request.validation) manifest_.sources.push_back({path, kValidationSplit, 0, ""});
    states_.resize(manifest_.sources.size());
  }

  Manifest make() {
    if (already_made()) return manifest_;
    take_up_unfinished();
    output_.clear(manifest_);
    keep_vocabulary(vocabulary_, request_.output, OtherVocabularies::kLeave);
    if (!manifest_.resume) output_.write_partial(manifest_);
    make_split(kTrainSplit);
    if (!request_.validation.empty()) make_split(kValidationSplit);
    manifest_.resume.reset();
    for (std::size_t source = 0; source < manifest_.sources.size(); ++source) check_unchanged(source);
    output_.write_complete(manifest_);
    return manifest_;
  }

 private:
  // Same command, as far as the output depends on it?
  bool same_request(const Manifest& other) const {
    const auto same_place = [](const SourceRecord& a, const SourceRecord& b) {
      return a.path == b.path && a.split == b.split;
    };
    return other.vocabulary_sha256 == manifest_.vocabulary_sha256 && other.options == manifest_.options &&
           std::equal(other.sources.begin(), other.sources.end(), manifest_.sources.begin(), manifest_.sources.end(),
                      same_place);
  }

  // Anything else, such as standard input or a pipe, can't be read again.
  static bool is_file(const SourceRecord& source) { return source.path != "-" && fs::is_regular_file(source.path); }

  static bool unchanged(const SourceRecord& source) {
    return is_file(source) && fs::file_size(source.path) == source.size_bytes &&
           base::sha256_file(source.path) == source.sha256;
  }

  // True if the directory is complete and made of just these inputs. Throws UsageError if it is made of others.
  bool already_made() {
    if (request_.existing == Existing::kReplace) return false;
    const std::optional<Manifest> found = output_.complete();
    if (!found) return false;
    if (same_request(*found) && std::all_of(found->sources.begin(), found->sources.end(), unchanged)) {
      std::printf("%s is complete already: nothing to do\n", request_.output.c_str());
      keep_vocabulary(vocabulary_, request_.output, OtherVocabularies::kLeave);  // earlier versions kept none
      output_.write_complete(*found);
      manifest_ = *found;
      return true;
    }
    throw UsageError(
        request_.output.string() + " holds other data, made with: " + preprocess_command(*found, request_.output) +
        (same_request(*found) ? "\nIts sources have changed since, or are pipes, which can't be read again." : "") +
        "\nTo replace it, add --force; or choose another --output");
  }

  void take_up_unfinished() {
    if (request_.existing == Existing::kReplace) return;
    const std::optional<Manifest> found = output_.unfinished();
    if (!found || !found->resume) return;
    if (!same_request(*found)) {
      return base::log_info("starting over: what is unfinished in " + request_.output.string() +
                            " was begun with other inputs or options: " + preprocess_command(*found, request_.output));
    }
    manifest_ = *found;
    base::log_info("going on after " + found->splits.back().shards.back().name);
  }

  std::vector<std::size_t> sources_of(const std::string& split) const {
    std::vector<std::size_t> indices;
    for (std::size_t i = 0; i < manifest_.sources.size(); ++i) {
      if (manifest_.sources[i].split == split) indices.push_back(i);
    }
    return indices;
  }

  // Takes the record of a split out of the manifest: a new one, or what an interrupted run had written of it.
  SplitRecord take_record(const std::string& split) {
    SplitRecord record;
    record.name = split;
    if (manifest_.find_split(split) == nullptr) return record;
    record = std::move(manifest_.splits.back());
    manifest_.splits.pop_back();
    return record;
  }

  void make_split(const std::string& split) {
    const std::vector<std::size_t> sources = sources_of(split);
    if (manifest_.resume && manifest_.resume->split != split) return check_finished(sources);
    std::vector<std::string> paths;
    for (const std::size_t source : sources) paths.push_back(manifest_.sources[source].path);
    SplitProgress progress(split, total_bytes(paths));
    progress_ = &progress;
    bytes_before_ = 0;
    next_saved_shards_ = 0;
    seen_.clear();
    notes_ = {};
    const auto on_shard = [this](const SplitRecord& record, const ResumePoint& next) { save(record, next); };
    SplitWriter writer({request_.output,
                        {vocabulary_.size(), vocabulary_.sha256(), vocabulary_.end_of_text()},
                        request_.options.shard_tokens,
                        on_shard},
                       take_record(split));
    for (const std::size_t source : sources) add_source(source, writer);
    const SplitRecord record = writer.finish();
    progress.finish();
    if (record.stories == 0) {
      notes_.warn(record);
      throw DataError("input " + base::join(paths, ", ") + (bytes_before_ == 0 ? " is empty" : " holds no story") +
                      (record.odd == Oddities{} ? "" : " (" + text_of(record.odd) + ")") +
                      ": there is nothing to train on");
    }
    notes_.warn(record);
    print_counts(record, {bytes_before_, progress.elapsed_seconds()});
    manifest_.splits.push_back(record);
    manifest_.resume = ResumePoint{kValidationSplit, sources.back() + 1, 0, 0, BlockChain().text()};
    output_.write_partial(manifest_);
  }

  void check_finished(const std::vector<std::size_t>& sources) {
    for (const std::size_t source : sources) {
      const SourceRecord& record = manifest_.sources[source];
      states_[source] = file_state(record.path);
      if (is_file(record) && !unchanged(record)) fail_changed(record.path);
    }
  }

  // The manifest must not say of a file what was true of an earlier one. What is no file can't be looked at again, and
  // one that is gone can't mislead.
  void check_unchanged(std::size_t source) {
    const SourceRecord& record = manifest_.sources[source];
    const std::optional<FileState> now = file_state(record.path);
    if (!now || !states_[source] || *now == *states_[source]) return;
    states_[source] = now;
    if (base::sha256_file(record.path) == record.sha256) return;
    throw DataError("input " + record.path +
                    " was changed while it was being prepared. Once nothing writes to it any more, start over with "
                    "--force");
  }

  [[noreturn]] void fail_changed(const std::string& path) const {
    throw DataError("input " + path + " has changed since the run that left " + request_.output.string() +
                    " unfinished. To start over, add --force");
  }

  // The manifest grows with the shards: were it written behind each, a hundred thousand of them would write it longer
  // than themselves. So an interruption costs a sixty-fourth of the shards at most.
  void save(const SplitRecord& record, const ResumePoint& next) {
    constexpr std::size_t kMostLostShare = 64;
    if (record.shards.size() < next_saved_shards_) return;
    next_saved_shards_ = record.shards.size() + 1 + record.shards.size() / kMostLostShare;
    Manifest partial = manifest_;
    partial.splits.push_back(record);
    partial.resume = next;
    output_.write_partial(partial);
  }

  BlockOptions block_options(std::size_t source) const {
    BlockOptions options;
    const PreprocessOptions& given = request_.options;
    options.stories = story_options(manifest_.sources[source].path, given);
    options.digests = given.deduplicate ? Digests::kOfStories : Digests::kNone;
    if (manifest_.resume && source < manifest_.resume->source) options.surveyed_blocks = ~std::uint64_t{0};
    if (manifest_.resume && source == manifest_.resume->source) options.surveyed_blocks = manifest_.resume->block;
    return options;
  }

  void add_source(std::size_t source, SplitWriter& writer) {
    SourceRecord& record = manifest_.sources[source];
    states_[source] = file_state(record.path);
    BlockPipeline pipeline(pool_, block_options(source));
    BlockChain chain;
    ResumePoint where{record.split, source, 0, 0, ""};
    source_has_story_ = false;
    for (; const EncodedBlock* const block = pipeline.next(); ++where.block) {
      chain.add(block->text_xxh3);
      where.blocks = chain.text();
      check_resume_point(where);
      add_block(*block, where, writer);
      progress_->update(bytes_before_ + pipeline.bytes_read(), writer.stories(), writer.tokens());
    }
    const SourceRecord read{record.path, record.split, pipeline.bytes_read(), pipeline.sha256()};
    const bool cut_short = is_partly_written(source) && where.block <= manifest_.resume->block;
    if (cut_short || (!record.sha256.empty() && record != read)) fail_changed(record.path);
    record = read;
    check_unchanged(source);
    notes_.see_source(record.path, source_has_story_ ? Stories::kSome : Stories::kNone);
    bytes_before_ += read.size_bytes;
  }

  // Read without being encoded, since an interrupted run wrote it.
  bool is_surveyed(const ResumePoint& where) const {
    if (!manifest_.resume) return false;
    return std::pair(where.source, where.block) < std::pair(manifest_.resume->source, manifest_.resume->block);
  }

  // Did the interrupted run stop within this source?
  bool is_partly_written(std::uint64_t source) const {
    return manifest_.resume && source == manifest_.resume->source &&
           manifest_.resume->block + manifest_.resume->story > 0;
  }

  // Where the interrupted run stopped, the text up to there must be what it was: part of that block is written.
  void check_resume_point(const ResumePoint& where) const {
    const bool there = is_partly_written(where.source) && where.block == manifest_.resume->block;
    if (there && where.blocks != manifest_.resume->blocks) fail_changed(manifest_.sources[where.source].path);
  }

  bool is_written(const ResumePoint& where) const {
    if (!manifest_.resume) return false;
    const auto place = [](const ResumePoint& point) { return std::array{point.source, point.block, point.story}; };
    return place(where) < place(*manifest_.resume);
  }

  void add_block(const EncodedBlock& block, ResumePoint where, SplitWriter& writer) {
    const std::string& source = manifest_.sources[where.source].path;
    std::span<const std::uint32_t> tokens(block.tokens);
    if (!is_surveyed(where)) notes_.see_skipped(block.problems, source);
    source_has_story_ = source_has_story_ || is_surveyed(where);  // as far as is known
    for (const EncodedStory& story : block.stories) {
      notes_.see_story(story, source);
      source_has_story_ = source_has_story_ || story.text_bytes > 0;
      const bool duplicate = request_.options.deduplicate && story.text_bytes > 0 && !seen_.insert(story.digest).second;
      if (!is_written(where)) {
        duplicate ? writer.count_duplicate(story) : writer.add(tokens.first(story.tokens), story, where);
      }
      tokens = tokens.subspan(story.tokens);
      ++where.story;
    }
  }

  const PreprocessRequest& request_;
  const OutputDirectory& output_;
  const Vocabulary& vocabulary_;
  EncoderPool pool_;
  Manifest manifest_;                             // of what is finished; `resume` is where this run began
  std::vector<std::optional<FileState>> states_;  // of the sources when they were opened
  std::unordered_set<StoryDigest, DigestHash> seen_;
  SplitNotes notes_;  // on the split that is being made
  bool source_has_story_ = false;
  std::size_t next_saved_shards_ = 0;  // of that split: with so many, what there is of it is saved
  SplitProgress* progress_ = nullptr;  // of the split that is being made
  std::uint64_t bytes_before_ = 0;     // of that split's sources before the present one
};

Vocabulary vocabulary_for(const PreprocessRequest& request) {
  if (request.options.train_vocabulary == 0) return Vocabulary::load(find_vocabulary(request.options.vocabulary));
  if (!request.options.vocabulary.empty()) throw UsageError("--vocabulary and --train-vocabulary exclude each other");
  for (const std::string& path : request.inputs) {
    if (path != "-" && fs::is_regular_file(path)) continue;
    throw UsageError("--train-vocabulary reads --input twice, which " + (path == "-" ? "standard input" : path) +
                     " can't be; write it to a file, or make the vocabulary first: kangpt_vocabulary train");
  }
  return train_vocabulary({request.inputs, request.options, request.options.train_vocabulary, request.workers});
}

void print_left_out(const InputFiles& input, const std::string& split) {
  if (input.left_out.empty()) return;
  std::printf(
      "%s: left out of the folders: %s files and folders, for their names or as said: %s. --input FILE names one all "
      "the same\n",
      split.c_str(), base::format_count(input.left_out.size()).c_str(), few_of(input.left_out).c_str());
}

}  // namespace

Manifest preprocess(const PreprocessRequest& given) {
  PreprocessRequest request = given;
  InputFiles train = expand_inputs(given.inputs, given.output);
  const InputFiles validation = expand_inputs(given.validation, given.output);
  leave_out_validation(train.files, validation.files);
  warn_of_repeated(train.files, validation.files);
  request.inputs = train.files;
  request.validation = validation.files;
  if (std::count(request.inputs.begin(), request.inputs.end(), "-") +
          std::count(request.validation.begin(), request.validation.end(), "-") >
      1) {
    throw UsageError("standard input (-) can be named only once");
  }
  const Vocabulary vocabulary = vocabulary_for(request);
  const OutputDirectory output(request.output);
  try {
    Manifest manifest = Run(request, output, vocabulary).make();
    print_left_out(train, kTrainSplit);
    print_left_out(validation, kValidationSplit);
    return manifest;
  } catch (const IoError& error) {
    throw IoError(std::string(error.what()) + "\nWhat was finished is kept in " + request.output.string() +
                  ": the same command goes on from there");
  }
}

}  // namespace kangpt::data
