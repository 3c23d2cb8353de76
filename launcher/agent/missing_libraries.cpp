#include "launcher/agent/missing_libraries.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <sstream>
#include <vector>

#include "base/command.hpp"
#include "base/format.hpp"

namespace kangpt::launcher {
namespace {

constexpr std::string_view kMissing = "not found";
constexpr std::string_view kSearchPath = "search path=";

// LD_TRACE_LOADED_OBJECTS: "libc10.so => not found", and lines about versions; LD_DEBUG: the folders it looks into.
std::string loader_trace(const std::filesystem::path& program) {
  const std::string command =
      "LD_DEBUG=libs LD_TRACE_LOADED_OBJECTS=1 " + base::shell_quoted(program.string()) + " 2>&1 </dev/null";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "re"), ::pclose);
  std::string text;
  std::array<char, 4096> buffer{};
  while (pipe && std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) text += buffer.data();
  return text;
}

void add_once(std::vector<std::string>& list, const std::string& entry) {
  if (!entry.empty() && std::ranges::find(list, entry) == list.end()) list.push_back(entry);
}

// "  1234:	 search path=/a/glibc-hwcaps/x86-64-v3:/a		(RUNPATH from file ./program)", or "(system
// search path)".
void add_folders(std::vector<std::string>& folders, const std::string& line) {
  const auto begin = line.find(kSearchPath);
  if (begin == std::string::npos || line.find("(system") != std::string::npos) return;
  std::istringstream entries(
      line.substr(begin + kSearchPath.size(), line.find('\t', begin) - begin - kSearchPath.size()));
  for (std::string entry; std::getline(entries, entry, ':');) add_once(folders, entry);
}

// The name of a library, or the whole line where it is about a version of one.
std::string missing_part(const std::string& line) {
  const auto begin = line.find_first_not_of(" \t");
  const auto arrow = line.find(" => ");
  return line.substr(begin, arrow == std::string::npos ? arrow : arrow - begin);
}

}  // namespace

std::string missing_libraries(const std::filesystem::path& program) {
  std::vector<std::string> missing, folders;
  std::istringstream lines(loader_trace(program));
  for (std::string line; std::getline(lines, line);) {
    add_folders(folders, line);
    if (line.find(kMissing) != std::string::npos) add_once(missing, missing_part(line));
  }
  if (missing.empty()) return "";
  // Of each folder the loader tries sub-folders for processors too.
  std::erase_if(folders, [all = folders](const std::string& folder) {
    return std::ranges::any_of(all, [&](const std::string& other) { return folder.starts_with(other + "/"); });
  });
  return program.filename().string() + " lacks " + base::join(missing, ", ") + ". The loader looked in " +
         base::join(folders, ", ") +
         " and in the system's folders. Bring them there (`make setup` unpacks LibTorch, `make setup-gpu` what GPUs "
         "need; both use KANGPT_CACHE; beside installed programs, pip puts what GPUs need: installing.md says how), or "
         "name their folder in LD_LIBRARY_PATH";
}

}  // namespace kangpt::launcher
