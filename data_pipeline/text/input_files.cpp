#include "data_pipeline/text/input_files.hpp"

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <string_view>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "data_pipeline/text/record_format.hpp"

namespace kangpt::data {
namespace {

constexpr char kTextNames[] = ".txt, .jsonl, .ndjson or .json, or with one of these and .gz or .zst";

// One directory and all below. Folders and files of its own come before what links lead to, so that of two names for a
// file the real one stays.
class DirectoryWalk {
 public:
  DirectoryWalk(const std::string& directory, const fs::path& output)
      : directory_(directory), output_(file_id(output)) {}

  InputFiles walk() {
    remember(*file_id(directory_), directory_);
    visit(directory_);
    // Links lead to folders with further links.
    std::size_t next = 0;
    while (next < links_.size()) follow(std::string(links_[next++]));
    std::sort(found_.files.begin(), found_.files.end());
    std::sort(found_.left_out.begin(), found_.left_out.end());
    if (!found_.files.empty()) return std::move(found_);
    throw MissingInputError("directory " + directory_ + " holds no file whose name ends with " + kTextNames +
                            (found_.left_out.empty() ? "" : "; it holds " + few_of(found_.left_out)));
  }

 private:
  void visit(const std::string& directory) {
    std::error_code error;
    std::vector<std::string> paths;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
      paths.push_back(entry->path().string());
    if (error) throw_io_error("cannot read", directory, error.value());
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
      if (fs::path(path).filename().string().starts_with('.')) {
        found_.left_out.push_back(path + " (hidden)");
      } else if (fs::is_symlink(fs::symlink_status(path, error))) {
        links_.push_back(path);
      } else {
        take(path);
      }
    }
  }

  void follow(const std::string& link) {
    std::error_code error;
    if (fs::status(link, error).type() != fs::file_type::not_found) return take(link);
    throw MissingInputError("input " + link + " is a link to " + fs::read_symlink(link, error).string() +
                            ", which does not exist. Mend the link or remove it");
  }

  void take(const std::string& path) {
    std::error_code error;
    const fs::file_type type = fs::status(path, error).type();
    const std::optional<FileId> id = file_id(path);
    if (!id) throw_io_error("cannot open input", path, error ? error.value() : ENOENT);
    if (type == fs::file_type::directory) return take_directory(path, *id);
    const std::string name = fs::path(path).filename().string();
    if (!is_text_name(name)) {
      found_.left_out.push_back(path);
    } else if (type != fs::file_type::regular) {
      found_.left_out.push_back(path + " (not a file)");
    } else if (remember(*id, path)) {
      found_.files.push_back(path);
    }
  }

  void take_directory(const std::string& path, const FileId& id) {
    if (id == output_) {
      found_.left_out.push_back(path + "/ (the output)");
    } else if (remember(id, path)) {
      visit(path);
    }
  }

  bool remember(const FileId& id, const std::string& path) {
    const auto [first, is_new] = taken_.try_emplace(id, path);
    if (!is_new) found_.left_out.push_back(path + " (the same as " + first->second + ")");
    return is_new;
  }

  const std::string& directory_;
  std::optional<FileId> output_;
  InputFiles found_;
  std::vector<std::string> links_;
  std::map<FileId, std::string> taken_;
};

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

// Knows the content of files, which it reads only where another has the same size.
class Copies {
 public:
  explicit Copies(const std::vector<std::string>& files) {
    for (const std::string& file : files) {
      if (const auto state = file_state(file)) by_size_[state->size_bytes].push_back(file);
    }
  }
  // One of the files that holds the same bytes as `file`; "" if there is none.
  std::string find(const std::string& file) {
    const auto state = file_state(file);
    const auto candidates = state && state->size_bytes > 0 ? by_size_.find(state->size_bytes) : by_size_.end();
    if (candidates == by_size_.end()) return "";
    for (const std::string& candidate : candidates->second) {
      if (file_id(candidate) == state->id || digest(candidate) == digest(file)) return candidate;
    }
    return "";
  }

 private:
  const std::string& digest(const std::string& file) {
    std::string& known = digests_[file];
    if (known.empty()) known = base::sha256_file(file);
    return known;
  }

  std::map<off_t, std::vector<std::string>> by_size_;
  std::map<std::string, std::string> digests_;
};

}  // namespace

std::optional<FileId> file_id(const fs::path& path) {
  struct stat status {};
  if (path == "-" || ::stat(path.c_str(), &status) != 0) return std::nullopt;
  return FileId{status.st_dev, status.st_ino};
}

std::optional<FileState> file_state(const fs::path& path) {
  struct stat status {};
  if (path == "-" || ::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return FileState{
      {status.st_dev, status.st_ino}, status.st_size, nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

InputFiles expand_inputs(const std::vector<std::string>& paths, const fs::path& output) {
  InputFiles result;
  for (const std::string& path : paths) {
    std::error_code error;
    const fs::file_type type = path == "-" ? fs::file_type::fifo : fs::status(path, error).type();
    if (type == fs::file_type::not_found) throw MissingInputError("input " + path + " does not exist");
    if (error) throw_io_error("cannot open input", path, error.value());
    if (type != fs::file_type::directory) {
      result.files.push_back(path);
      continue;
    }
    const InputFiles found = DirectoryWalk(path, output).walk();
    result.files.insert(result.files.end(), found.files.begin(), found.files.end());
    result.left_out.insert(result.left_out.end(), found.left_out.begin(), found.left_out.end());
  }
  return result;
}

void leave_out_validation(std::vector<std::string>& train, const std::vector<std::string>& validation) {
  Copies held_out(validation);
  std::vector<std::string> kept;
  std::vector<std::string> both;
  for (const std::string& file : train) {
    const std::string copy = held_out.find(file);
    if (copy.empty()) {
      kept.push_back(file);
    } else {
      both.push_back(file + (file == copy ? "" : " (the same as " + copy + ")"));
    }
  }
  if (both.empty()) return;
  if (kept.empty()) {
    return base::log_warning("every input is a validation file too: " + few_of(both) +
                             ". The validation loss will say nothing about text that was not trained on");
  }
  base::log_warning("left out of training, since --validation names the same: " + few_of(both));
  train = kept;
}

void warn_of_repeated(const std::vector<std::string>& files, const std::vector<std::string>& validation) {
  std::map<FileId, std::string> first;
  std::vector<std::string> repeated;
  for (const std::string& file : files) {
    const std::optional<FileId> id = file_id(file);
    if (id && !first.try_emplace(*id, file).second) repeated.push_back(file);
  }
  std::set<std::string> names(files.begin(), files.end());
  names.insert(validation.begin(), validation.end());
  std::vector<std::string> twins;
  for (const std::string& file : names) {
    if (is_compressed_name(file) && names.contains(file.substr(0, file.rfind('.')))) twins.push_back(file);
  }
  if (!twins.empty()) base::log_warning("stands there plain and compressed, and both are read: " + few_of(twins));
  if (!repeated.empty())
    base::log_warning("named more than once, and so trained on more often (--deduplicate would prevent it): " +
                      few_of(repeated));
}

std::string few_of(const std::vector<std::string>& names) {
  constexpr std::size_t kFew = 5;
  const std::vector<std::string> few(names.begin(),
                                     names.begin() + static_cast<std::ptrdiff_t>(std::min(kFew, names.size())));
  const std::string more = names.size() > kFew ? " and " + base::format_count(names.size() - kFew) + " more" : "";
  return base::join(few, ", ") + more;
}

std::uint64_t total_bytes(const std::vector<std::string>& paths) {
  std::uint64_t total = 0;
  for (const std::string& path : paths) {
    if (path == "-" || !fs::is_regular_file(path)) return 0;
    total += fs::file_size(path);
  }
  return total;
}

}  // namespace kangpt::data
