// One state-RR-of-NN.h5 of a checkpoint: a contiguous range of the flat parameters, moments and average.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/unique_fd.hpp"
#include "io/checkpoint.hpp"

namespace kangpt::io {

// The order of the arrays everywhere in this folder. The last may be missing.
inline constexpr std::array<const char*, 4> kStateArrays = {"parameters", "first_moment", "second_moment", "average"};
inline constexpr std::size_t kAverageArray = 3;

// "state-00-of-02.h5"
std::string state_file_name(std::uint64_t rank, std::uint64_t world_size);

// A file that was found to be what its manifest says. HDF5 sees it only after its digests were verified (the library
// does not survive every corrupt file), and only to say where the arrays lie. Move-only; read() from several threads is
// fine, construction is not (HDF5).
class StateFile {
 public:
  // Throws CheckpointError, which names the file and what is wrong with it; IoError where it can't be read.
  StateFile(const std::filesystem::path& folder, const FileDigest& expected, std::uint64_t step);

  std::uint64_t begin() const noexcept { return begin_; }
  std::uint64_t end() const noexcept { return end_; }
  // Copies elements [first, first + values.size()) of the flat buffer out of kStateArrays[array].
  // REQUIRES: begin() <= first and first + values.size() <= end(). Throws as the constructor, and where the array is
  // missing.
  void read(std::size_t array, std::uint64_t first, std::span<float> values) const;

 private:
  void locate_arrays(std::uint64_t step);

  std::filesystem::path path_;
  base::UniqueFd fd_;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
  std::array<std::uint64_t, kStateArrays.size()> offsets_bytes_{};  // 0: it is missing, or of no elements
};

}  // namespace kangpt::io
