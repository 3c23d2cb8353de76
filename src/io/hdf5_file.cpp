#include "io/hdf5_file.hpp"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <source_location>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "base/unique_fd.hpp"

namespace kangpt::io {
namespace {

static_assert(sizeof(hid_t) == sizeof(std::int64_t));

constexpr hsize_t kAlignmentBytes = 4096;
// A large dataset is written in such pieces: while one is copied, the disk writes those before it.
constexpr std::uint64_t kWriteBytes = std::uint64_t{8} << 20;

// The description of the innermost failure is the one that says why.
std::string library_message() {
  std::string message;
  const auto keep = [](unsigned, const H5E_error2_t* error, void* target) -> herr_t {
    if (error->desc != nullptr) *static_cast<std::string*>(target) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep, &message);
  H5Eclear2(H5E_DEFAULT);
  return message.empty() ? "no reason given" : message;
}

[[noreturn]] void fail(const std::string& path, const char* call, const char* file, int line) {
  const std::string reason = library_message();
  const std::string_view function(call);
  const std::string place = std::string(function.substr(0, function.find('('))) + ", " +
                            std::filesystem::path(file).filename().string() + ":" + std::to_string(line);
  const auto position = reason.find("errno = ");
  if (position == std::string::npos) throw DataError(path + ": " + reason + " (HDF5's " + place + ")");
  throw_io_error("HDF5 failed (" + place + ") on", path, std::atoi(reason.c_str() + position + 8));
}

template <typename Result>
Result checked(Result result, const std::string& path, const char* call,
               std::source_location where = std::source_location::current()) {
  if (result < 0) fail(path, call, where.file_name(), static_cast<int>(where.line()));
  return result;
}

#define KANGPT_HDF5(call) checked(call, path_.string(), #call)

// Closes any kind of HDF5 object. Move-only owner.
class Handle {
 public:
  explicit Handle(hid_t id) : id_(id) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) H5Idec_ref(id_);
  }
  hid_t id() const noexcept { return id_; }

 private:
  hid_t id_;
};

// Errors are reported by exceptions, not printed by the library; and after a full disk the library's own exit handler
// would try for ever to write what it still holds.
void prepare_library() {
  H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

hid_t file_type(ElementType type) {
  switch (type) {
    case ElementType::kU16:
      return H5T_STD_U16LE;
    case ElementType::kU32:
      return H5T_STD_U32LE;
    case ElementType::kU64:
      return H5T_STD_U64LE;
    case ElementType::kF32:
      return H5T_IEEE_F32LE;
  }
  throw InternalError("unknown element type");
}

hid_t memory_type(ElementType type) {
  switch (type) {
    case ElementType::kU16:
      return H5T_NATIVE_UINT16;
    case ElementType::kU32:
      return H5T_NATIVE_UINT32;
    case ElementType::kU64:
      return H5T_NATIVE_UINT64;
    case ElementType::kF32:
      return H5T_NATIVE_FLOAT;
  }
  throw InternalError("unknown element type");
}

const char* type_name(ElementType type) {
  static constexpr std::array<const char*, 4> kNames = {"u16", "u32", "u64", "f32"};
  return kNames[static_cast<std::size_t>(type)];
}

std::optional<ElementType> element_type(hid_t type) {
  for (const ElementType candidate : {ElementType::kU16, ElementType::kU32, ElementType::kU64, ElementType::kF32}) {
    if (H5Tequal(type, file_type(candidate)) > 0) return candidate;
  }
  return std::nullopt;
}

}  // namespace

std::size_t element_size_bytes(ElementType type) noexcept {
  static constexpr std::array<std::size_t, 4> kSizes = {2, 4, 8, 4};
  return kSizes[static_cast<std::size_t>(type)];
}

Hdf5File::Hdf5File(std::filesystem::path path, std::int64_t id, bool created)
    : path_(std::move(path)), id_(id), created_(created) {}

Hdf5File Hdf5File::create(const std::filesystem::path& path_) {
  prepare_library();
  const Handle access(KANGPT_HDF5(H5Pcreate(H5P_FILE_ACCESS)));
  KANGPT_HDF5(H5Pset_alignment(access.id(), kAlignmentBytes, kAlignmentBytes));
  KANGPT_HDF5(H5Pset_small_data_block_size(access.id(), 0));
  // Small writes are not put off: where the disk is full by then, HDF5 1.14 crashes at the end of the file.
  KANGPT_HDF5(H5Pset_sieve_buf_size(access.id(), 0));
  KANGPT_HDF5(H5Pset_file_locking(access.id(), 0, 1));
  const Handle creation(KANGPT_HDF5(H5Pcreate(H5P_FILE_CREATE)));
  KANGPT_HDF5(H5Pset_obj_track_times(creation.id(), 0));
  return {path_, KANGPT_HDF5(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, creation.id(), access.id())), true};
}

Hdf5File Hdf5File::open(const std::filesystem::path& path_) {
  prepare_library();
  const base::UniqueFd probe(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!probe && (errno == ENOENT || errno == ENOTDIR))
    throw MissingInputError("cannot open " + path_.string() + ": no such file");
  if (!probe) throw_io_error("cannot open", path_.string(), errno);
  const Handle access(KANGPT_HDF5(H5Pcreate(H5P_FILE_ACCESS)));
  KANGPT_HDF5(H5Pset_file_locking(access.id(), 0, 1));
  return {path_, KANGPT_HDF5(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.id())), false};
}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : path_(std::move(other.path_)), id_(std::exchange(other.id_, -1)), created_(other.created_) {}

Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(id_, other.id_);
  std::swap(created_, other.created_);
  return *this;
}

Hdf5File::~Hdf5File() {
  if (id_ < 0) return;
  if (created_) let_closing_succeed();
  if (H5Fclose(id_) < 0) base::log_error("closing " + path_.string() + ": " + library_message());
}

// What HDF5 can't write at its close, on a full disk, it neither gives up nor frees. From here on it writes to memory
// that goes away with the descriptor.
void Hdf5File::let_closing_succeed() const noexcept {
  void* fd = nullptr;
  const base::UniqueFd nowhere(::memfd_create("kangpt_discarded", MFD_CLOEXEC));
  if (!nowhere || H5Fget_vfd_handle(id_, H5P_DEFAULT, &fd) < 0 || fd == nullptr) return;
  ::dup3(nowhere.value(), *static_cast<const int*>(fd), O_CLOEXEC);
}

void Hdf5File::create_dataset(const std::string& name, ElementType type, std::uint64_t size) {
  const hsize_t extent = size;
  const Handle space(KANGPT_HDF5(H5Screate_simple(1, &extent, nullptr)));
  const Handle properties(KANGPT_HDF5(H5Pcreate(H5P_DATASET_CREATE)));
  KANGPT_HDF5(H5Pset_layout(properties.id(), H5D_CONTIGUOUS));
  KANGPT_HDF5(H5Pset_alloc_time(properties.id(), H5D_ALLOC_TIME_EARLY));
  KANGPT_HDF5(H5Pset_fill_time(properties.id(), H5D_FILL_TIME_NEVER));
  KANGPT_HDF5(H5Pset_obj_track_times(properties.id(), 0));
  const Handle dataset(KANGPT_HDF5(
      H5Dcreate2(id_, name.c_str(), file_type(type), space.id(), H5P_DEFAULT, properties.id(), H5P_DEFAULT)));
}

bool Hdf5File::has_dataset(const std::string& name) const {
  return H5Lexists(id_, name.c_str(), H5P_DEFAULT) > 0;
}

DatasetInfo Hdf5File::dataset(const std::string& name) const {
  if (!has_dataset(name)) throw DataError(path_.string() + ": dataset '" + name + "' is missing");
  const Handle set(KANGPT_HDF5(H5Dopen2(id_, name.c_str(), H5P_DEFAULT)));
  const Handle space(KANGPT_HDF5(H5Dget_space(set.id())));
  const Handle stored(KANGPT_HDF5(H5Dget_type(set.id())));
  const auto type = element_type(stored.id());
  if (!type || KANGPT_HDF5(H5Sget_simple_extent_ndims(space.id())) != 1) {
    throw DataError(path_.string() + ": dataset '" + name + "' is not one-dimensional u16, u32, u64 or f32");
  }
  hsize_t extent = 0;
  KANGPT_HDF5(H5Sget_simple_extent_dims(space.id(), &extent, nullptr));
  DatasetInfo info{*type, extent, std::nullopt};
  const haddr_t offset = H5Dget_offset(set.id());
  H5Eclear2(H5E_DEFAULT);
  const std::uint64_t file_bytes = std::filesystem::file_size(path_);
  const bool inside = offset <= file_bytes && extent <= (file_bytes - offset) / element_size_bytes(*type);
  if (offset != HADDR_UNDEF && inside) info.file_offset = offset;
  return info;
}

void Hdf5File::transfer(const std::string& name, const Transfer& range) const {
  const DatasetInfo info = dataset(name);
  if (info.type != range.type) {
    throw DataError(path_.string() + ": dataset '" + name + "' has " + type_name(info.type) + " values, expected " +
                    type_name(range.type));
  }
  if (range.begin > info.size || range.count > info.size - range.begin) {
    throw DataError(path_.string() + ": dataset '" + name + "' has " + std::to_string(info.size) + " values; [" +
                    std::to_string(range.begin) + ", +" + std::to_string(range.count) + ") is outside");
  }
  if (range.count == 0) return;
  const Handle set(KANGPT_HDF5(H5Dopen2(id_, name.c_str(), H5P_DEFAULT)));
  const Handle space(KANGPT_HDF5(H5Dget_space(set.id())));
  const hid_t type = memory_type(range.type);
  const std::uint64_t element_bytes = element_size_bytes(range.type);
  const std::uint64_t piece = range.source != nullptr ? kWriteBytes / element_bytes : range.count;
  for (std::uint64_t done = 0; done < range.count; done += piece) {
    const hsize_t start = range.begin + done;
    const hsize_t count = std::min(piece, range.count - done);
    KANGPT_HDF5(H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, &start, nullptr, &count, nullptr));
    const Handle memory(KANGPT_HDF5(H5Screate_simple(1, &count, nullptr)));
    if (range.source == nullptr) {
      KANGPT_HDF5(H5Dread(set.id(), type, memory.id(), space.id(), H5P_DEFAULT, range.target));
      return;
    }
    const std::byte* const source = static_cast<const std::byte*>(range.source) + done * element_bytes;
    KANGPT_HDF5(H5Dwrite(set.id(), type, memory.id(), space.id(), H5P_DEFAULT, source));
    if (count == piece) start_writeback();
  }
}

// A hint: what can't follow it still writes at the fsync.
void Hdf5File::start_writeback() const noexcept {
  void* fd = nullptr;
  if (H5Fget_vfd_handle(id_, H5P_DEFAULT, &fd) < 0 || fd == nullptr) return;
  ::sync_file_range(*static_cast<const int*>(fd), 0, 0, SYNC_FILE_RANGE_WRITE);
}

void Hdf5File::write_attribute(const std::string& name, std::uint64_t value) {
  const Handle space(KANGPT_HDF5(H5Screate(H5S_SCALAR)));
  const Handle attribute(
      KANGPT_HDF5(H5Acreate2(id_, name.c_str(), H5T_STD_U64LE, space.id(), H5P_DEFAULT, H5P_DEFAULT)));
  KANGPT_HDF5(H5Awrite(attribute.id(), H5T_NATIVE_UINT64, &value));
}

void Hdf5File::write_attribute(const std::string& name, const std::string& value) {
  const Handle type(KANGPT_HDF5(H5Tcopy(H5T_C_S1)));
  KANGPT_HDF5(H5Tset_size(type.id(), value.size() + 1));
  KANGPT_HDF5(H5Tset_cset(type.id(), H5T_CSET_UTF8));
  const Handle space(KANGPT_HDF5(H5Screate(H5S_SCALAR)));
  const Handle attribute(KANGPT_HDF5(H5Acreate2(id_, name.c_str(), type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT)));
  KANGPT_HDF5(H5Awrite(attribute.id(), type.id(), value.c_str()));
}

std::uint64_t Hdf5File::integer_attribute(const std::string& name) const {
  const Handle attribute(KANGPT_HDF5(H5Aopen(id_, name.c_str(), H5P_DEFAULT)));
  const Handle space(KANGPT_HDF5(H5Aget_space(attribute.id())));
  const Handle type(KANGPT_HDF5(H5Aget_type(attribute.id())));
  if (H5Tget_class(type.id()) != H5T_INTEGER || H5Sget_simple_extent_npoints(space.id()) != 1) {
    throw DataError(path_.string() + ": attribute '" + name + "' is not one integer");
  }
  std::uint64_t value = 0;
  KANGPT_HDF5(H5Aread(attribute.id(), H5T_NATIVE_UINT64, &value));
  return value;
}

std::string Hdf5File::string_attribute(const std::string& name) const {
  const Handle attribute(KANGPT_HDF5(H5Aopen(id_, name.c_str(), H5P_DEFAULT)));
  const Handle space(KANGPT_HDF5(H5Aget_space(attribute.id())));
  const Handle type(KANGPT_HDF5(H5Aget_type(attribute.id())));
  const bool fixed = H5Tget_class(type.id()) == H5T_STRING && H5Tis_variable_str(type.id()) == 0;
  if (!fixed || H5Sget_simple_extent_npoints(space.id()) != 1) {
    throw DataError(path_.string() + ": attribute '" + name + "' is not one string of fixed length");
  }
  std::string value(H5Tget_size(type.id()), '\0');
  KANGPT_HDF5(H5Aread(attribute.id(), type.id(), value.data()));
  value.resize(value.find_last_not_of('\0') + 1);
  return value;
}

void Hdf5File::close_unsynced() {
  if (id_ < 0) return;
  if (created_) KANGPT_HDF5(H5Fflush(id_, H5F_SCOPE_LOCAL));
  KANGPT_HDF5(H5Fclose(std::exchange(id_, -1)));
}

void Hdf5File::close() {
  if (id_ < 0) return;
  close_unsynced();
  if (created_) base::sync_path(path_);
}

}  // namespace kangpt::io
