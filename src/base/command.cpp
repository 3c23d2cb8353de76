#include "base/command.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <regex>
#include <sstream>
#include <system_error>

namespace kangpt::base {
namespace {

namespace fs = std::filesystem;

// Of the shell's portable characters those that never mean anything.
constexpr std::string_view kPlainCharacters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%+,-./:=@_";

bool is_in_path(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access((fs::path(folder.empty() ? "." : folder) / program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace

std::string shell_quoted(std::string_view word) {
  if (!word.empty() && word.find_first_not_of(kPlainCharacters) == std::string_view::npos) return std::string(word);
  std::string quoted = "'";
  for (const char character : word) {
    if (character == '\'') {
      quoted += "'\\''";
    } else {
      quoted += character;
    }
  }
  return quoted + "'";
}

std::string shell_command(const std::vector<std::string>& words) {
  std::string command;
  for (const std::string& word : words) command += (command.empty() ? "" : " ") + shell_quoted(word);
  return command;
}

fs::path program_folder() {
  std::error_code unreadable;
  return fs::read_symlink("/proc/self/exe", unreadable).parent_path();
}

std::string with_program_folder(const std::string& message) {
  static const std::regex command("kangpt_[a-z]+(?=( [a-z]+)? --)");
  const fs::path folder = program_folder();
  for (std::sregex_iterator found(message.begin(), message.end(), command), end; found != end; ++found) {
    const std::string program = found->str();
    if (found->position() > 0 && message[static_cast<std::size_t>(found->position() - 1)] == '/') continue;
    if (is_in_path(program) || ::access((folder / program).c_str(), X_OK) != 0) continue;
    return message + "\n" + program + " is in " + folder.string() +
           "; a shell finds it after: export PATH=" + shell_quoted(folder.string()) + ":$PATH";
  }
  return message;
}

}  // namespace kangpt::base
