#include "launcher/job/run_id.hpp"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <random>
#include <span>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFile = "run-id";

std::string hexadecimal(std::uint64_t number) {
  const std::string digits = "0123456789abcdef";
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) text += digits[(number >> shift) & 15];
  return text;
}

// The file's inode number is part of it, since a copy of the file has another one.
std::string id_of(const fs::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) throw_io_error("cannot stat", file.string(), errno);
  const std::string text = base::read_file(file) + std::to_string(status.st_ino);
  const std::array<std::uint64_t, 2> hash = base::xxh3_128(std::as_bytes(std::span(text)));
  return hexadecimal(hash[0]) + hexadecimal(hash[1]);
}

}  // namespace

std::string run_id(const fs::path& run_directory) {
  const fs::path file = run_directory / kFile;
  if (!fs::exists(file)) {
    std::random_device random;
    base::write_file_atomically(file, hexadecimal((std::uint64_t{random()} << 32) | random()) + "\n");
  }
  return id_of(file);
}

std::string existing_run_id(const fs::path& run_directory) {
  const fs::path file = run_directory / kFile;
  return fs::exists(file) ? id_of(file) : "";
}

}  // namespace kangpt::launcher
