// Files: whole reads, durable atomic writes, directory synchronisation, read-only mappings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"

namespace kangpt::base {

namespace fs = std::filesystem;

// The whole file. Throws MissingInputError if it does not exist, IoError otherwise.
std::string read_file(const fs::path& path);

// Hands the file to `use` in pieces of up to 256 kB, in order, without mapping it: for files that others may cut short,
// and for holes on a full disk, both of which kill a process that reads them from a mapping. Throws as read_file()
// does.
void read_in_pieces(const fs::path& path, const std::function<void(std::span<const std::byte>)>& use);

// Writes PATH.tmp, fsyncs it, renames it to PATH, fsyncs the folder: a reader sees the old or the new content,
// never a part. Throws IoError and removes the temporary file on failure.
void write_file_atomically(const fs::path& path, std::string_view content);

// The same for content that comes in pieces. The destructor removes a file that was not committed. Not thread-safe.
class AtomicFileWriter {
 public:
  // Opens PATH.tmp. Throws IoError.
  explicit AtomicFileWriter(fs::path path);
  AtomicFileWriter(const AtomicFileWriter&) = delete;
  AtomicFileWriter& operator=(const AtomicFileWriter&) = delete;
  ~AtomicFileWriter();
  // Throws IoError.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  // fsyncs, closes and renames to PATH. Throws IoError. Nothing can be written afterwards.
  void commit();

 private:
  fs::path path_;
  fs::path temporary_;
  UniqueFd fd_;
};

// fsync of a file or a folder. Throws IoError.
void sync_path(const fs::path& path);

// rename(2), then fsync of the target's folder. Throws IoError.
void rename_durably(const fs::path& from, const fs::path& to);

// mkdir -p with the user's umask, durable: the folders that got a new one are fsynced. Throws IoError that names the
// first folder that can't be made.
void make_directories(const fs::path& path);

// Read-only mapping of a whole file. Owns the mapping; move-only; reads from several threads are fine.
class MappedFile {
 public:
  MappedFile() = default;
  // Throws MissingInputError or IoError. An empty file maps to an empty span.
  explicit MappedFile(const fs::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  // Tells the system that `part` of bytes() will be read soon. A hint: it has no errors.
  void read_ahead(std::span<const std::byte> part) const noexcept;
  // Takes what has been read so far out of the process; it is read again when it is touched.
  void unload() const noexcept;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kangpt::base
