#include "base/shared_memory.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/error.hpp"

namespace kangpt::base {

SharedMemory::SharedMemory(UniqueFd fd, std::size_t size) : fd_(std::move(fd)), size_(size) {
  void* const address = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.value(), 0);
  if (address == MAP_FAILED) throw_io_error("cannot map", "shared memory", errno);
  data_ = static_cast<std::byte*>(address);
}

SharedMemory SharedMemory::create(const std::string& label, std::size_t size) {
  UniqueFd fd(::memfd_create(label.c_str(), MFD_CLOEXEC));
  if (!fd) throw_io_error("cannot create", "shared memory " + label, errno);
  if (::ftruncate(fd.value(), static_cast<off_t>(size)) != 0)
    throw_io_error("cannot size", "shared memory " + label, errno);
  return SharedMemory(std::move(fd), size);
}

SharedMemory SharedMemory::create_file(const std::filesystem::path& file, std::size_t size) {
  UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) throw_io_error("cannot create", file.string(), errno);
  ::flock(fd.value(), LOCK_EX | LOCK_NB);  // nobody else has it yet
  if (const int error = ::posix_fallocate(fd.value(), 0, static_cast<off_t>(size)); error != 0) {
    ::unlink(file.c_str());
    throw_io_error("no room for", file.string(), error);
  }
  return SharedMemory(std::move(fd), size);
}

SharedMemory SharedMemory::attach(UniqueFd fd) {
  struct stat status {};
  if (::fstat(fd.value(), &status) != 0) throw_io_error("cannot stat", "shared memory", errno);
  return SharedMemory(std::move(fd), static_cast<std::size_t>(status.st_size));
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace kangpt::base
