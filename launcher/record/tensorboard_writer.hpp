// Event files that TensorBoard reads.
//
//   file    = record*                          of a name with "tfevents" in it
//   record  = length u64, crc(length) u32, event [length], crc(event) u32        (little-endian; TFRecord)
//   crc(x)  = rotate_right(crc32c(x), 15) + 0xa282ead8                             ("masked")
//   event   = protobuf message tensorflow.Event: 1 wall_time double, 2 step int64, 3 file_version string,
//             5 summary, 7 session_log; summary: 1 value*; value: 1 tag string, 2 simple_value float;
//             session_log: 1 status (1 = START)
//
// The first event names the version "brain.Event:2". A START at step s makes a reader drop the events of an earlier
// start, or of an earlier life of the workers, from step s on: each step stands once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "launcher/record/append_file.hpp"

namespace kangpt::launcher {

// One new file a start; what a killed start left of a record at the end of its file is cut off. Not thread-safe.
class TensorboardWriter {
 public:
  // Makes `directory`. `next_step`: the first step that will be written. Throws IoError.
  TensorboardWriter(const std::filesystem::path& directory, std::uint64_t next_step,
                    AppendFile::Warn warn = base::log_warning);

  // What was written for `next_step` and later steps no longer holds.
  void restart(std::uint64_t next_step);
  void scalar(std::string_view tag, std::uint64_t step, double value);
  // Hands everything to the operating system. False where some of it has to wait.
  bool flush() { return file_.write(); }

 private:
  void write_event(std::uint64_t step, std::string_view content);

  AppendFile file_;
};

}  // namespace kangpt::launcher
