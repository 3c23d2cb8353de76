// Event files that TensorBoard reads.
//
//   file    = record*                          of a name with "tfevents" in it
//   record  = length u64, crc(length) u32, event [length], crc(event) u32        (little-endian; TFRecord)
//   crc(x)  = rotate_right(crc32c(x), 15) + 0xa282ead8                             ("masked")
//   event   = message Event of tensorboard.proto
//
// The first event names the version "brain.Event:2". A START at step s makes a reader drop the events of an earlier
// start, or of an earlier life of the workers, from step s on: each step stands once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/record/append_file.hpp"

namespace kangpt::launcher {

namespace tensorboard {
class Event;
class Hyperparameters;
}  // namespace tensorboard

// Name and value as a configuration in text format has it: 0.001, true, COSINE, "text", [1, 2].
using NamedSettings = std::vector<std::pair<std::string, std::string>>;

// One new file a start; what a killed start left of a record at the end of its file is cut off. Not thread-safe.
class TensorboardWriter {
 public:
  // Makes `directory`. `next_step`: the first step that will be written. Throws IoError.
  TensorboardWriter(const std::filesystem::path& directory, std::uint64_t next_step,
                    AppendFile::Warn warn = base::log_warning);

  // What was written for `next_step` and later steps no longer holds.
  void restart(std::uint64_t next_step);
  void scalar(std::string_view tag, std::uint64_t step, double value);
  void text(std::string_view tag, std::uint64_t step, std::string_view markdown);
  // What a run was started with, and that it came to its end: a row of the HPARAMS tab. Of several starts readers take
  // the first.
  void hyperparameters(const NamedSettings& settings);
  void finished();
  // Hands everything to the operating system. False where some of it has to wait.
  bool flush() { return file_.write(); }

 private:
  void write_hyperparameters(std::string_view tag, const tensorboard::Hyperparameters& content);
  void write(std::uint64_t step, tensorboard::Event& event);

  AppendFile file_;
};

// As Markdown that shows exactly `text`, but for blanks at the beginning of a line.
std::string as_markdown(std::string_view text);

}  // namespace kangpt::launcher
