// The folder of checkpoints: names, atomic commit, deletion, quarantine.
#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_manifest.hpp"

namespace kangpt::io {
namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kWriting = ".tmp";
constexpr std::string_view kDeleting = ".tmp-delete";
constexpr const char* kQuarantine = "quarantine";

struct Entry {
  std::uint64_t step = 0;
  fs::path path;
};

// Steps of what is called step-N + `suffix`, newest first. A missing folder has none.
std::vector<Entry> entries(const fs::path& checkpoints, std::string_view suffix) {
  std::error_code error;
  fs::directory_iterator entry(checkpoints, error);
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) return {};
  std::vector<Entry> found;
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const std::uint64_t step = std::strtoull(name.c_str() + kPrefix.size(), nullptr, 10);
    if (name == checkpoint_name(step).append(suffix)) found.push_back({step, entry->path()});
  }
  if (error) throw_io_error("cannot list", checkpoints.string(), error.value());
  std::sort(found.begin(), found.end(), [](const Entry& a, const Entry& b) { return a.step > b.step; });
  return found;
}

// Whole checkpoints and what is left of some, newest first; a file that somebody gave such a name is none.
std::vector<Entry> folders(const fs::path& checkpoints) {
  std::vector<Entry> found = entries(checkpoints, "");
  std::erase_if(found, [](const Entry& entry) {
    std::error_code unknown;
    return !fs::is_directory(entry.path, unknown) && !unknown;
  });
  return found;
}

// Those with a manifest, or where that can't be told.
std::vector<Entry> complete_entries(const fs::path& checkpoints) {
  std::vector<Entry> found = folders(checkpoints);
  std::erase_if(found, [](const Entry& entry) {
    std::error_code unknown;
    return !fs::exists(entry.path / kManifestName, unknown) && !unknown;
  });
  return found;
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) throw_io_error("cannot delete", path.string(), error.value());
}

// A kill on the way leaves a name that nobody takes for a checkpoint.
void remove_checkpoint(const fs::path& folder) {
  const fs::path doomed = folder.parent_path() / (folder.stem().string().append(kDeleting));
  remove_tree(doomed);
  base::rename_durably(folder, doomed);
  remove_tree(doomed);
}

void remove_leftovers(const fs::path& checkpoints, std::uint64_t newest_step) {
  for (const Entry& entry : entries(checkpoints, kDeleting)) remove_tree(entry.path);
  for (const Entry& entry : entries(checkpoints, kWriting)) {
    if (entry.step <= newest_step) remove_tree(entry.path);
  }
}

// Puts `folder` in the place of `target`; what was there is then called `folder`. At no moment is there nothing called
// `target`, except on file systems that can't exchange names.
void put_in_place(const fs::path& folder, const fs::path& target) {
  if (fs::exists(target) && ::renameat2(AT_FDCWD, folder.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    base::sync_path(target.parent_path());
    remove_checkpoint(folder);
    return;
  }
  if (fs::exists(target)) remove_checkpoint(target);
  base::rename_durably(folder, target);
}

// "moved to ...", or why not. Never overwrites what is in quarantine.
std::string quarantine(const fs::path& folder) {
  try {
    const fs::path shelf = folder.parent_path() / kQuarantine;
    base::make_directories(shelf);
    fs::path target = shelf / folder.filename();
    for (int copy = 2; fs::exists(target); ++copy) {
      target = shelf / (folder.filename().string() + "-" + std::to_string(copy));
    }
    base::rename_durably(folder, target);
    return "moved to " + target.string();
  } catch (const Error& error) {
    return std::string("left where it is, since it could not be moved: ") + error.what();
  }
}

void check_none_in_quarantine(const fs::path& checkpoints) {
  std::error_code error;
  const fs::path shelf = checkpoints / kQuarantine;
  if (!fs::exists(shelf, error) || fs::is_empty(shelf, error)) return;
  throw CheckpointError("all checkpoints of this run were bad and are in " + shelf.string() +
                        "; to start over, choose another run.directory or remove that folder");
}

}  // namespace

std::string checkpoint_name(std::uint64_t step) {
  std::array<char, 40> name{};
  std::snprintf(name.data(), name.size(), "step-%010llu", static_cast<unsigned long long>(step));
  return name.data();
}

fs::path begin_checkpoint(const fs::path& checkpoints, std::uint64_t step) {
  base::make_directories(checkpoints);
  remove_leftovers(checkpoints, UINT64_MAX);
  const fs::path folder = checkpoints / checkpoint_name(step).append(kWriting);
  base::make_directories(folder);
  return folder;
}

void commit_checkpoint(const fs::path& folder, const CheckpointManifest& manifest) {
  const std::string name = checkpoint_name(manifest.state.step);
  if (folder.filename() != name + std::string(kWriting)) throw InternalError(folder.string() + " is not for " + name);
  for (const FileDigest& file : manifest.files) {
    std::error_code error;
    const std::uint64_t size_bytes = fs::file_size(folder / file.name, error);
    if (error || size_bytes != file.size_bytes) {
      throw CheckpointError((folder / file.name).string() + ": not the file that its writer reported" +
                            (error ? " (" + error.message() + ")" : "") + "; do all ranks see the same run.directory?");
    }
    base::sync_path(folder / file.name);
  }
  base::write_file_atomically(folder / kManifestName, manifest_to_text(manifest));
  put_in_place(folder, folder.parent_path() / name);
}

void abandon_checkpoint(const fs::path& folder) noexcept {
  try {
    if (folder.extension() != kWriting) throw InternalError(folder.string() + " is not being written");
    remove_tree(folder);
  } catch (const std::exception& error) {
    base::log_warning(error.what());
  }
}

void prune_checkpoints(const fs::path& checkpoints, const KeptCheckpoints& kept) {
  try {
    const std::vector<Entry> all = complete_entries(checkpoints);
    const auto last = static_cast<std::size_t>(std::max(kept.last, 1));
    if (all.empty()) return;
    remove_leftovers(checkpoints, all.front().step);
    if (all.size() <= last) return;
    const Checkpoint newest(all.front().path);
    const std::uint64_t best = kept.keeps_best ? newest.manifest().state.best_step : 0;
    for (std::size_t i = last; i < all.size(); ++i) {
      const std::uint64_t step = all[i].step;
      const bool is_multiple = kept.every != 0 && step % kept.every == 0;
      if (!is_multiple && (step == 0 || (step != kept.step && step != best))) remove_checkpoint(all[i].path);
    }
  } catch (const Error& error) {
    base::log_warning(std::string("old checkpoints are kept: ") + error.what());
  }
}

std::vector<fs::path> list_checkpoints(const fs::path& checkpoints) {
  std::vector<fs::path> complete;
  for (const Entry& entry : complete_entries(checkpoints)) complete.push_back(entry.path);
  return complete;
}

std::optional<Checkpoint> newest_valid_checkpoint(const fs::path& checkpoints,
                                                  const std::function<void(const std::string&)>& report,
                                                  std::uint64_t below_step) {
  std::vector<Entry> all = folders(checkpoints);
  std::erase_if(all, [&](const Entry& entry) { return entry.step >= below_step; });
  std::string why_unread;  // the last one
  for (const Entry& entry : all) {
    try {
      return Checkpoint(entry.path);
    } catch (const CheckpointError& error) {
      report(entry.path.filename().string() + ": " + error.what() + "; " + quarantine(entry.path));
    } catch (const Error& error) {  // perhaps it is whole, and the disk that has it will answer again
      why_unread = error.what();
      report(entry.path.filename().string() + ": " + error.what() +
             "; left where it is, and the one before is looked for: what came between is computed again");
    }
  }
  if (!why_unread.empty()) {
    throw IoError("no checkpoint in " + checkpoints.string() + " can be read (" + why_unread +
                  "); the same command goes on from the newest one once the disk answers");
  }
  if (!all.empty()) throw CheckpointError("no checkpoint in " + checkpoints.string() + " is intact");
  if (below_step == kNoLimit) check_none_in_quarantine(checkpoints);
  return std::nullopt;
}

}  // namespace kangpt::io
