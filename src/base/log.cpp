#include "base/log.hpp"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <string_view>
#include <utility>

#include "base/command.hpp"
#include "base/text_columns.hpp"

namespace kangpt::base {
namespace {

// Whole at once, so that what other processes write to the same terminal does not come in between.
void write_to_standard_error(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(STDERR_FILENO, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;  // whom could it be told?
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

std::string blanks(int count) {
  return std::string(static_cast<std::size_t>(std::max(count, 0)), ' ');
}

// What text from elsewhere holds of control characters would move the cursor: "\\x1b" instead.
std::string harmless(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool is_control = (static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\t') || c == '\x7f';
    result += is_control ? fmt::format("\\x{:02x}", static_cast<unsigned char>(c)) : std::string(1, c);
  }
  return result;
}

std::string_view colour_of(spdlog::level::level_enum level) {
  if (level >= spdlog::level::err) return "1;31m";
  return level == spdlog::level::warn ? "1;33m" : "32m";
}

// Standard error: messages, and the status line below them.
//
// The status line is filled with blanks up to the last column. There a terminal keeps its cursor until the next
// character, which goes to a line of its own: so nothing is ever glued to it, neither what another program says, such
// as mpirun, nor the shell's prompt after a SIGKILL. What is written here goes back to its beginning first.
class TerminalSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  bool show(StatusText status) {
    const std::lock_guard lock(mutex_);
    if (!terminal_.use().redraws) return false;
    status_ = std::move(status);
    if (terminal_.keeps_up()) write_to_standard_error(drawn_status());
    return true;
  }
  void redraw() {
    const std::lock_guard lock(mutex_);
    if (status_ && terminal_.keeps_up()) write_to_standard_error(drawn_status());
  }
  void end() {
    const std::lock_guard lock(mutex_);
    if (status_) write_to_standard_error(erase());
    status_ = nullptr;
  }
  LineStyle style() const { return terminal_.line_style(); }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    const std::string_view text(line.data(), line.size());
    const auto begin = message.color_range_start, end = message.color_range_end;
    // A line of another rank may be there as well.
    std::string all = status_ || (terminal_.is_shared() && terminal_.use().redraws) ? erase() : "";
    all += text.substr(0, begin);
    all += coloured(text.substr(begin, end - begin), colour_of(message.level), terminal_.line_style());
    all += harmless(text.substr(end));
    write_to_standard_error(all + (status_ ? drawn_status() : ""));
  }
  void flush_() override {}

 private:
  std::string drawn_status() const {
    const LineStyle style = terminal_.line_style();
    const std::string text = status_(style);
    return "\r" + text + blanks(style.columns - columns_of(text));
  }
  std::string erase() const {
    const LineStyle style = terminal_.line_style();
    return style.colours ? "\r\x1b[K" : "\r" + blanks(style.columns) + "\r";
  }

  Terminal terminal_ = Terminal::of_standard_error();
  StatusText status_;
};

// nullptr before start_log().
TerminalSink* sink() {
  const spdlog::logger* const logger = spdlog::default_logger_raw();
  return logger == nullptr || logger->sinks().empty() ? nullptr
                                                      : dynamic_cast<TerminalSink*>(logger->sinks().front().get());
}

}  // namespace

void start_log(const std::string& who) {
  auto logger = std::make_shared<spdlog::logger>(who, std::make_shared<TerminalSink>());
  logger->set_pattern("%H:%M:%S %^%l%$ %n: %v");
  spdlog::set_default_logger(std::move(logger));
}

void log_info(const std::string& message) {
  spdlog::info("{}", with_program_folder(message));
}
void log_warning(const std::string& message) {
  spdlog::warn("{}", with_program_folder(message));
}
void log_error(const std::string& message) {
  spdlog::error("{}", with_program_folder(message));
}

LineStyle log_style() {
  const TerminalSink* const to = sink();
  return to == nullptr ? LineStyle{.utf8 = is_utf8_locale()} : to->style();
}

bool show_status(StatusText text) {
  TerminalSink* const to = sink();
  return to != nullptr && to->show(std::move(text));
}

void redraw_status() {
  if (TerminalSink* const to = sink()) to->redraw();
}

void end_status() {
  if (TerminalSink* const to = sink()) to->end();
}

}  // namespace kangpt::base
