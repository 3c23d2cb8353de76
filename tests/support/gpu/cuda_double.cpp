// CUDA's run time, and what LibTorch makes of it, on host memory: work is done when it is queued, so streams and events
// are names alone, which the checker of streams is told.
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <malloc.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/support/gpu/device_double.hpp"
#include "tests/support/gpu/stream_checker.hpp"

namespace stream_checker = kangpt::test::stream_checker;

namespace {

constexpr int kDevices = 8;

std::atomic<std::uint64_t> host_synchronisations{0};
std::atomic<std::uint64_t> messages{0};
std::atomic<std::uint64_t> message_bytes{0};
std::atomic<std::uint64_t> collectives{0};
std::atomic<std::uint64_t> pinned_bytes{0};

// Stream 0 is the default one. The ids are the handles too.
thread_local c10::StreamId current_stream = 0;
std::atomic<c10::StreamId> next_stream{1};

std::string check_setting() {
  const char* const value = std::getenv("KANGPT_DOUBLE_CHECK_STREAMS");
  return value == nullptr ? "" : value;
}

// Planted mistakes of KANGPT_DOUBLE_CHECK_STREAMS: the wait for the default stream is that before a collective.
bool is_left_out(c10::StreamId stream) {
  static const std::string setting = check_setting();
  return (setting == "before" && stream == 0) || (setting == "after" && stream != 0);
}

void wait_for(c10::StreamId stream) {
  ++host_synchronisations;
  if (!is_left_out(stream)) stream_checker::host_waits_for(stream);
}

// Starts the checker where the environment asks for it, and says at the end what it found.
struct CheckOfThisProcess {
  CheckOfThisProcess() {
    if (!stream_checker::is_on() && !check_setting().empty()) stream_checker::start();  // which outlives this object
  }
  ~CheckOfThisProcess() {
    if (!stream_checker::is_on()) return;
    for (const std::string& race : stream_checker::races()) std::fprintf(stderr, "race: %s\n", race.c_str());
    std::fprintf(stderr, "checker of streams: %lu operations\n",
                 static_cast<unsigned long>(stream_checker::operations()));
  }
} check_of_this_process;

// A GPU of KANGPT_DOUBLE_GPU_BYTES: what LibTorch allocates counts.
class LimitedAllocator final : public c10::Allocator {
 public:
  explicit LimitedAllocator(double limit_bytes)
      : limit_bytes_(static_cast<std::size_t>(limit_bytes)), memory_(c10::GetDefaultCPUAllocator()) {}

  c10::DataPtr allocate(std::size_t bytes) override {
    if (used_bytes_ + bytes > limit_bytes_) refuse(bytes);
    c10::DataPtr memory = memory_->allocate(bytes);
    if (memory.get() == nullptr) return memory;
    used_bytes_ += ::malloc_usable_size(memory.get());
    void* const data = memory.release_context();
    return {data, data, &LimitedAllocator::give_back, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &LimitedAllocator::give_back; }
  void copy_data(void* to, const void* from, std::size_t count) const override { std::memcpy(to, from, count); }

 private:
  static void give_back(void* data) {
    used_bytes_ -= ::malloc_usable_size(data);
    c10::free_cpu(data);
  }
  // In the words of LibTorch's CUDACachingAllocator.
  [[noreturn]] void refuse(std::size_t bytes) const {
    const auto mebibytes = [](std::size_t count) {
      std::array<char, 64> text{};
      std::snprintf(text.data(), text.size(), "%.2f MiB", static_cast<double>(count) / (1 << 20));
      return std::string(text.data());
    };
    throw c10::OutOfMemoryError(
        {__func__, __FILE__, static_cast<std::uint32_t>(__LINE__)},
        "CUDA out of memory. Tried to allocate " + mebibytes(bytes) + ". GPU 0 has a total capacity of " +
            mebibytes(limit_bytes_) + " of which " + mebibytes(limit_bytes_ - used_bytes_) +
            " is free. Including non-PyTorch memory, this process has more words than anybody reads.");
  }

  std::size_t limit_bytes_;
  c10::Allocator* memory_;
  inline static std::atomic<std::size_t> used_bytes_{0};
};

void limit_memory() {
  const double bytes = kangpt::test::double_setting("KANGPT_DOUBLE_GPU_BYTES", 0);
  if (bytes <= 0) return;
  static LimitedAllocator allocator(bytes);
  c10::SetCPUAllocator(&allocator, 200);
}

c10::cuda::CUDAStream stream_of(c10::StreamId id) {
  using c10::cuda::CUDAStream;
  return CUDAStream(CUDAStream::UNCHECKED, c10::Stream(c10::Stream::UNSAFE, c10::Device(c10::kCUDA, 0), id));
}

std::int64_t id_of(cudaStream_t stream) {
  return reinterpret_cast<std::int64_t>(stream);
}

}  // namespace

namespace kangpt::test {

DeviceCounts device_counts() {
  return {host_synchronisations, messages, message_bytes, collectives, pinned_bytes};
}

void count_message(std::uint64_t bytes) {
  ++messages;
  message_bytes += bytes;
}

void count_collective() {
  ++collectives;
}

double double_setting(const char* name, double otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtod(value, nullptr);
}

}  // namespace kangpt::test

extern "C" {

cudaError_t cudaHostRegister(void* /*memory*/, size_t bytes, unsigned /*flags*/) {
  pinned_bytes += bytes;
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* /*memory*/) {
  pinned_bytes = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  ++host_synchronisations;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  static std::atomic<std::intptr_t> next{1};
  *event = reinterpret_cast<cudaEvent_t>(next++);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t /*event*/) {
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t /*from*/, cudaEvent_t /*to*/) {
  *milliseconds = 0;
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t /*event*/) {
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  stream_checker::record(event, id_of(stream));
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t /*event*/) {
  ++host_synchronisations;
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  stream_checker::stream_waits_for(id_of(stream), event);
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t error) {
  static thread_local std::string text;
  text = "CUDA error " + std::to_string(static_cast<int>(error)) + " of the double";
  return text.c_str();
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}

}  // extern "C"

namespace c10::cuda {

namespace CUDACachingAllocator {
std::atomic<CUDAAllocator*> allocator{nullptr};
}  // namespace CUDACachingAllocator

void set_device(DeviceIndex /*device*/, bool /*force*/) {}
DeviceIndex device_count() noexcept {
  return kDevices;
}
DeviceIndex ExchangeDevice(DeviceIndex /*device*/) {
  return 0;
}
DeviceIndex MaybeExchangeDevice(DeviceIndex /*device*/) {
  return 0;
}
cudaError_t GetDeviceCount(int* count) {
  const auto error = static_cast<cudaError_t>(kangpt::test::double_setting("KANGPT_DOUBLE_GPU_ERROR", cudaSuccess));
  *count = error == cudaSuccess ? kDevices : 0;
  limit_memory();
  return error;
}
cudaError_t MaybeSetDevice(DeviceIndex /*device*/) {
  return cudaSuccess;
}
cudaError_t GetDevice(DeviceIndex* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t SetDevice(DeviceIndex /*device*/, bool /*force*/) {
  return cudaSuccess;
}
CUDAStream getStreamFromPool(bool /*is_high_priority*/, DeviceIndex /*device*/) {
  return stream_of(next_stream++);
}
CUDAStream getStreamFromPool(int /*priority*/, DeviceIndex /*device*/) {
  return stream_of(next_stream++);
}
CUDAStream getCurrentCUDAStream(DeviceIndex /*device*/) {
  return stream_of(current_stream);
}
CUDAStream getDefaultCUDAStream(DeviceIndex /*device*/) {
  return stream_of(0);
}
void setCurrentCUDAStream(CUDAStream stream) {
  current_stream = stream.id();
}
void CUDAStream::synchronize() const {
  wait_for(id());
}
bool CUDAStream::query() const {
  return true;
}
cudaStream_t CUDAStream::stream() const {
  return reinterpret_cast<cudaStream_t>(stream_.id());
}
void c10_cuda_check_implementation(std::int32_t /*error*/, const char* /*file*/, const char* /*function*/,
                                   std::uint32_t /*line*/, bool /*has_synchronous_error*/) {}

}  // namespace c10::cuda
