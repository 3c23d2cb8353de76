// One HDF5 file: one-dimensional datasets of numbers, and attributes of the file. The only place that knows hdf5.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

namespace kangpt::io {

enum class ElementType { kU16, kU32, kU64, kF32 };

std::size_t element_size_bytes(ElementType type) noexcept;

template <typename T>
struct ElementTypeOf;
template <>
struct ElementTypeOf<std::uint16_t> {
  static constexpr ElementType kType = ElementType::kU16;
};
template <>
struct ElementTypeOf<std::uint32_t> {
  static constexpr ElementType kType = ElementType::kU32;
};
template <>
struct ElementTypeOf<std::uint64_t> {
  static constexpr ElementType kType = ElementType::kU64;
};
template <>
struct ElementTypeOf<float> {
  static constexpr ElementType kType = ElementType::kF32;
};

struct DatasetInfo {
  ElementType type = ElementType::kU16;
  std::uint64_t size = 0;  // elements
  // Where the raw little-endian values lie in the file, if they lie there in one piece (not chunked, not compressed)
  // and inside the file. Then the file may be mapped instead of read.
  std::optional<std::uint64_t> file_offset;
};

// Owns an open HDF5 file. Move-only. The same bytes are written for the same calls (no times, no names of machines). A
// created file that is not closed with close() is closed by the destructor without what HDF5 still held of it, so that
// neither memory nor a descriptor is lost on a full disk. One object is for one thread at a time.
//
// Errors: MissingInputError (no such file), DataError (not HDF5, cut off, a dataset or attribute missing or of another
// type), IoError (the operating system refused). Messages name the file, the failed call and the library's own reason.
class Hdf5File {
 public:
  // Replaces what is at `path`. Datasets start at multiples of 4 KiB.
  static Hdf5File create(const std::filesystem::path& path);
  // For reading. Takes no file lock (locks fail on some network file systems).
  static Hdf5File open(const std::filesystem::path& path);
  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&& other) noexcept;
  ~Hdf5File();

  const std::filesystem::path& path() const noexcept { return path_; }

  // A contiguous dataset whose space in the file is reserved at once. Values that are never written are 0.
  void create_dataset(const std::string& name, ElementType type, std::uint64_t size);
  // Elements [begin, begin + values.size()) of a dataset of exactly this type.
  template <typename T>
  void write(const std::string& name, std::uint64_t begin, std::span<const T> values) {
    transfer(name, {ElementTypeOf<T>::kType, begin, values.size(), nullptr, values.data()});
  }
  template <typename T>
  void read(const std::string& name, std::uint64_t begin, std::span<T> values) const {
    transfer(name, {ElementTypeOf<T>::kType, begin, values.size(), values.data(), nullptr});
  }

  bool has_dataset(const std::string& name) const;
  DatasetInfo dataset(const std::string& name) const;

  void write_attribute(const std::string& name, std::uint64_t value);
  void write_attribute(const std::string& name, const std::string& value);
  std::uint64_t integer_attribute(const std::string& name) const;
  std::string string_attribute(const std::string& name) const;

  // Writes what the library still holds, closes, fsyncs (a file that was created). Throws IoError.
  void close();
  // The same without fsync, which is left to the caller.
  void close_unsynced();

 private:
  struct Transfer {
    ElementType type;
    std::uint64_t begin;
    std::uint64_t count;
    void* target;        // reading
    const void* source;  // writing
  };
  Hdf5File(std::filesystem::path path, std::int64_t id, bool created);
  void transfer(const std::string& name, const Transfer& range) const;
  void start_writeback() const noexcept;
  void let_closing_succeed() const noexcept;

  std::filesystem::path path_;
  std::int64_t id_ = -1;  // hid_t
  bool created_ = false;
};

}  // namespace kangpt::io
