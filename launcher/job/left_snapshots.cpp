#include "launcher/job/left_snapshots.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "io/checkpoint.hpp"
#include "launcher/job/agreement.hpp"
#include "model/parameter_layout.hpp"
#include "sharding/memory_file.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using sharding::LeftMemory;

// Processes of a job whose mpirun was killed end within moments.
constexpr std::chrono::seconds kPatience{20};
constexpr std::chrono::milliseconds kPoll{20};

// Where each rank's range of the newest whole step lies.
struct Choice {
  std::uint64_t step = 0;
  int world_size = 0;
  std::map<int, int> finders;  // by rank of that job: the rank of this one whose node holds it
};

// The files of one node, opened by its first rank.
class NodeMemory {
  struct Written {
    io::TrainingState state;
    std::string configuration;
  };

 public:
  explicit NodeMemory(const std::string& id) : id_(id) {}

  // Waits for processes that still use them. Those that stay in use are left alone.
  void open() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    for (const fs::path& path : sharding::find_memory_files(id_)) {
      while (sharding::is_memory_in_use(path) && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(kPoll);
      if (std::optional<LeftMemory> memory = sharding::open_left_memory(path)) memories_.push_back(*std::move(memory));
    }
    for (const LeftMemory& memory : memories_) intact_.push_back(memory.intact());
  }

  // [[rank, world size, step], ...]
  std::string describe() const {
    json found = json::array();
    for (std::size_t i = 0; i < memories_.size(); ++i) {
      for (const LeftMemory::HeldSnapshot& held : intact_[i])
        found.push_back({memories_[i].label().rank, memories_[i].label().world_size, held.publication.state.step});
    }
    return found.dump();
  }

  // Writes what `choice` takes from this rank of the job into `folder`. JSON: the digests.
  std::string write(const Choice& choice, int mine, const fs::path& folder) {
    json digests = json::array();
    for (std::size_t i = 0; i < memories_.size(); ++i) {
      const sharding::MemoryLabel& label = memories_[i].label();
      const auto finder = choice.finders.find(label.rank);
      if (label.world_size != choice.world_size || finder == choice.finders.end() || finder->second != mine) continue;
      const auto held = std::ranges::find(intact_[i], choice.step,
                                          [](const LeftMemory::HeldSnapshot& h) { return h.publication.state.step; });
      const sharding::ExchangeMemory::Slot slot = memories_[i].slot(held->slot);
      const std::uint64_t begin = static_cast<std::uint64_t>(label.rank) * label.range_size;
      const io::FileDigest digest = io::write_range(folder, {label.rank, label.world_size}, choice.step,
                                                    {begin, slot.parameters, slot.first_moment, slot.second_moment});
      digests.push_back(
          {label.rank, digest.name, digest.size_bytes, digest.begin, digest.end, digest.xxh3, digest.sha256});
      written_ = Written{held->publication.state, label.configuration};
    }
    return digests.dump();
  }

  void remove() {
    for (const LeftMemory& memory : memories_) memory.remove();
  }

  // The state of what this rank wrote, then its configuration; "" where it wrote nothing.
  std::string state_and_configuration() const {
    return written_ ? std::string(sharding::as_payload(written_->state)) + written_->configuration : "";
  }

 private:
  std::string id_;
  std::vector<LeftMemory> memories_;
  std::vector<std::vector<LeftMemory::HeldSnapshot>> intact_;
  std::optional<Written> written_;
};

// The newest step of which one job left every range.
std::optional<Choice> choose(const std::vector<std::string>& descriptions) {
  std::map<std::pair<std::uint64_t, int>, std::map<int, int>> found;  // by step and world size
  for (std::size_t finder = 0; finder < descriptions.size(); ++finder) {
    for (const json& entry : json::parse(descriptions[finder]))
      found[{entry[2], entry[1]}].emplace(entry[0].get<int>(), static_cast<int>(finder));
  }
  for (auto entry = found.rbegin(); entry != found.rend(); ++entry) {
    const auto& [step, world_size] = entry->first;
    const bool is_whole = static_cast<int>(entry->second.size()) == world_size;
    if (step > 0 && is_whole) return Choice{step, world_size, entry->second};
  }
  return std::nullopt;
}

std::uint64_t newest_step_on_disk(const fs::path& checkpoints) {
  const std::vector<fs::path> found = io::list_checkpoints(checkpoints);
  if (found.empty()) return 0;
  const std::string name = found.front().filename().string();
  return std::stoull(name.substr(name.find('-') + 1));
}

io::FileDigest digest_from(const json& entry) {
  return {.name = entry[1],
          .size_bytes = entry[2],
          .begin = entry[3],
          .end = entry[4],
          .xxh3 = entry[5],
          .sha256 = entry[6]};
}

// `state`: as of NodeMemory.
void commit(const fs::path& folder, const std::vector<std::string>& digests, const std::string& state) {
  std::map<int, io::FileDigest> files;  // by rank
  for (const std::string& text : digests) {
    for (const json& entry : json::parse(text)) files[entry[0]] = digest_from(entry);
  }
  io::CheckpointManifest manifest;
  for (const auto& [rank, digest] : files) manifest.files.push_back(digest);
  manifest.state = sharding::from_payload<io::TrainingState>(state);
  manifest.flat_size = manifest.files.back().end;
  manifest.configuration = state.substr(sizeof manifest.state);
  manifest.program_version = base::project_version();
  manifest.parameters = model::parameter_layout(config::parse_configuration(manifest.configuration).values.model);
  io::commit_checkpoint(folder, manifest);
}

}  // namespace

void save_left_snapshots(sharding::MpiGroup& group, const fs::path& run_directory, const std::string& id) {
  const fs::path checkpoints = run_directory / "checkpoints";
  NodeMemory memory(id);
  const bool looks = group.local_rank() == 0;
  if (looks) group.attend_while([&] { memory.open(); });
  const std::optional<Choice> choice = choose(group.all_gather(memory.describe()));
  const std::string folder = from_rank_zero(group, [&]() -> std::string {
    if (!choice || choice->step < newest_step_on_disk(checkpoints)) return "";
    return io::begin_checkpoint(checkpoints, choice->step).string();
  });
  if (!folder.empty()) {
    std::string written = "[]";
    require_of_all(group, [&] { written = memory.write(*choice, group.rank(), folder); });
    const std::vector<std::string> digests = group.all_gather(written);
    const std::vector<std::string> states = group.all_gather(memory.state_and_configuration());
    from_rank_zero(group, [&]() -> std::string {
      commit(folder, digests, *std::ranges::find_if(states, [](const std::string& text) { return !text.empty(); }));
      return "";
    });
    if (group.rank() == 0)
      base::log_warning("an earlier start was killed; step " + base::format_count(choice->step) +
                        ", which it left in memory, is now a checkpoint");
  }
  memory.remove();
}

}  // namespace kangpt::launcher
