#include "launcher/job/left_snapshots.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "io/checkpoint.hpp"
#include "launcher/agent/file_digest_json.hpp"
#include "launcher/job/agreement.hpp"
#include "launcher/record/json_lines.hpp"
#include "model/parameters/parameter_layout.hpp"
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

// The newest step up to `step` that metrics.jsonl has a line of.
std::uint64_t line_due(std::uint64_t step, const config::RunConfig& config) {
  return step == config.train.steps ? step : step - step % config.log.interval_steps;
}

// Another version of this program may have left it.
bool is_understood(const std::string& configuration) {
  try {
    return config::problems(config::parse_configuration(configuration).values).empty();
  } catch (const Error&) {
    return false;
  }
}

// The files of one node, opened by its first rank.
class NodeMemory {
  struct Written {
    io::TrainingState state;
    std::string configuration;
  };

 public:
  explicit NodeMemory(const std::string& id) : id_(id) {}

  // Waits for processes that still use them. Those that stay in use are of no use here, which is said.
  void open() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    for (const fs::path& path : sharding::find_memory_files(id_)) {
      while (sharding::is_memory_in_use(path) && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(kPoll);
      if (sharding::is_memory_in_use(path))
        base::log_warning(path.string() +
                          " is still in use by a process of an earlier start; what is in it is not used");
      if (std::optional<LeftMemory> memory = sharding::open_left_memory(path)) memories_.push_back(*std::move(memory));
    }
    std::erase_if(memories_, [](const LeftMemory& memory) { return !is_understood(memory.label().configuration); });
    for (const LeftMemory& memory : memories_) intact_.push_back(memory.intact());
  }

  // [[rank, world size, step, newest step up to it that is to be logged], ...]
  std::string describe() const {
    json found = json::array();
    for (std::size_t i = 0; i < memories_.size(); ++i) {
      const sharding::MemoryLabel& label = memories_[i].label();
      const config::RunConfig config = config::parse_configuration(label.configuration).values;
      for (const LeftMemory::HeldSnapshot& held : intact_[i]) {
        const std::uint64_t step = held.publication.state.step;
        found.push_back({label.rank, label.world_size, step, line_due(step, config)});
      }
    }
    return found.dump();
  }

  // Writes what `choice` takes from this rank of the job into `folder`. JSON: the digests.
  std::string write(const Choice& choice, int mine, const fs::path& folder) {
    json digests = json::array();
    std::set<int> written;  // ranks: this node may hold one's own file and its copy
    for (std::size_t i = 0; i < memories_.size(); ++i) {
      const sharding::MemoryLabel& label = memories_[i].label();
      const auto finder = choice.finders.find(label.rank);
      if (label.world_size != choice.world_size || finder == choice.finders.end() || finder->second != mine) continue;
      const auto held = std::ranges::find(intact_[i], choice.step,
                                          [](const LeftMemory::HeldSnapshot& h) { return h.publication.state.step; });
      if (held == intact_[i].end() || !written.insert(label.rank).second) continue;
      const sharding::ExchangeMemory::Slot slot = memories_[i].slot(held->slot);
      const std::uint64_t begin = static_cast<std::uint64_t>(label.rank) * label.range_size;
      const io::FileDigest digest =
          io::write_range(folder, {label.rank, label.world_size}, choice.step,
                          {begin, slot.parameters, slot.first_moment, slot.second_moment, slot.average});
      digests.push_back({label.rank, digest});
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

// The newest step of which one job left every range; if there is one, of which metrics.jsonl has all lines, since what
// a full disk or a killed agent kept from being written is only written again with the step.
std::optional<Choice> choose(const std::vector<std::string>& descriptions, std::uint64_t logged) {
  struct Found {
    std::map<int, int> finders;
    bool is_logged = false;
  };
  std::map<std::pair<std::uint64_t, int>, Found> all;  // by step and world size
  for (std::size_t finder = 0; finder < descriptions.size(); ++finder) {
    for (const json& entry : json::parse(descriptions[finder])) {
      Found& found = all[{entry[2], entry[1]}];
      found.finders.emplace(entry[0].get<int>(), static_cast<int>(finder));
      found.is_logged = entry[3].get<std::uint64_t>() <= logged;
    }
  }
  std::optional<Choice> newest;
  std::optional<Choice> newest_logged;
  for (const auto& [step_and_size, entry] : all) {
    const auto& [step, world_size] = step_and_size;
    if (step == 0 || static_cast<int>(entry.finders.size()) != world_size) continue;
    newest = Choice{step, world_size, entry.finders};
    if (entry.is_logged) newest_logged = newest;
  }
  return newest_logged ? newest_logged : newest;
}

// The step of the last line of a training step in metrics.jsonl; 0: there is none. Its validation may stand before it.
std::uint64_t last_step_line(const fs::path& run_directory) {
  std::uint64_t last = 0;
  for_each_object(run_directory / "metrics.jsonl", [&](const json& line) {
    if (line.contains("loss")) last = std::max(last, line.at("step").get<std::uint64_t>());
  });
  return last;
}

std::uint64_t newest_step_on_disk(const fs::path& checkpoints) {
  const std::vector<fs::path> found = io::list_checkpoints(checkpoints);
  if (found.empty()) return 0;
  const std::string name = found.front().filename().string();
  return std::stoull(name.substr(name.find('-') + 1));
}

// `state`: as of NodeMemory.
void commit(const fs::path& folder, const std::vector<std::string>& digests, const std::string& state) {
  std::map<int, io::FileDigest> files;  // by rank
  for (const std::string& text : digests) {
    for (const json& entry : json::parse(text)) files[entry[0]] = entry[1];
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

// Unless there is a newer one. Collective.
void make_checkpoint(sharding::MpiGroup& group, NodeMemory& memory, const Choice& choice, const fs::path& checkpoints) {
  const std::string folder = from_rank_zero(group, [&]() -> std::string {
    if (choice.step < newest_step_on_disk(checkpoints)) return "";
    return io::begin_checkpoint(checkpoints, choice.step).string();
  });
  if (folder.empty()) return;
  std::string written = "[]";
  require_of_all(group, [&] { written = memory.write(choice, group.rank(), folder); });
  const std::vector<std::string> digests = group.all_gather(written);
  const std::vector<std::string> states = group.all_gather(memory.state_and_configuration());
  from_rank_zero(group, [&]() -> std::string {
    commit(folder, digests, *std::ranges::find_if(states, [](const std::string& text) { return !text.empty(); }));
    base::log_warning("step " + base::format_count(choice.step) +
                      ", which an earlier start left in memory, is now a checkpoint");
    return "";
  });
}

}  // namespace

void save_left_snapshots(sharding::MpiGroup& group, const fs::path& run_directory, const std::string& id, Voice voice) {
  NodeMemory memory(id);
  if (voice == Voice::kOfNode) group.attend_while([&] { memory.open(); });
  const std::vector<std::string> found = group.all_gather(memory.describe());
  if (std::ranges::all_of(found, [](const std::string& text) { return text == "[]"; })) return memory.remove();
  const std::string logged = from_rank_zero(group, [&] { return std::to_string(last_step_line(run_directory)); });
  if (const std::optional<Choice> choice = choose(found, std::stoull(logged)))
    make_checkpoint(group, memory, *choice, run_directory / "checkpoints");
  memory.remove();
}

}  // namespace kangpt::launcher
