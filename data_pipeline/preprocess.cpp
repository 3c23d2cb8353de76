#include "data_pipeline/preprocess.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <thread>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/format.hpp"
#include "base/unique_fd.hpp"
#include "data_pipeline/block_pipeline.hpp"
#include "data_pipeline/progress.hpp"
#include "data_pipeline/split_writer.hpp"

namespace kangpt::data {
namespace {

// Keeps a second kangpt_preprocess out of the directory while the descriptor is open. File systems without locks get
// none.
base::UniqueFd lock_directory(const fs::path& directory) {
  base::make_directories(directory);
  base::UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw_io_error("cannot open", directory.string(), errno);
  if (::flock(fd.value(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw IoError("another kangpt_preprocess is writing " + directory.string() +
                  ". Wait for it, or choose another --output");
  }
  return fd;
}

bool is_own_file(const std::string& name) {
  const bool shard = (name.starts_with(kTrainSplit) || name.starts_with(kValidationSplit)) &&
                     (name.ends_with(".h5") || name.ends_with(".h5.tmp"));
  return shard || name.starts_with(kManifestName) || name.starts_with(kPartialManifestName);
}

// The manifest goes first: at no moment is there one for files that are gone.
void remove_own_files(const fs::path& directory) {
  std::error_code error;
  fs::remove(directory / kManifestName, error);
  if (error) throw_io_error("cannot remove", (directory / kManifestName).string(), error.value());
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (is_own_file(entry.path().filename().string())) fs::remove(entry.path(), error);
    if (error) throw_io_error("cannot remove", entry.path().string(), error.value());
  }
}

std::uint64_t total_bytes(const std::vector<std::string>& paths) {
  std::uint64_t total = 0;
  for (const std::string& path : paths) {
    if (path == "-" || !fs::is_regular_file(path)) return 0;
    total += fs::file_size(path);
  }
  return total;
}

void check_inputs(const PreprocessRequest& request) {
  std::vector<std::string> all = request.inputs;
  all.insert(all.end(), request.validation.begin(), request.validation.end());
  for (const std::string& path : all) {
    if (path != "-" && !fs::exists(path)) throw MissingInputError("input " + path + " does not exist");
    if (path != "-" && fs::is_directory(path)) throw MissingInputError("input " + path + " is a directory, not a file");
  }
  if (std::count(all.begin(), all.end(), "-") > 1) throw UsageError("standard input (-) can be named only once");
}

class Run {
 public:
  explicit Run(const PreprocessRequest& request)
      : request_(request),
        vocabulary_file_(find_vocabulary(request.options.vocabulary)),
        vocabulary_(Vocabulary::load(vocabulary_file_)) {
    const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
    pipeline_.workers = request.workers > 0 ? request.workers : static_cast<int>(cores);
    pipeline_.invalid_utf8 = request.options.invalid_utf8 == "replace" ? InvalidUtf8::kReplace : InvalidUtf8::kError;
    manifest_.vocabulary_size = vocabulary_.size();
    manifest_.vocabulary_sha256 = vocabulary_.sha256();
    manifest_.options = request.options;
  }

  Manifest make() {
    if (already_made()) return manifest_;
    remove_own_files(request_.output);
    announce();
    add_split(kTrainSplit, request_.inputs);
    if (!request_.validation.empty()) add_split(kValidationSplit, request_.validation);
    base::write_file_atomically(request_.output / kManifestName, to_text(manifest_));
    fs::remove(request_.output / kPartialManifestName);
    return manifest_;
  }

 private:
  // True if the directory is complete and made of just these inputs. Throws UsageError if it is made of others.
  bool already_made() {
    const fs::path file = request_.output / kManifestName;
    if (request_.existing == Existing::kReplace || !fs::exists(file)) return false;
    const Manifest found = read_manifest(file);
    if (found.vocabulary_sha256 == manifest_.vocabulary_sha256 && found.options == manifest_.options &&
        same_sources(found)) {
      std::printf("%s is complete already: nothing to do\n", request_.output.c_str());
      manifest_ = found;
      return true;
    }
    throw UsageError(request_.output.string() +
                     " holds other data, made with: " + preprocess_command(found, request_.output) +
                     ".\nTo replace it, add --force; or choose another --output");
  }

  bool same_sources(const Manifest& found) const {
    if (found.sources.size() != request_.inputs.size() + request_.validation.size()) return false;
    for (std::size_t i = 0; i < found.sources.size(); ++i) {
      const bool train = i < request_.inputs.size();
      const std::string& path = train ? request_.inputs[i] : request_.validation[i - request_.inputs.size()];
      const SourceRecord& source = found.sources[i];
      if (source.path != path || source.split != (train ? kTrainSplit : kValidationSplit) || path == "-") return false;
      if (fs::file_size(path) != source.size_bytes || base::sha256_file(path) != source.sha256) return false;
    }
    return true;
  }

  // Leaves word of what is being made, so that an interrupted run can name the command that finishes it.
  void announce() const {
    Manifest plan = manifest_;
    for (const std::string& path : request_.inputs) plan.sources.push_back({path, kTrainSplit, 0, ""});
    for (const std::string& path : request_.validation) plan.sources.push_back({path, kValidationSplit, 0, ""});
    base::write_file_atomically(request_.output / kPartialManifestName, to_text(plan));
  }

  void add_split(const std::string& split, const std::vector<std::string>& paths) {
    Progress progress(split, total_bytes(paths));
    SplitWriter writer(
        {request_.output, split, {vocabulary_.size(), vocabulary_.sha256()}, request_.options.shard_tokens});
    std::uint64_t bytes_before = 0;
    for (const std::string& path : paths) {
      const SourceRecord source = add_source(path, bytes_before, writer, progress);
      bytes_before += source.size_bytes;
      manifest_.sources.push_back({path, split, source.size_bytes, source.sha256});
    }
    const SplitRecord record = writer.finish();
    if (record.stories == 0) {
      throw DataError("input " + base::join(paths, ", ") + (bytes_before == 0 ? " is empty" : " holds no story") +
                      ": there is nothing to train on");
    }
    report(record, bytes_before, progress.elapsed_seconds());
    manifest_.splits.push_back(record);
  }

  SourceRecord add_source(const std::string& path, std::uint64_t bytes_before, SplitWriter& writer,
                          Progress& progress) const {
    BlockPipeline pipeline(vocabulary_, path, pipeline_);
    while (const std::optional<EncodedBlock> block = pipeline.next()) {
      std::span<const std::uint32_t> tokens(block->tokens);
      for (const EncodedStory& story : block->stories) {
        writer.add(tokens.first(story.tokens), story);
        tokens = tokens.subspan(story.tokens);
      }
      progress.update(bytes_before + pipeline.bytes_read(), base::format_count(writer.stories()) + " stories, " +
                                                                base::format_count(writer.tokens()) + " tokens");
    }
    return {path, "", pipeline.bytes_read(), pipeline.sha256()};
  }

  static void report(const SplitRecord& split, std::uint64_t bytes, double seconds) {
    std::printf("%s: %s stories, %s tokens in %zu shards, %.3f bytes a token", split.name.c_str(),
                base::format_count(split.stories).c_str(), base::format_count(split.tokens).c_str(),
                split.shards.size(), split.bytes_per_token());
    std::printf("; %s empty, %s bytes replaced", base::format_count(split.empty_stories).c_str(),
                base::format_count(split.replaced_bytes).c_str());
    std::printf("; %s in %s, %s/s\n", base::format_bytes(static_cast<double>(bytes)).c_str(),
                base::format_duration(seconds).c_str(),
                base::format_bytes(static_cast<double>(bytes) / std::max(seconds, 1e-6)).c_str());
  }

  const PreprocessRequest& request_;
  fs::path vocabulary_file_;
  Vocabulary vocabulary_;
  PipelineOptions pipeline_;
  Manifest manifest_;
};

}  // namespace

Manifest preprocess(const PreprocessRequest& request) {
  check_inputs(request);
  Run run(request);
  const base::UniqueFd lock = lock_directory(request.output);
  return run.make();
}

}  // namespace kangpt::data
