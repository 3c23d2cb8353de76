#include "base/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "base/command.hpp"
#include "base/format.hpp"

namespace kangpt::base {

void start_log(const std::string& who) {
  const auto mode = is_fancy_terminal(STDERR_FILENO) ? spdlog::color_mode::automatic : spdlog::color_mode::never;
  auto logger = std::make_shared<spdlog::logger>(who, std::make_shared<spdlog::sinks::stderr_color_sink_mt>(mode));
  logger->set_pattern("%H:%M:%S %^%l%$ %n: %v");
  logger->flush_on(spdlog::level::info);
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

}  // namespace kangpt::base
