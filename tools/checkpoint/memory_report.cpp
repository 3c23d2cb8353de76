#include "tools/checkpoint/memory_report.hpp"

#include <optional>
#include <system_error>
#include <vector>

#include "base/error.hpp"
#include "base/format.hpp"
#include "launcher/job/run_id.hpp"
#include "sharding/memory_file.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const fs::path& run_directory) {
  if (run_directory.empty()) return sharding::find_memory_files();
  if (!fs::is_directory(run_directory)) throw MissingInputError("there is no run directory " + run_directory.string());
  const std::string id = launcher::existing_run_id(run_directory);
  return id.empty() ? std::vector<fs::path>() : sharding::find_memory_files(id);
}

std::string describe(const fs::path& path) {
  std::error_code unknown;
  const std::string head =
      path.string() + ": " + base::format_bytes(static_cast<double>(fs::file_size(path, unknown))) + ", ";
  if (sharding::is_memory_in_use(path)) return head + "in use by a job";
  const std::optional<sharding::LeftMemory> memory = sharding::open_left_memory(path);
  if (!memory) return head + "not readable: a job was killed while it made it";
  const sharding::MemoryLabel& label = memory->label();
  const auto held = memory->noted();
  const bool is_copy = label.kind == sharding::MemoryLabel::Kind::kCopy;
  return head + (is_copy ? "copy of rank " : "rank ") + std::to_string(label.rank) + " of " +
         std::to_string(label.world_size) + " of " + label.run_directory + ", " +
         (held.empty() ? "no step"
                       : "step " + base::format_count(held.front().publication.state.step) +
                             "; the command that started the run goes on from it");
}

}  // namespace

std::string memory_text(const fs::path& run_directory) {
  std::string text;
  for (const fs::path& path : files_of(run_directory)) text += describe(path) + "\n";
  return text;
}

std::string remove_left_memory(const fs::path& run_directory) {
  std::string text;
  for (const fs::path& path : files_of(run_directory)) {
    std::error_code error;
    const bool used = sharding::is_memory_in_use(path);
    if (!used) fs::remove(path, error);
    if (error) throw_io_error("cannot delete", path.string(), error.value());
    text += path.string() + (used ? ": kept, in use by a job\n" : ": deleted\n");
  }
  return text;
}

}  // namespace kangpt::tools
