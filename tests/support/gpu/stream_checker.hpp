// Finds accesses to device memory that no synchronisation orders, though the values may be right by chance.
//
// Every operator of LibTorch (by RecordFunction), every own kernel (by what its launch says) and every call of the
// doubles is an access of the stream that is current. Work of one stream is in order; events, and waits of the host,
// order streams. Two accesses of which one writes, and of which neither happens before the other, are a race (Lamport,
// 1978; vector clocks).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kangpt::test {

enum class Access { kRead, kWrite };

// The checker of this process. Thread-safe. Off, it costs nothing.
namespace stream_checker {

void start();
bool is_on();
// Each kind of race once, in words.
std::vector<std::string> races();
std::uint64_t operations();
// Forgets all accesses and orders.
void reset();

// Told by the doubles.
void host_waits_for(std::int64_t stream);
void record(const void* event, std::int64_t stream);
void stream_waits_for(std::int64_t stream, const void* event);
struct MemoryAccess {
  const void* begin = nullptr;
  std::size_t bytes = 0;
  Access access = Access::kRead;
};
void operation(std::int64_t stream, const std::string& name, const std::vector<MemoryAccess>& accesses);

}  // namespace stream_checker
}  // namespace kangpt::test
