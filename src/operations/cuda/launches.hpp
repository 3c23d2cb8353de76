// What kernels say of their launches: for tests that count what a step asks of a GPU, or look for races.
#pragma once

#include <cstdint>

namespace kangpt::operations::cuda {

using Stream = void*;  // cudaStream_t

// Memory that a kernel reads, writes, or both.
struct MemoryUse {
  const void* begin = nullptr;
  std::int64_t bytes = 0;       // from there on, within which lies all that it touches
  std::int64_t read_bytes = 0;  // each once, however often it reads them
  std::int64_t written_bytes = 0;

  // All of it lies in the `count` elements from the beginning on, of which the kernel touches a part.
  template <class T>
  MemoryUse among(std::int64_t count) const {
    MemoryUse other = *this;
    other.bytes = count * static_cast<std::int64_t>(sizeof(T));
    return other;
  }
};

template <class T>
MemoryUse reads(const T* begin, std::int64_t count) {
  const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(T));
  return {begin, bytes, bytes, 0};
}
template <class T>
MemoryUse writes(const T* begin, std::int64_t count) {
  const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(T));
  return {begin, bytes, 0, bytes};
}
template <class T>
MemoryUse updates(const T* begin, std::int64_t count) {
  const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(T));
  return {begin, bytes, bytes, bytes};
}

struct Work {
  const char* name;
  MemoryUse memory[32] = {};  // those without bytes are none
  double flops = 0;           // of matrix products
};

// Told of each launch before it is made; says whether to make it: whoever only counts has no need for the results.
using LaunchWatcher = bool (*)(const Work& work, Stream stream);
// From now on, in this process; null: nobody. Returns the one before.
LaunchWatcher watch_launches(LaunchWatcher watcher);
// Whether to go on.
bool begin_launch(const Work& work, Stream stream);

}  // namespace kangpt::operations::cuda
