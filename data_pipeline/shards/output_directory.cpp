#include "data_pipeline/shards/output_directory.hpp"

#include <fcntl.h>

#include <cerrno>
#include <set>
#include <string>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/file_lock.hpp"
#include "base/log.hpp"

namespace kangpt::data {
namespace {

bool is_own_file(const std::string& name) {
  const bool shard = (name.starts_with("train-") || name.starts_with("validation-")) &&
                     (name.ends_with(".h5") || name.ends_with(".h5.tmp"));
  return shard || name.starts_with(kManifestName) || name.starts_with(kPartialManifestName);
}

void remove_file(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) throw_io_error("cannot remove", path.string(), error.value());
}

bool is_intact(const fs::path& path, const ShardRecord& record) {
  std::error_code error;
  if (fs::file_size(path, error) != record.size_bytes || error) return false;
  return to_hexadecimal(base::xxh3_file(path)) == record.xxh3;
}

}  // namespace

OutputDirectory::OutputDirectory(const fs::path& path) : path_(path) {
  base::make_directories(path);
  lock_ = base::UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock_) throw_io_error("cannot open", path.string(), errno);
  if (!base::try_lock(lock_, path)) {
    throw IoError("another kangpt_preprocess is writing " + path.string() +
                  ". Wait for it, or choose another --output");
  }
}

std::optional<Manifest> OutputDirectory::complete() const {
  if (!fs::exists(path_ / kManifestName)) return std::nullopt;
  return read_manifest(path_ / kManifestName);
}

std::optional<Manifest> OutputDirectory::unfinished() const {
  if (!fs::exists(path_ / kPartialManifestName)) return std::nullopt;
  try {
    Manifest found = read_manifest(path_ / kPartialManifestName);
    for (const SplitRecord& split : found.splits) {
      for (const ShardRecord& shard : split.shards) {
        if (!is_intact(path_ / shard.name, shard)) throw DataError((path_ / shard.name).string() + " is damaged");
      }
    }
    return found;
  } catch (const DataError& error) {
    base::log_warning(std::string("starting over: ") + error.what());
    return std::nullopt;
  }
}

void OutputDirectory::write_partial(const Manifest& manifest) const {
  base::write_file_atomically(path_ / kPartialManifestName, to_text(manifest));
}

void OutputDirectory::write_complete(const Manifest& manifest) const {
  base::write_file_atomically(path_ / kManifestName, to_text(manifest));
  remove_file(path_ / kPartialManifestName);
}

// The manifest goes first: at no moment is there one for files that are gone.
void OutputDirectory::clear(const Manifest& kept) const {
  remove_file(path_ / kManifestName);
  std::set<std::string> names;
  for (const SplitRecord& split : kept.splits) {
    for (const ShardRecord& shard : split.shards) names.insert(shard.name);
  }
  if (!names.empty()) names.insert(kPartialManifestName);
  for (const fs::directory_entry& entry : fs::directory_iterator(path_)) {
    const std::string name = entry.path().filename().string();
    if (is_own_file(name) && !names.contains(name)) remove_file(entry.path());
  }
}

}  // namespace kangpt::data
