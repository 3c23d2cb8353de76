// The safetensors file format (https://github.com/huggingface/safetensors): named fp32 tensors in one file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/file.hpp"

namespace kangpt::io {

struct TensorToWrite {
  std::string name;
  std::vector<std::int64_t> shape;
  std::span<const float> values;  // row-major
};

// Writes atomically. `metadata` becomes __metadata__. Throws IoError.
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata);

// A mapped file whose header was checked completely (sizes, offsets, overlaps, types) before anything is used.
class SafetensorsFile {
 public:
  struct Tensor {
    std::string dtype;  // "F32", "F16", "BF16", "F64"
    std::vector<std::int64_t> shape;
    std::span<const std::byte> bytes;
  };
  // Throws MissingInputError, DataError (what is wrong and where).
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::map<std::string, Tensor>& tensors() const noexcept { return tensors_; }
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  // Values of tensor `name` converted to fp32. Throws DataError if it is missing or of another shape, naming both
  // shapes.
  void read(const std::string& name, const std::vector<std::int64_t>& shape, std::span<float> values) const;

 private:
  std::filesystem::path path_;
  base::MappedFile file_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace kangpt::io
