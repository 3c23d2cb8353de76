#include "data_pipeline/text/byte_source.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.hpp"
#include "data_pipeline/text/record_format.hpp"

namespace kangpt::data {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{256} << 10;

base::UniqueFd open_source(const std::string& path) {
  if (path == "-") return base::UniqueFd(::dup(STDIN_FILENO));
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) throw MissingInputError("input " + path + " does not exist");
  if (!fd) throw_io_error("cannot open input", path, errno);
  return fd;
}

}  // namespace

ByteSource::ByteSource(const std::string& path)
    : name_(path == "-" ? "(standard input)" : path), fd_(open_source(path)) {}

std::size_t ByteSource::read_raw(std::span<char> bytes) {
  while (true) {
    const ssize_t count = ::read(fd_.value(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_io_error("cannot read input", name_, errno);
    const auto size = static_cast<std::size_t>(count);
    digest_.update(std::string_view(bytes.data(), size));
    bytes_read_ += size;
    return size;
  }
}

bool ByteSource::refill() {
  buffer_.resize(kBufferBytes);
  const std::size_t count = read_raw(buffer_);
  raw_ = std::span<const char>(buffer_).first(count);
  return count > 0;
}

void ByteSource::start() {
  if (started_) return;
  started_ = true;
  refill();
  decompressor_ = make_decompressor({raw_.data(), raw_.size()}, name_);
  if (is_compressed_name(name_) && !decompressor_ && !raw_.empty())
    throw DataError("input " + name_ + " is not compressed, although its name says so: it is damaged or misnamed");
}

std::size_t ByteSource::read(std::span<char> bytes) {
  start();
  std::size_t done = 0;
  while (done < bytes.size()) {
    const std::size_t count = decompressor_ ? read_compressed(bytes.subspan(done)) : read_plain(bytes.subspan(done));
    if (count == 0) break;
    done += count;
  }
  return done;
}

std::size_t ByteSource::read_plain(std::span<char> bytes) {
  if (raw_.empty()) return read_raw(bytes);
  const std::size_t count = std::min(raw_.size(), bytes.size());
  std::copy_n(raw_.begin(), count, bytes.begin());
  raw_ = raw_.subspan(count);
  return count;
}

std::size_t ByteSource::read_compressed(std::span<char> bytes) {
  while (true) {
    const bool at_end = raw_.empty() && !refill();
    const Decompressor::Progress progress = decompressor_->run(raw_, bytes);
    raw_ = raw_.subspan(progress.consumed);
    if (progress.produced > 0) return progress.produced;
    if (!at_end) continue;
    if (decompressor_->may_end()) return 0;
    throw DataError("input " + name_ + " ends in the middle of its compressed data: it is cut off");
  }
}

}  // namespace kangpt::data
