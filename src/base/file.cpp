#include "base/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/unique_fd.hpp"

namespace kangpt::base {
namespace {

UniqueFd open_for_reading(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // does not wait for the writer of a pipe
  if (fd) return fd;
  if (errno == ENOENT || errno == ENOTDIR) throw MissingInputError("cannot open " + path.string() + ": no such file");
  throw_io_error("cannot open", path.string(), errno);
}

std::size_t size_of_regular_file(const UniqueFd& fd, const fs::path& path) {
  struct stat status {};
  if (::fstat(fd.value(), &status) != 0) throw_io_error("cannot stat", path.string(), errno);
  if (!S_ISREG(status.st_mode)) throw IoError("cannot read " + path.string() + ": it is not a regular file");
  return static_cast<std::size_t>(status.st_size);
}

}  // namespace

std::string read_file(const fs::path& path) {
  const UniqueFd fd = open_for_reading(path);
  std::string content(size_of_regular_file(fd, path), '\0');
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t count = ::read(fd.value(), content.data() + done, content.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_io_error("cannot read", path.string(), errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  content.resize(done);
  return content;
}

void read_in_pieces(const fs::path& path, const std::function<void(std::span<const std::byte>)>& use) {
  const UniqueFd fd = open_for_reading(path);
  size_of_regular_file(fd, path);
  std::vector<std::byte> buffer(std::size_t{1} << 18);
  while (true) {
    const ssize_t count = ::read(fd.value(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_io_error("cannot read", path.string(), errno);
    if (count == 0) return;
    use(std::span(buffer).first(static_cast<std::size_t>(count)));
  }
}

AtomicFileWriter::AtomicFileWriter(fs::path path) : path_(std::move(path)), temporary_(path_.string() + ".tmp") {
  fd_.reset(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd_) throw_io_error("cannot create", temporary_.string(), errno);
}

AtomicFileWriter::~AtomicFileWriter() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFileWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_.value(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_io_error("cannot write", temporary_.string(), errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFileWriter::commit() {
  if (::fsync(fd_.value()) != 0) throw_io_error("cannot sync", temporary_.string(), errno);
  fd_.reset();
  rename_durably(temporary_, path_);
  temporary_.clear();
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  AtomicFileWriter writer(path);
  writer.write(content);
  writer.commit();
}

void sync_path(const fs::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw_io_error("cannot open", path.string(), errno);
  if (::fsync(fd.value()) != 0) throw_io_error("cannot sync", path.string(), errno);
}

void rename_durably(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    throw_io_error("cannot rename " + from.string() + " to", to.string(), errno);
  sync_path(to.has_parent_path() ? to.parent_path() : fs::path("."));
}

void make_directories(const fs::path& path) {
  std::error_code error;
  std::vector<fs::path> parents;  // of what is missing
  for (fs::path missing = fs::absolute(path); !fs::exists(missing, error) && missing.has_relative_path();) {
    missing = missing.parent_path();
    parents.push_back(missing);
  }
  fs::create_directories(path, error);
  if (error) throw_io_error("cannot create directory", path.string(), error.value());
  for (const fs::path& parent : parents) sync_path(parent);
}

MappedFile::MappedFile(const fs::path& path) {
  const UniqueFd fd = open_for_reading(path);
  size_ = size_of_regular_file(fd, path);
  if (size_ == 0) return;
  void* const address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd.value(), 0);
  if (address == MAP_FAILED) throw_io_error("cannot map", path.string(), errno);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

// In pieces: of a longer one Linux reads no more than the readahead of the disk.
void MappedFile::read_ahead(std::span<const std::byte> part) const noexcept {
  constexpr std::size_t kPieceBytes = std::size_t{128} << 10;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto first = static_cast<std::size_t>(part.data() - data_);
  const std::size_t end = first + part.size();
  for (std::size_t begin = first / page * page; begin < end; begin += kPieceBytes)
    ::madvise(const_cast<std::byte*>(data_) + begin, std::min(kPieceBytes, end - begin), MADV_WILLNEED);
}

void MappedFile::unload() const noexcept {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace kangpt::base
