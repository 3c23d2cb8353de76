#include "sharding/memory_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/digest.hpp"

namespace kangpt::sharding {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "kangpt-";
constexpr std::uint64_t kMagic = 0x33305450474e414b;  // "KANGPT03"
constexpr std::size_t kPageBytes = 4096;

struct LabelPage {
  std::uint64_t magic;
  std::array<char, kRunIdDigits> run_id;
  std::int32_t rank;
  std::int32_t world_size;
  std::int32_t slots;
  std::int32_t arrays;
  std::int32_t is_copy;
  std::int32_t unused;  // 0
  std::uint64_t padded_size;
  std::uint64_t range_size;
  std::uint64_t configuration_bytes;
  std::uint64_t configuration_xxh3;
  std::array<char, 3072> run_directory;  // cut where it is longer; ends with zeros
  std::uint64_t xxh3;                    // of all before it
};
static_assert(sizeof(LabelPage) <= kPageBytes && std::is_trivially_copyable_v<LabelPage>);

std::uint64_t checksum_of(const LabelPage& page) {
  return base::xxh3(std::as_bytes(std::span(&page, 1)).first(offsetof(LabelPage, xxh3)));
}

// Of gradients and of parameters, in elements.
std::uint64_t flat_size(const MemoryLabel& label) noexcept {
  return label.kind == MemoryLabel::Kind::kCopy ? 0 : label.padded_size;
}

std::size_t configuration_offset(const MemoryLabel& label) noexcept {
  return ExchangeMemory::size_bytes(flat_size(label), label.range_size, {label.slots, label.arrays});
}

std::size_t label_offset(const MemoryLabel& label) noexcept {
  return (configuration_offset(label) + label.configuration.size() + kPageBytes - 1) / kPageBytes * kPageBytes;
}

std::uint64_t xxh3_of(std::string_view text) {
  return base::xxh3(std::as_bytes(std::span(text)));
}

LabelPage page_of(const MemoryLabel& label) {
  LabelPage page{};
  page.magic = kMagic;
  label.run_id.copy(page.run_id.data(), page.run_id.size());
  page.rank = label.rank;
  page.world_size = label.world_size;
  page.slots = label.slots;
  page.arrays = label.arrays;
  page.is_copy = label.kind == MemoryLabel::Kind::kCopy ? 1 : 0;
  page.padded_size = label.padded_size;
  page.range_size = label.range_size;
  page.configuration_bytes = label.configuration.size();
  page.configuration_xxh3 = xxh3_of(label.configuration);
  label.run_directory.copy(page.run_directory.data(), page.run_directory.size() - 1);
  page.xxh3 = checksum_of(page);
  return page;
}

std::string name_of(const MemoryLabel& label) {
  return kPrefix + label.run_id + "-" + std::to_string(label.rank) + "-of-" + std::to_string(label.world_size) +
         (label.kind == MemoryLabel::Kind::kCopy ? "-copy" : "");
}

// The label at the end of `memory`; nullopt where it is none, or does not fit what it lies in.
std::optional<MemoryLabel> label_in(std::span<const std::byte> memory) {
  if (memory.size() < kPageBytes) return std::nullopt;
  LabelPage page;
  std::memcpy(&page, memory.data() + memory.size() - kPageBytes, sizeof page);
  if (page.magic != kMagic || page.xxh3 != checksum_of(page)) return std::nullopt;
  MemoryLabel label{.run_id = std::string(page.run_id.data(), page.run_id.size()),
                    .run_directory = page.run_directory.data(),
                    .rank = page.rank,
                    .world_size = page.world_size,
                    .padded_size = page.padded_size,
                    .range_size = page.range_size,
                    .slots = page.slots,
                    .arrays = page.arrays,
                    .kind = page.is_copy != 0 ? MemoryLabel::Kind::kCopy : MemoryLabel::Kind::kOwn};
  const bool is_sane =
      label.world_size > 0 && label.rank >= 0 && label.rank < label.world_size && label.slots > 0 &&
      label.slots <= ExchangeMemory::kMostSlots &&
      (label.arrays == ExchangeMemory::arrays_for(0) || label.arrays == ExchangeMemory::arrays_for(1)) &&
      label.range_size * static_cast<std::uint64_t>(label.world_size) == label.padded_size;
  const std::size_t begin = configuration_offset(label);
  if (!is_sane || begin > memory.size() || page.configuration_bytes > memory.size() - begin) return std::nullopt;
  const std::span<const std::byte> text = memory.subspan(begin, page.configuration_bytes);
  label.configuration.assign(reinterpret_cast<const char*>(text.data()), text.size());
  const bool fits =
      xxh3_of(label.configuration) == page.configuration_xxh3 && memory_file_bytes(label) == memory.size();
  return fits ? std::optional(label) : std::nullopt;
}

// Of this user, and of nobody else to write to.
bool is_ours(const struct stat& status) {
  return S_ISREG(status.st_mode) && status.st_uid == ::geteuid() && (status.st_mode & 077) == 0;
}

base::UniqueFd open_own(const fs::path& path) {
  base::UniqueFd fd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.value(), &status) != 0 || !is_ours(status)) return {};
  return fd;
}

}  // namespace

fs::path memory_folder() {
  const char* const folder = std::getenv("KANGPT_SHM");
  return folder != nullptr && *folder != '\0' ? folder : "/dev/shm";
}

std::string memory_folder_identity() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string identity;
  std::getline(file, identity);
  std::array<char, HOST_NAME_MAX + 1> host{};
  ::gethostname(host.data(), host.size() - 1);
  identity += std::string(" ") + host.data();
  struct stat status {};
  if (::stat(memory_folder().c_str(), &status) == 0)
    identity += " " + std::to_string(status.st_dev) + " " + std::to_string(status.st_ino);
  return identity;
}

ExchangeMemory exchange_memory(std::span<std::byte> memory, const MemoryLabel& label) {
  return {memory, flat_size(label), label.range_size, {label.slots, label.arrays}};
}

std::uint64_t memory_file_bytes(const MemoryLabel& label) noexcept {
  return label_offset(label) + kPageBytes;
}

base::SharedMemory create_memory_file(const MemoryLabel& label) {
  remove_memory_file(label);  // of an earlier start: what was of use in it has been taken
  base::SharedMemory memory =
      base::SharedMemory::create_file(memory_folder() / name_of(label), memory_file_bytes(label));
  const LabelPage page = page_of(label);
  label.configuration.copy(reinterpret_cast<char*>(memory.bytes().data()) + configuration_offset(label),
                           label.configuration.size());
  std::memcpy(memory.bytes().data() + label_offset(label), &page, sizeof page);
  return memory;
}

void remove_memory_file(const MemoryLabel& label) noexcept {
  ::unlink((memory_folder() / name_of(label)).c_str());
}

LeftMemory::LeftMemory(fs::path path, MemoryLabel label, base::SharedMemory memory)
    : path_(std::move(path)), label_(std::move(label)), memory_(std::move(memory)) {}

ExchangeMemory LeftMemory::exchange() const {
  return exchange_memory(memory_.bytes(), label_);
}

std::vector<LeftMemory::HeldSnapshot> LeftMemory::noted() const {
  std::vector<HeldSnapshot> found;
  for (int slot = 0; slot < label_.slots; ++slot) {
    if (const std::optional<Publication> publication = exchange().noted(slot)) found.push_back({slot, *publication});
  }
  std::ranges::sort(found, std::greater<>(), [](const HeldSnapshot& held) { return held.publication.state.step; });
  return found;
}

std::vector<LeftMemory::HeldSnapshot> LeftMemory::intact() const {
  std::vector<HeldSnapshot> found = noted();
  std::erase_if(found,
                [&](const HeldSnapshot& held) { return slot_checksum(slot(held.slot)) != held.publication.checksum; });
  return found;
}

void LeftMemory::remove() const noexcept {
  ::unlink(path_.c_str());
}

std::vector<fs::path> find_memory_files(const std::string& run_id) {
  return find_memory_files_in(memory_folder(), run_id);
}

std::vector<fs::path> find_memory_files_in(const fs::path& folder, const std::string& run_id) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (!entry->path().filename().string().starts_with(kPrefix + run_id)) continue;
    if (open_own(entry->path())) found.push_back(entry->path());
  }
  std::ranges::sort(found);
  return found;
}

std::optional<LeftMemory> open_left_memory(const fs::path& path) {
  base::UniqueFd fd = open_own(path);
  if (!fd || ::flock(fd.value(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  struct stat status {};
  if (::fstat(fd.value(), &status) != 0 || status.st_size == 0) return std::nullopt;
  base::SharedMemory memory = base::SharedMemory::attach(std::move(fd));
  std::optional<MemoryLabel> label = label_in(memory.bytes());
  if (!label || name_of(*label) != path.filename()) return std::nullopt;
  return LeftMemory(path, *std::move(label), std::move(memory));
}

bool is_memory_in_use(const fs::path& path) {
  const base::UniqueFd fd = open_own(path);
  return fd && ::flock(fd.value(), LOCK_EX | LOCK_NB) != 0;
}

}  // namespace kangpt::sharding
