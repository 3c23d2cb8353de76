// Files that grow by whole records, on disks that may be full for a while.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/log.hpp"

namespace kangpt::launcher {

// Appends whole records: what a failed write left of one is cut off again, and records that could not be written wait
// in memory until it works. Says when writing begins to fail, when it works again, and how many records are missing
// then. Opens the file for each write, so that one that somebody deleted comes back. Not thread-safe.
class AppendFile {
 public:
  using Warn = std::function<void(const std::string&)>;
  static constexpr std::size_t kMostWaitingBytes = std::size_t{4} << 20;  // past these, new records are lost

  explicit AppendFile(std::filesystem::path path, Warn warn = base::log_warning);
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;
  // Tries a last time, and says what stays unwritten.
  ~AppendFile();

  // The record waits for the next write().
  void add(std::string record);
  // Hands all that waits to the operating system. False where something still waits.
  bool write();
  // Takes those that wait and are not wanted any more out of the queue.
  void forget(const std::function<bool(std::string_view)>& is_unwanted);

 private:
  int write_waiting();  // 0 or an errno
  void say_what_is_missing();

  std::filesystem::path path_;
  Warn warn_;
  std::deque<std::string> waiting_;
  std::size_t waiting_bytes_ = 0;
  std::uint64_t lost_ = 0;        // records
  std::optional<off_t> torn_at_;  // what lies behind this has still to be cut off
  bool failing_ = false;
};

}  // namespace kangpt::launcher
