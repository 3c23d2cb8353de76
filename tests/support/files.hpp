// Files of tests: temporary folders, whole reads and writes, deliberate damage, and where the repository's data is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace kangpt::test {

namespace fs = std::filesystem;

// Owns a new empty folder under TMPDIR (or /tmp) and removes it with all that is in it. Move-only.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(TemporaryDirectory&& other) noexcept;
  TemporaryDirectory& operator=(TemporaryDirectory&& other) noexcept;
  ~TemporaryDirectory();

  const fs::path& path() const noexcept { return path_; }
  fs::path operator/(const fs::path& name) const { return path_ / name; }

 private:
  fs::path path_;
};

// All of these throw std::runtime_error, which fails the test.
std::string read_text(const fs::path& path);
void write_text(const fs::path& path, std::string_view text);        // makes missing parent folders
void flip_byte(const fs::path& path, std::uint64_t offset);          // inverts all eight bits of one byte
void truncate_file(const fs::path& path, std::uint64_t size_bytes);  // keeps the first `size_bytes`

// The repository (KANGPT_SOURCE, which CTest sets).
fs::path source_directory();
// Real TinyStories text and the GPT-2 tables beside the repository (../shared/data), where that folder is there.
// A test that needs it and does not get it says so with GTEST_SKIP().
std::optional<fs::path> shared_data();
// The GPT-2 merges that `make setup` put into the cache (KANGPT_CACHE, which CTest sets).
fs::path vocabulary_file();

}  // namespace kangpt::test
