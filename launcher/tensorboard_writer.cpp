#include "launcher/tensorboard_writer.hpp"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <span>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"

namespace kangpt::launcher {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint32_t kCrcOffset = 0xa282ead8U;

// Wire types of protobuf.
enum class Wire : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

template <typename T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(0x80U | (value & 0x7FU));
  return bytes += static_cast<char>(value);
}

std::string key(unsigned field, Wire wire) {
  return varint(field << 3 | static_cast<unsigned>(wire));
}

std::string bytes_field(unsigned field, std::string_view content) {
  return key(field, Wire::kBytes) + varint(content.size()) + std::string(content);
}

std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(base::crc32c(std::as_bytes(std::span(bytes))), 15) + kCrcOffset;
}

std::string record(std::string_view event) {
  const std::string length = bytes_of<std::uint64_t>(event.size());
  return length + bytes_of(masked_crc(length)) + std::string(event) + bytes_of(masked_crc(event));
}

// TensorBoard reads the files of a folder in the order of their names: time first, to the microsecond.
std::string file_name() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const long long microseconds = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  std::array<char, 64> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host = {"host"};
  std::array<char, 160> name{};
  std::snprintf(name.data(), name.size(), "events.out.tfevents.%010lld.%06lld.%s.%d", microseconds / 1000000,
                microseconds % 1000000, host.data(), static_cast<int>(::getpid()));
  return name.data();
}

}  // namespace

TensorboardWriter::TensorboardWriter(const std::filesystem::path& directory, std::uint64_t next_step) {
  base::make_directories(directory);
  const std::filesystem::path path = directory / file_name();
  file_.open(path, std::ios::binary);
  if (!file_) throw_io_error("cannot create", path.string(), errno);
  write_event(0, bytes_field(3, "brain.Event:2"));
  restart(next_step);
}

void TensorboardWriter::restart(std::uint64_t next_step) {
  write_event(next_step, bytes_field(7, key(1, Wire::kVarint) + varint(1)));
}

void TensorboardWriter::scalar(std::string_view tag, std::uint64_t step, double value) {
  const std::string entry = bytes_field(1, tag) + key(2, Wire::kFixed32) + bytes_of(static_cast<float>(value));
  write_event(step, bytes_field(5, bytes_field(1, entry)));
}

void TensorboardWriter::write_event(std::uint64_t step, std::string_view content) {
  const double wall_time = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  file_ << record(key(1, Wire::kFixed64) + bytes_of(wall_time) + key(2, Wire::kVarint) + varint(step) +
                  std::string(content));
}

bool TensorboardWriter::flush() {
  return static_cast<bool>(file_.flush());
}

}  // namespace kangpt::launcher
