#include "io/safetensors.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/error.hpp"
#include "base/format.hpp"
#include "io/safetensors_header.hpp"

static_assert(std::endian::native == std::endian::little, "safetensors files and checkpoints are little-endian");

namespace kangpt::io {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr std::size_t kLengthBytes = 8;

// IEEE 754 binary16.
float half_to_float(std::uint16_t half) noexcept {
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  const float sign = (half & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) {
    return sign * (mantissa == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN());
  }
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

float bfloat16_to_float(std::uint16_t value) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

// The bytes of a file need not be aligned, hence the copy of each element.
template <typename Stored, typename Convert>
void convert(std::span<const std::byte> bytes, std::span<float> values, Convert to_float) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = to_float(stored);
  }
}

std::uint64_t element_count(const std::vector<std::int64_t>& shape) {
  std::uint64_t count = 1;
  for (const std::int64_t extent : shape) count *= static_cast<std::uint64_t>(extent);
  return count;
}

// What users name by mistake, by how it begins. Empty where nothing is recognised.
std::string other_format(std::string_view text) {
  constexpr std::string_view kHdf5 = "\x89HDF";
  constexpr std::string_view kLfsPointer = "version https://git-lfs";
  if (text.starts_with("PK\x03\x04") || (text[0] == '\x80' && text[1] >= 2 && text[1] <= 5))
    return "what torch.save writes; safetensors.torch.save_file(model.state_dict(), PATH) makes a file of it that can "
           "be read";
  if (text.starts_with(kHdf5))
    return "an HDF5 file; weights in such files are read by the name of their checkpoint folder";
  if (text.starts_with(kLfsPointer)) return "a pointer of Git LFS; git lfs pull fetches the file itself";
  const auto is_text = [](unsigned char byte) {  // UTF-8 has no bytes from 0xF8 on
    return (byte >= ' ' && byte != 0x7F && byte < 0xF8) || byte == '\n' || byte == '\r' || byte == '\t';
  };
  return std::ranges::all_of(text.substr(0, kLengthBytes), is_text) ? "text" : "";
}

// The names of `tensors` in file order, with the places of their values. Throws InternalError for a caller's mistake.
SafetensorsHeader layout(const std::vector<TensorToWrite>& tensors) {
  SafetensorsHeader header;
  for (const TensorToWrite& tensor : tensors) {
    const bool fresh = header.tensors.emplace(tensor.name, SafetensorsEntry{"F32", tensor.shape, 0, 0}).second;
    if (!fresh || tensor.name == "__metadata__" || element_count(tensor.shape) != tensor.values.size()) {
      throw InternalError("tensor '" + tensor.name + "' can't be written: its name is taken or its shape is wrong");
    }
  }
  std::uint64_t position = 0;
  for (auto& [name, entry] : header.tensors) {
    entry.begin = position;
    entry.end = position += element_count(entry.shape) * sizeof(float);
  }
  return header;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  SafetensorsHeader header = layout(tensors);
  header.metadata = metadata;
  const std::string text = safetensors_header_text(header);
  const std::uint64_t length = text.size();
  std::map<std::string, std::span<const float>> sorted;
  for (const TensorToWrite& tensor : tensors) sorted.emplace(tensor.name, tensor.values);
  base::AtomicFileWriter file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (const auto& [name, values] : sorted) file.write(std::as_bytes(values));
  file.commit();
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path), file_(path) {
  const std::span<const std::byte> bytes = file_.bytes();
  if (bytes.size() < kLengthBytes) throw DataError(path_.string() + ": too short for a safetensors file");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > bytes.size() - kLengthBytes) {
    const std::string other = other_format({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (!other.empty()) throw DataError(path_.string() + ": not a safetensors file but " + other);
    throw DataError(path_.string() + ": the header claims " + std::to_string(length) + " bytes of a file of " +
                    std::to_string(bytes.size()) + "; not a safetensors file, or cut off");
  }
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + length);
  SafetensorsHeader header = parse_safetensors_header(json, data.size(), path_.string());
  metadata_ = std::move(header.metadata);
  for (auto& [name, entry] : header.tensors) {
    tensors_.emplace(name,
                     Tensor{entry.dtype, std::move(entry.shape), data.subspan(entry.begin, entry.end - entry.begin)});
  }
}

void SafetensorsFile::read(const std::string& name, const std::vector<std::int64_t>& shape,
                           std::span<float> values) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    std::vector<std::string> names;
    for (const auto& [present, tensor] : tensors_) names.push_back(present);
    const std::string near = base::closest_name(name, names);
    throw DataError(path_.string() + ": tensor '" + name + "' " + shape_text(shape) + " is missing" +
                    (near.empty() ? "" : "; the nearest name is '" + near + "'"));
  }
  const Tensor& tensor = found->second;
  if (tensor.shape != shape || element_count(shape) != values.size()) {
    throw DataError(path_.string() + ": tensor '" + name + "' has shape " + shape_text(tensor.shape) + ", expected " +
                    shape_text(shape));
  }
  if (values.empty()) return;
  if (tensor.dtype == "F32") {
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  } else if (tensor.dtype == "F64") {
    convert<double>(tensor.bytes, values, [](double value) { return static_cast<float>(value); });
  } else if (tensor.dtype == "F16") {
    convert<std::uint16_t>(tensor.bytes, values, half_to_float);
  } else if (tensor.dtype == "BF16") {
    convert<std::uint16_t>(tensor.bytes, values, bfloat16_to_float);
  } else {
    throw DataError(path_.string() + ": tensor '" + name + "' has type " + tensor.dtype +
                    "; F32, F16, BF16 and F64 can be read");
  }
}

}  // namespace kangpt::io
