// Shared memory that two processes map: anonymous (memfd), or a file of a memory file system.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "base/unique_fd.hpp"

namespace kangpt::base {

// Owns a descriptor and its mapping in this process. The memory is zero at first and private to the user. Made by
// create(), it has no name in any file system and goes away with the last process that holds it; made by create_file(),
// it outlives all of them until somebody deletes the file. Move-only.
class SharedMemory {
 public:
  SharedMemory() = default;
  // Creates `size` bytes. Throws IoError (out of memory).
  static SharedMemory create(const std::string& label, std::size_t size);
  // Creates `file` with `size` bytes, all of them taken from the file system at once, so that no later write ends in
  // SIGBUS; locked (flock) as long as a process holds it. Throws IoError: no room, no such folder, it exists.
  static SharedMemory create_file(const std::filesystem::path& file, std::size_t size);
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
