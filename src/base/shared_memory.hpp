// Anonymous shared memory (memfd) that two processes map.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/unique_fd.hpp"

namespace kangpt::base {

// Owns a memfd and its mapping in this process. The memory is zero at first, is private to the user, has no name in any
// file system, and goes away with the last process that holds it. Move-only.
class SharedMemory {
 public:
  SharedMemory() = default;
  // Creates `size` bytes. Throws IoError (out of memory).
  static SharedMemory create(const std::string& label, std::size_t size);
  // Maps a descriptor that another process created; its size is asked from the kernel. Takes ownership of `fd`.
  static SharedMemory attach(UniqueFd fd);
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
  int fd() const noexcept { return fd_.value(); }

 private:
  SharedMemory(UniqueFd fd, std::size_t size);
  UniqueFd fd_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kangpt::base
