// Files of the memory file system in which snapshots outlive the processes that made them.
//
//   FOLDER/kangpt-RUN-RANK-of-WORLD        = ExchangeMemory | configuration | zeros up to whole pages | label page
//   FOLDER/kangpt-RUN-RANK-of-WORLD-copy   the same without gradients and gathered parameters: snapshots of a rank of
//                                          another node
//
// FOLDER is /dev/shm, or what KANGPT_SHM names. The label says whose memory it is and is checked by itself; each slot
// has its note (ExchangeMemory::noted) and its checksum. Whatever is torn, of another run or of another user is not
// used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/shared_memory.hpp"
#include "sharding/agent_protocol.hpp"
#include "sharding/partition.hpp"

namespace kangpt::sharding {

struct MemoryLabel {
  std::string run_id;         // kRunIdDigits hexadecimal digits
  std::string run_directory;  // for people
  std::string configuration;  // resolved, as it stands in checkpoints
  int rank = 0;
  int world_size = 1;
  std::uint64_t padded_size = 0;
  std::uint64_t range_size = 0;
  int slots = ExchangeMemory::kSlots;
  int arrays = ExchangeMemory::arrays_for(0);  // of a slot
  enum class Kind { kOwn, kCopy } kind = Kind::kOwn;
};
inline constexpr std::size_t kRunIdDigits = 32;

// Where these files lie on this node.
std::filesystem::path memory_folder();
// The same for all processes that find the same files there, and for no others: what is lost with a node is what lies
// in its memory folder.
std::string memory_folder_identity();

// Memory for one rank's exchange in a file of its own. Throws IoError where there is no room or no such folder.
base::SharedMemory create_memory_file(const MemoryLabel& label);
// How what it makes is used; also of a file that is mapped otherwise.
ExchangeMemory exchange_memory(std::span<std::byte> memory, const MemoryLabel& label);
// The size of that file.
std::uint64_t memory_file_bytes(const MemoryLabel& label) noexcept;
void remove_memory_file(const MemoryLabel& label) noexcept;

// A file that some job left. Holds its lock, so that no process of that job can write to it any more.
class LeftMemory {
 public:
  struct HeldSnapshot {
    int slot = 0;
    Publication publication;
  };

  const std::filesystem::path& path() const noexcept { return path_; }
  const MemoryLabel& label() const noexcept { return label_; }
  ExchangeMemory::Slot slot(int index) const { return exchange().slot(index); }
  // What its notes say; the newest first. Nothing is verified but the notes.
  std::vector<HeldSnapshot> noted() const;
  // Those of noted() whose slot is what the note says. Reads all of it.
  std::vector<HeldSnapshot> intact() const;
  void remove() const noexcept;

 private:
  friend std::optional<LeftMemory> open_left_memory(const std::filesystem::path& path);
  LeftMemory(std::filesystem::path path, MemoryLabel label, base::SharedMemory memory);
  ExchangeMemory exchange() const;

  std::filesystem::path path_;
  MemoryLabel label_;
  base::SharedMemory memory_;
};

// What is called like one of these files and belongs to this user. `run_id`: of that run alone, unless it is empty.
std::vector<std::filesystem::path> find_memory_files(const std::string& run_id = "");
// The same in the memory folder of another node.
std::vector<std::filesystem::path> find_memory_files_in(const std::filesystem::path& folder, const std::string& run_id);
// nullopt where a process still uses it, or where it is not what its name says.
std::optional<LeftMemory> open_left_memory(const std::filesystem::path& path);
// Whether a process holds it.
bool is_memory_in_use(const std::filesystem::path& path);

}  // namespace kangpt::sharding
