// Messages of a program on standard error, one line each: "12:03:04 warning kangpt_dist[rank 1]: text".
#pragma once

#include <string>

namespace kangpt::base {

// Call once, first thing in main. `who` is "kangpt_dist" or "kangpt_dist[rank 1]"; calling again renames.
void start_log(const std::string& who);

void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

}  // namespace kangpt::base
