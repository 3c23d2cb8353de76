#include "launcher/record/append_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/unique_fd.hpp"

namespace kangpt::launcher {
namespace {

// 0 or an errno.
int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return 0;
}

std::string records(std::uint64_t count) {
  return std::to_string(count) + (count == 1 ? " record is" : " records are");
}

}  // namespace

AppendFile::AppendFile(std::filesystem::path path, Warn warn) : path_(std::move(path)), warn_(std::move(warn)) {}

AppendFile::~AppendFile() {
  try {
    if (write()) return;
    lost_ += waiting_.size();
    warn_(records(lost_) + " missing in " + path_.string() + ", since writing failed to the end");
  } catch (...) {  // no memory for a message
  }
}

void AppendFile::add(std::string record) {
  if (!waiting_.empty() && waiting_bytes_ + record.size() > kMostWaitingBytes) {
    ++lost_;
    return;
  }
  waiting_bytes_ += record.size();
  waiting_.push_back(std::move(record));
}

bool AppendFile::write() {
  if (waiting_.empty()) return true;
  if (const int problem = write_waiting(); problem != 0) {
    if (!std::exchange(failing_, true))
      warn_("cannot write " + path_.string() + ": " + std::generic_category().message(problem) +
            "; training goes on, and what is missing is written once that works");
    return false;
  }
  if (std::exchange(failing_, false)) say_what_is_missing();
  return true;
}

void AppendFile::forget(const std::function<bool(std::string_view)>& is_unwanted) {
  std::erase_if(waiting_, [&](const std::string& record) {
    if (!is_unwanted(record)) return false;
    waiting_bytes_ -= record.size();
    return true;
  });
}

// Network file systems may say at close() only that there is no space: then none of this call's records counts.
int AppendFile::write_waiting() {
  base::UniqueFd fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  struct stat status {};
  if (!fd || ::fstat(fd.value(), &status) != 0) return errno;
  if (torn_at_ && *torn_at_ < status.st_size) {
    if (::ftruncate(fd.value(), *torn_at_) != 0) return errno;
    status.st_size = *torn_at_;
  }
  torn_at_.reset();
  off_t end = status.st_size;
  int problem = 0;
  std::size_t done = 0;
  for (; done < waiting_.size(); ++done) {
    problem = write_all(fd.value(), waiting_[done]);
    if (problem != 0) break;
    end += static_cast<off_t>(waiting_[done].size());
  }
  if (problem != 0 && ::ftruncate(fd.value(), end) != 0) torn_at_ = end;
  if (::close(fd.release()) != 0) {
    problem = errno;
    torn_at_ = status.st_size;
    done = 0;
  }
  for (; done > 0; --done) {
    waiting_bytes_ -= waiting_.front().size();
    waiting_.pop_front();
  }
  return problem;
}

void AppendFile::say_what_is_missing() {
  warn_(path_.string() + " is written again; " +
        (lost_ == 0 ? "nothing is missing" : records(lost_) + " missing, since more than memory was kept for"));
  lost_ = 0;
}

}  // namespace kangpt::launcher
