#include "base/terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include "base/launched_rank.hpp"

namespace kangpt::base {
namespace {

namespace fs = std::filesystem;

constexpr int kDefaultColumns = 80;
constexpr int kMostWaitingBytes = 4096;
// mpirun of Open MPI up to 4: others may hold lines back until their end.
constexpr const char* kForwarder = "orterun";

std::string_view variable(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool is_on(const char* name) {
  const std::string_view value = variable(name);
  return !value.empty() && value != "0" && value != "false";
}

bool is_off(const char* name) {
  return !variable(name).empty() && !is_on(name);
}

pid_t parent_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t name_end = text.rfind(") ");  // "1 (name) S 0 ...", and the name may hold anything
  return name_end == std::string::npos ? 0 : std::atoi(text.c_str() + std::min(name_end + 4, text.size()));
}

// The mpirun that started this process, itself or through a shell, an agent and the like; 0: none.
pid_t find_forwarder() {
  const auto launched = launched_rank();
  if (!launched || !launched->is_open_mpi) return 0;
  for (pid_t process = ::getppid(); process > 1; process = parent_of(process)) {
    std::error_code unreadable;
    const fs::path program = fs::read_symlink("/proc/" + std::to_string(process) + "/exe", unreadable);
    if (!unreadable && program.filename() == kForwarder) return process;
  }
  return 0;
}

// Does `process` have the other end of this process's standard error?
bool reads_standard_error(const fs::path& process) {
  std::error_code error;
  const fs::path pipe = fs::read_symlink("/proc/self/fd/2", error);
  if (error || !pipe.native().starts_with("pipe:")) return false;
  for (fs::directory_iterator entry(process / "fd", error), end; !error && entry != end; entry.increment(error)) {
    std::error_code gone;
    if (fs::read_symlink(entry->path(), gone) == pipe) return true;
  }
  return false;
}

// Invalid where mpirun has none, or does more with standard error than to pass it on.
UniqueFd open_terminal_of_mpirun() {
  constexpr std::array kEdited = {"OMPI_MCA_orte_tag_output", "OMPI_MCA_orte_timestamp_output",
                                  "OMPI_MCA_orte_xml_output", "OMPI_MCA_orte_output_filename"};
  if (std::ranges::any_of(kEdited, is_on)) return {};
  const pid_t forwarder = find_forwarder();
  const fs::path process = "/proc/" + std::to_string(forwarder);
  if (forwarder == 0 || !reads_standard_error(process)) return {};
  const fs::path terminal = process / "fd/2";
  struct stat status {};
  if (::stat(terminal.c_str(), &status) != 0 || !S_ISCHR(status.st_mode)) return {};
  return UniqueFd(::open(terminal.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
}

}  // namespace

TerminalUse terminal_use(Destination destination) {
  const bool is_plain = destination == Destination::kElsewhere || variable("TERM") == "dumb" || is_on("CI");
  const bool is_forced = is_on("FORCE_COLOR") || is_on("CLICOLOR_FORCE");
  const bool is_forbidden =
      !variable("NO_COLOR").empty() || is_off("FORCE_COLOR") || (is_off("CLICOLOR") && !is_forced);
  return {.colours = !is_forbidden && (is_forced || !is_plain), .redraws = !is_plain};
}

bool is_utf8_locale() {
  for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value(variable(name));
    if (value.empty()) continue;
    std::ranges::transform(value, value.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

Terminal Terminal::of_standard_error() {
  Terminal terminal;
  if (::isatty(STDERR_FILENO) == 1) {
    terminal.fd_.reset(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  } else if (UniqueFd fd = open_terminal_of_mpirun(); fd && ::isatty(fd.value()) == 1) {
    terminal.fd_ = std::move(fd);
    terminal.is_shared_ = true;
  }
  terminal.use_ = terminal_use(terminal.fd_ ? Destination::kTerminal : Destination::kElsewhere);
  return terminal;
}

LineStyle Terminal::line_style() const {
  winsize size{};
  const bool is_known = fd_ && ::ioctl(fd_.value(), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return {.columns = is_known ? size.ws_col : kDefaultColumns, .colours = use_.colours, .utf8 = is_utf8_locale()};
}

bool Terminal::keeps_up() const {
  int waiting_bytes = 0;
  if (is_shared_) return ::ioctl(STDERR_FILENO, FIONREAD, &waiting_bytes) != 0 || waiting_bytes < kMostWaitingBytes;
  pollfd writable{STDERR_FILENO, POLLOUT, 0};
  return ::poll(&writable, 1, 0) != 0;
}

}  // namespace kangpt::base
