// Messages of a program on standard error, one line each: "12:03:04 warning kangpt_dist[rank 1]: text"; and below them,
// on a terminal, a line that is drawn again in its place.
#pragma once

#include <functional>
#include <string>

#include "base/terminal.hpp"

namespace kangpt::base {

// Call once, first thing in main. `who` is "kangpt_dist" or "kangpt_dist[rank 1]"; calling again renames.
void start_log(const std::string& who);

// A message may go on in further lines. From any thread.
void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

// What the lines of a message may be made of, as things are now.
LineStyle log_style();

// The line below all messages; `text` is asked for it whenever it is drawn, and takes no more than style.columns. False
// where nothing can be drawn: before start_log(), or where messages go to no terminal, or to one that can't.
using StatusText = std::function<std::string(const LineStyle& style)>;
bool show_status(StatusText text);
void redraw_status();
void end_status();

}  // namespace kangpt::base
