// The files that kangpt_preprocess reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <sys/stat.h>

namespace kangpt::data {

namespace fs = std::filesystem;

// A file or folder, whatever it is called.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  auto operator<=>(const FileId&) const = default;
};
// nullopt for what is not there, and for standard input.
std::optional<FileId> file_id(const fs::path& path);

// Of a regular file: differs from an earlier one if the file was written, replaced or renamed since.
struct FileState {
  FileId id;
  off_t size_bytes = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;  // by the system's own clock: no program sets it back
  bool operator==(const FileState&) const = default;
};
// nullopt for what is no regular file.
std::optional<FileState> file_state(const fs::path& path);

struct InputFiles {
  std::vector<std::string> files;
  std::vector<std::string>
      left_out;  // what stands in the folders beside them, with the reason where it is not the name
};

// Replaces each directory by the .txt, .jsonl, .ndjson and .json files in it and below (.gz and .zst ones too, in upper
// or lower case), by name. Links are followed; what is reached twice is taken once. Leaves out what is hidden, and
// `output`. Throws MissingInputError for what is not there, a link to what is not there, or a directory without such
// files.
InputFiles expand_inputs(const std::vector<std::string>& paths, const fs::path& output);

// Removes from `train` what is a validation file too (by another name, or a copy), unless nothing were left; warns.
void leave_out_validation(std::vector<std::string>& train, const std::vector<std::string>& validation);

// Warns of files to train on that are named more than once, and of those of either split that stand there plain and
// compressed.
void warn_of_repeated(const std::vector<std::string>& files, const std::vector<std::string>& validation);

// "a.md, b.csv and 7 more"
std::string few_of(const std::vector<std::string>& names);

// 0 if one is not a regular file.
std::uint64_t total_bytes(const std::vector<std::string>& paths);

}  // namespace kangpt::data
