#include "io/state_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>

#include "base/error.hpp"
#include "io/content_digest.hpp"
#include "io/hdf5_file.hpp"

namespace kangpt::io {
namespace {

base::UniqueFd open_file(const fs::path& path) {
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd) return fd;
  if (errno == ENOENT) throw CheckpointError(path.string() + ": the file is missing");
  if (errno == ELOOP) throw CheckpointError(path.string() + ": the file is a symbolic link");
  throw_io_error("cannot open", path.string(), errno);
}

void check_size(const base::UniqueFd& fd, const fs::path& path, std::uint64_t expected_bytes) {
  struct stat status {};
  if (::fstat(fd.value(), &status) != 0) throw_io_error("cannot stat", path.string(), errno);
  const auto size_bytes = static_cast<std::uint64_t>(status.st_size);
  if (!S_ISREG(status.st_mode)) throw CheckpointError(path.string() + ": not a regular file");
  if (size_bytes != expected_bytes) {
    throw CheckpointError(path.string() + ": has " + std::to_string(size_bytes) + " bytes, the manifest says " +
                          std::to_string(expected_bytes));
  }
}

void check_content(const base::UniqueFd& fd, const fs::path& path, const FileDigest& expected) {
  const ContentDigest found = digest_content(fd, path);
  if (found == ContentDigest{expected.size_bytes, expected.xxh3, expected.sha256}) return;
  throw CheckpointError(path.string() + ": the content was changed (SHA-256 " + found.sha256 + ", the manifest says " +
                        expected.sha256 + ")");
}

void write_arrays(const fs::path& path, std::uint64_t step, const FlatRange& range) {
  Hdf5File file = Hdf5File::create(path);
  file.write_attribute("step", step);
  file.write_attribute("begin", range.begin);
  file.write_attribute("end", range.begin + range.parameters.size());
  const std::array<std::span<const float>, kStateArrays.size()> arrays = {range.parameters, range.first_moment,
                                                                          range.second_moment, range.average};
  const std::size_t count = range.average.empty() ? kAverageArray : kStateArrays.size();
  for (std::size_t array = 0; array < count; ++array)
    file.create_dataset(kStateArrays[array], ElementType::kF32, range.parameters.size());
  for (std::size_t array = 0; array < count; ++array) file.write(kStateArrays[array], 0, arrays[array]);
  file.close();
}

}  // namespace

std::string state_file_name(std::uint64_t rank, std::uint64_t world_size) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "state-%02llu-of-%02llu.h5", static_cast<unsigned long long>(rank),
                static_cast<unsigned long long>(world_size));
  return name.data();
}

FileDigest write_range(const fs::path& folder, RangeWriter writer, std::uint64_t step, const FlatRange& range) {
  const std::uint64_t size = range.parameters.size();
  const bool is_averaged = !range.average.empty();
  if (range.first_moment.size() != size || range.second_moment.size() != size ||
      (is_averaged && range.average.size() != size)) {
    throw InternalError("the arrays of a checkpoint range differ in size");
  }
  const std::string name =
      state_file_name(static_cast<std::uint64_t>(writer.rank), static_cast<std::uint64_t>(writer.world_size));
  const fs::path path = folder / name;
  try {
    write_arrays(path, step, range);
    const ContentDigest content = digest_content(open_file(path), path);
    return {name, content.size_bytes, range.begin, range.begin + size, content.xxh3, content.sha256};
  } catch (const Error& error) {
    ::unlink(path.c_str());
    throw IoError(std::string(error.what()) + "; checkpoints written before are untouched");
  }
}

StateFile::StateFile(const fs::path& folder, const FileDigest& expected, std::uint64_t step)
    : path_(folder / expected.name), fd_(open_file(path_)), begin_(expected.begin), end_(expected.end) {
  check_size(fd_, path_, expected.size_bytes);
  check_content(fd_, path_, expected);
  try {
    locate_arrays(step);
  } catch (const DataError& error) {
    throw CheckpointError(error.what());
  }
}

void StateFile::locate_arrays(std::uint64_t step) {
  const Hdf5File file = Hdf5File::open(path_);
  if (file.integer_attribute("step") != step || file.integer_attribute("begin") != begin_ ||
      file.integer_attribute("end") != end_) {
    throw CheckpointError(path_.string() + ": belongs to another step or range than its manifest");
  }
  for (std::size_t array = 0; array < kStateArrays.size(); ++array) {
    if (array == kAverageArray && !file.has_dataset(kStateArrays[array])) continue;
    const DatasetInfo info = file.dataset(kStateArrays[array]);
    const bool in_one_piece = info.file_offset.has_value() || end_ == begin_;
    if (info.type != ElementType::kF32 || info.size != end_ - begin_ || !in_one_piece) {
      throw CheckpointError(path_.string() + ": /" + kStateArrays[array] + " is not " + std::to_string(end_ - begin_) +
                            " contiguous fp32 values");
    }
    offsets_bytes_[array] = info.file_offset.value_or(0);
  }
}

void StateFile::read(std::size_t array, std::uint64_t first, std::span<float> values) const {
  if (offsets_bytes_[array] == 0 && !values.empty())
    throw CheckpointError(path_.string() + ": /" + kStateArrays[array] + " is missing");
  std::span<std::byte> target = std::as_writable_bytes(values);
  std::uint64_t position = offsets_bytes_[array] + (first - begin_) * sizeof(float);
  while (!target.empty()) {
    const ssize_t count = ::pread(fd_.value(), target.data(), target.size(), static_cast<off_t>(position));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_io_error("cannot read", path_.string(), errno);
    if (count == 0) throw CheckpointError(path_.string() + ": the file was cut off while it was read");
    target = target.subspan(static_cast<std::size_t>(count));
    position += static_cast<std::uint64_t>(count);
  }
}

}  // namespace kangpt::io
