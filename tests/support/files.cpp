#include "tests/support/files.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace kangpt::test {
namespace {

fs::path required_environment(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr || *value == '\0')
    throw std::runtime_error(std::string(name) + " is not set: run this through ctest");
  return value;
}

fs::path make_temporary_directory() {
  std::string name = (fs::temp_directory_path() / "kangpt-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot create " + name);
  return name;
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() : path_(make_temporary_directory()) {}

TemporaryDirectory::TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}

TemporaryDirectory& TemporaryDirectory::operator=(TemporaryDirectory&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return text.str();
}

void write_text(const fs::path& path, std::string_view text) {
  if (path.has_parent_path()) fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

void flip_byte(const fs::path& path, std::uint64_t offset) {
  if (offset >= fs::file_size(path))
    throw std::runtime_error("no byte " + std::to_string(offset) + " in " + path.string());
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int old = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(old ^ 0xFF));
  file.close();
  if (!file) throw std::runtime_error("cannot change " + path.string());
}

void truncate_file(const fs::path& path, std::uint64_t size_bytes) {
  if (size_bytes > fs::file_size(path)) throw std::runtime_error(path.string() + " is shorter than that already");
  fs::resize_file(path, size_bytes);
}

fs::path source_directory() {
  return required_environment("KANGPT_SOURCE");
}

std::optional<fs::path> shared_data() {
  const fs::path folder = source_directory() / ".." / "shared" / "data";
  if (!fs::exists(folder / "tinystories")) return std::nullopt;
  return fs::canonical(folder);
}

fs::path vocabulary_file() {
  return required_environment("KANGPT_CACHE") / "gpt2" / "vocab.bpe";
}

}  // namespace kangpt::test
