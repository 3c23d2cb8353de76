#include "io/checkpoint.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string_view>
#include <utility>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "io/checkpoint_manifest.hpp"
#include "io/state_file.hpp"

namespace kangpt::io {
namespace {

constexpr std::uint64_t kMaxManifestBytes = 64 << 20;

bool is_named_by_step(const fs::path& folder) {
  const std::string name = folder.filename().string();
  return name.starts_with("step-") && name.find_first_not_of("0123456789", 5) == std::string::npos;
}

// Tells users who mistake a data directory for a checkpoint: kangpt_preprocess writes a file of that name too.
void refuse_data_directory(const fs::path& folder, std::string_view manifest) {
  if (is_named_by_step(folder) || !manifest.starts_with("format_version:")) return;
  throw MissingInputError("there is no checkpoint at " + folder.string() +
                          ": it holds training data; give a run directory or a checkpoint in it");
}

// Bytes of a file of a checkpoint. A file that is missing or none is damage; what the system can't tell is not.
std::uint64_t size_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) throw CheckpointError(path.string() + ": the file is missing");
    throw_io_error("cannot read", path.string(), errno);
  }
  if (!S_ISREG(status.st_mode)) throw CheckpointError(path.string() + ": not a regular file");
  return static_cast<std::uint64_t>(status.st_size);
}

void require_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return;
  const bool is_known = !error || error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
  if (is_known) throw MissingInputError("there is no checkpoint folder " + folder.string());
  throw_io_error("cannot read", folder.string(), error.value());
}

CheckpointManifest read_manifest(const fs::path& folder) {
  require_folder(folder);
  const fs::path path = folder / kManifestName;
  if (size_of(path) > kMaxManifestBytes) throw CheckpointError(path.string() + ": not a checkpoint manifest");
  const std::string text = base::read_file(path);
  refuse_data_directory(folder, text);
  return parse_manifest(text, path.string());
}

void check_sizes(const fs::path& folder, const CheckpointManifest& manifest) {
  for (const FileDigest& file : manifest.files) {
    const std::uint64_t size_bytes = size_of(folder / file.name);
    if (size_bytes == file.size_bytes) continue;
    throw CheckpointError((folder / file.name).string() + ": has " + std::to_string(size_bytes) +
                          " bytes, the manifest says " + std::to_string(file.size_bytes));
  }
}

// A folder with the name of another step was renamed by hand; resuming from it would confuse the run.
void check_name(const fs::path& folder, std::uint64_t step) {
  if (!is_named_by_step(folder) || folder.filename() == checkpoint_name(step)) return;
  throw CheckpointError(folder.string() + ": holds step " + std::to_string(step) + ", not what its name says");
}

// The first checkpoint of `folders` that verifies; the others are mentioned in the log and left alone.
Checkpoint first_valid(const std::vector<fs::path>& folders) {
  std::vector<std::string> problems;
  bool all_read = true;
  for (const fs::path& folder : folders) {
    try {
      return Checkpoint(folder);
    } catch (const Error& error) {
      const bool is_bad = error.exit_code() == ExitCode::kData;
      base::log_warning("passing over a checkpoint that " + std::string(is_bad ? "is bad: " : "can't be read: ") +
                        error.what());
      problems.emplace_back(error.what());
      all_read = all_read && is_bad;
    }
  }
  const std::string list = base::join(problems, "\n");
  if (!all_read) throw IoError("no checkpoint can be read:\n" + list);
  throw CheckpointError("no checkpoint is intact:\n" + list);
}

}  // namespace

struct Checkpoint::Files {
  std::vector<std::optional<StateFile>> opened;
};

Checkpoint::Checkpoint(const fs::path& folder, Verify verify)
    : folder_(folder), manifest_(read_manifest(folder)), files_(std::make_shared<Files>()) {
  if (!folder_.has_filename()) folder_ = folder_.parent_path();  // "step-1/"
  check_name(folder_, manifest_.state.step);
  check_sizes(folder_, manifest_);
  files_->opened.resize(manifest_.files.size());
  if (verify == Verify::kManifest) return;
  for (std::size_t i = 0; i < manifest_.files.size(); ++i) {
    files_->opened[i].emplace(folder_, manifest_.files[i], manifest_.state.step);
  }
}

void Checkpoint::read(std::uint64_t begin, std::span<float> parameters, std::span<float> first_moment,
                      std::span<float> second_moment) const {
  read_array(0, begin, parameters);
  read_array(1, begin, first_moment);
  read_array(2, begin, second_moment);
}

void Checkpoint::read_average(std::uint64_t begin, std::span<float> values) const {
  if (!has_average())
    throw UsageError(folder_.string() +
                     " has no average of the weights: its run kept none (optimizer.ema_decay was 0); valid: without "
                     "--average");
  read_array(kAverageArray, begin, values);
}

void Checkpoint::read_weights(Weights which, std::span<float> values) const {
  which == Weights::kAverage ? read_average(0, values) : read(0, values, {}, {});
}

void Checkpoint::read_array(std::size_t array, std::uint64_t begin, std::span<float> values) const {
  for (std::size_t i = 0; i < manifest_.files.size() && !values.empty(); ++i) {
    const FileDigest& file = manifest_.files[i];
    if (begin >= file.end) continue;
    auto& opened = files_->opened[i];
    if (!opened) opened.emplace(folder_, file, manifest_.state.step);
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(values.size(), file.end - begin));
    opened->read(array, begin, values.first(count));
    begin += count;
    values = values.subspan(count);
  }
  std::fill(values.begin(), values.end(), 0.0F);
}

Checkpoint open_checkpoint(const fs::path& path) {
  if (fs::exists(path / kManifestName)) return Checkpoint(path);
  if (fs::is_regular_file(path)) {
    throw MissingInputError(path.string() + " is a file, no checkpoint; valid: a run directory or a checkpoint folder");
  }
  for (const fs::path& folder : {path / "checkpoints", path}) {
    const std::vector<fs::path> found = list_checkpoints(folder);
    if (!found.empty()) return first_valid(found);
  }
  throw MissingInputError("there is no checkpoint at " + path.string() + ": looked for " +
                          (path / kManifestName).string() + " and for " +
                          (path / "checkpoints" / "step-*" / kManifestName).string() + "; kangpt_dist makes some");
}

std::string canonical_digest(const Checkpoint& checkpoint) {
  constexpr std::uint64_t kBlock = 1 << 18;
  base::Sha256 digest;
  std::vector<float> buffer(kBlock);
  const std::size_t arrays = checkpoint.has_average() ? kStateArrays.size() : kAverageArray;
  for (const base::ParameterEntry& entry : checkpoint.manifest().parameters.entries) {
    for (std::size_t array = 0; array < arrays; ++array) {
      for (std::uint64_t done = 0; done < entry.size; done += kBlock) {
        const auto block = std::span(buffer).first(std::min(kBlock, entry.size - done));
        std::array<std::span<float>, kAverageArray> targets;
        if (array == kAverageArray) {
          checkpoint.read_average(entry.offset + done, block);
        } else {
          targets[array] = block;
          checkpoint.read(entry.offset + done, targets[0], targets[1], targets[2]);
        }
        digest.update(std::as_bytes(block));
      }
    }
  }
  return digest.hex();
}

}  // namespace kangpt::io
