#include "launcher/record/tensorboard_writer.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"

namespace kangpt::launcher {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint32_t kCrcOffset = 0xa282ead8U;
constexpr const char* kFilePrefix = "events.out.tfevents.";

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
  std::snprintf(name.data(), name.size(), "%s%010lld.%06lld.%s.%d", kFilePrefix, microseconds / 1000000,
                microseconds % 1000000, host.data(), static_cast<int>(::getpid()));
  return name.data();
}

// The length of the whole records at the beginning of `file`.
std::size_t whole_records(std::string_view file) {
  constexpr std::size_t kFrameBytes = 16;  // length and two CRCs
  std::size_t end = 0;
  while (file.size() - end >= kFrameBytes) {
    std::uint64_t length = 0;
    std::memcpy(&length, file.data() + end, sizeof length);
    if (length > file.size() - end - kFrameBytes) break;
    end += kFrameBytes + length;
  }
  return end;
}

// Only the file of the last start can be torn: the one before was looked at by that start.
void repair_newest_file(const std::filesystem::path& directory) {
  std::filesystem::path newest;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const bool is_events = entry.path().filename().string().starts_with(kFilePrefix) && entry.is_regular_file();
    if (is_events) newest = std::max(newest, entry.path());
  }
  if (newest.empty()) return;
  const std::string content = base::read_file(newest);
  const std::size_t whole = whole_records(content);
  if (whole < content.size()) std::filesystem::resize_file(newest, whole);
}

// The path of this start's file.
std::filesystem::path prepare(const std::filesystem::path& directory) {
  base::make_directories(directory);
  try {
    repair_newest_file(directory);
  } catch (const std::filesystem::filesystem_error& error) {
    throw_io_error("cannot repair the event files in", directory.string(), error.code().value());
  }
  return directory / file_name();
}

}  // namespace

TensorboardWriter::TensorboardWriter(const std::filesystem::path& directory, std::uint64_t next_step,
                                     AppendFile::Warn warn)
    : file_(prepare(directory), std::move(warn)) {
  write_event(0, bytes_field(3, "brain.Event:2"));
  restart(next_step);
  flush();
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
  file_.add(record(key(1, Wire::kFixed64) + bytes_of(wall_time) + key(2, Wire::kVarint) + varint(step) +
                   std::string(content)));
}

}  // namespace kangpt::launcher
