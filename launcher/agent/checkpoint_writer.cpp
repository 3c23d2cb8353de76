#include "launcher/agent/checkpoint_writer.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "launcher/agent/file_digest_json.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kFirstPause{5};
constexpr std::chrono::seconds kLongestPause{300};
constexpr std::chrono::seconds kSlow{60};

bool is_ready(const std::future<std::string>& future) {
  return future.valid() && future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

// Runs `body` in a thread; its future holds the result, or {"error": ...}.
template <typename Body>
std::future<std::string> run_in_thread(Body body) {
  return std::async(std::launch::async, [body = std::move(body)]() -> std::string {
    try {
      return body();
    } catch (const std::exception& error) {
      return json{{"error", error.what()}}.dump(-1, ' ', false, json::error_handler_t::replace);
    }
  });
}

}  // namespace

struct CheckpointWriter::Job {
  std::string name;  // the same on every rank
  Snapshot snapshot;
  Clock::time_point start = Clock::now();
  std::vector<float> parameters, first_moment, second_moment, average;
  std::future<std::string> preparing;  // rank 0, once all have begun it
  std::filesystem::path folder;        // step-N.tmp; empty until rank 0 has made it
  std::future<std::string> writing;
  std::future<std::string> committing;
  int begun_by_others = 0;      // rank 0
  bool warned = false;          // rank 0: that it takes long
  std::map<int, json> results;  // rank 0: by rank
};

CheckpointWriter::CheckpointWriter(sharding::MpiGroup& group, const sharding::Partition& partition, CheckpointPlan plan,
                                   Report report)
    : group_(group), partition_(partition), plan_(std::move(plan)), report_(std::move(report)) {}

CheckpointWriter::~CheckpointWriter() = default;

bool CheckpointWriter::is_due() const noexcept {
  if (job_ || group_.rank() != 0) return false;
  const Clock::time_point now = Clock::now();
  if (!last_error_.empty()) return now >= retry_time_;
  return plan_.interval_seconds > 0 && std::chrono::duration<double>(now - written_).count() >= plan_.interval_seconds;
}

void CheckpointWriter::begin(const sharding::ExchangeMemory::Slot& slot, const Snapshot& snapshot) {
  job_ = std::make_unique<Job>();
  job_->snapshot = snapshot;
  job_->name = std::to_string(epoch_) + ":" + std::to_string(++begun_);
  step_before_ = std::exchange(newest_step_, static_cast<std::int64_t>(snapshot.state.step));
  job_->parameters.assign(slot.parameters.begin(), slot.parameters.end());
  job_->first_moment.assign(slot.first_moment.begin(), slot.first_moment.end());
  job_->second_moment.assign(slot.second_moment.begin(), slot.second_moment.end());
  job_->average.assign(slot.average.begin(), slot.average.end());
  if (group_.rank() != 0) group_.post(0, kReadyTopic, job_->name + " ");
}

void CheckpointWriter::progress() {
  if (!job_) return;
  group_.rank() == 0 ? lead() : follow();
  if (job_ && group_.rank() == 0) warn_if_slow();
}

void CheckpointWriter::warn_if_slow() {
  if (job_->warned || Clock::now() - job_->start < kSlow) return;
  job_->warned = true;
  base::log_warning("the checkpoint of step " + std::to_string(job_->snapshot.state.step) +
                    " is not on disk after a minute: the disk of " + plan_.directory.string() +
                    " is slow or hangs; training waits where the next checkpoint is due");
}

// kReadyTopic: a rank has its copy. kBeginTopic: rank 0 has heard that of all, and made the folder. kRangeTopic: a rank
// has written its file. Then rank 0 seals the checkpoint with a manifest, and gives it its name.
// Nothing is written before all ranks have begun, so that one that only some have begun can be forgotten at once. The
// folder goes by its own name: its path may hold bytes that JSON has no place for.
void CheckpointWriter::lead() {
  int source = 0;
  while (job_->begun_by_others + 1 < group_.size()) {
    if (!receive(kReadyTopic, source)) return;
    ++job_->begun_by_others;
  }
  if (job_->folder.empty() && !job_->preparing.valid()) {
    job_->preparing = run_in_thread([this, step = job_->snapshot.state.step] {
      return json{{"folder", io::begin_checkpoint(plan_.directory, step).filename().string()}}.dump();
    });
  }
  if (is_ready(job_->preparing)) announce(job_->preparing.get());
  if (job_ && is_ready(job_->writing)) collect(0, job_->writing.get());
  while (job_ && !job_->committing.valid()) {
    const std::optional<std::string> result = receive(kRangeTopic, source);
    if (!result) return;
    collect(source, *result);
  }
  if (job_ && is_ready(job_->committing)) finish(json::parse(job_->committing.get()).value("error", ""));
}

void CheckpointWriter::announce(const std::string& prepared) {
  const json result = json::parse(prepared);
  const std::string folder = result.value("folder", "");
  for (int rank = 1; rank < group_.size(); ++rank) group_.post(rank, kBeginTopic, job_->name + " " + folder);
  if (folder.empty()) return finish(result.at("error"));
  job_->folder = plan_.directory / folder;
  start_writing();
}

void CheckpointWriter::follow() {
  if (job_->folder.empty()) {
    int source = 0;
    const std::optional<std::string> folder = receive(kBeginTopic, source);
    if (!folder) return;
    if (folder->empty()) return job_.reset();  // rank 0 could not make the folder
    job_->folder = plan_.directory / *folder;
    start_writing();
  }
  if (!is_ready(job_->writing)) return;
  group_.post(0, kRangeTopic, job_->name + " " + job_->writing.get());
  job_.reset();
}

void CheckpointWriter::start_writing() {
  Job* const job = job_.get();
  const int rank = group_.rank();
  const int size = group_.size();
  const std::uint64_t begin = partition_.range(rank).begin;
  job->writing = run_in_thread([job, rank, size, begin] {
    const auto& [state, checksum] = job->snapshot;
    if (sharding::slot_checksum({job->parameters, job->first_moment, job->second_moment, job->average}) != checksum)
      throw CheckpointError("the snapshot of step " + std::to_string(state.step) + " in memory is damaged");
    const io::FlatRange range{begin, job->parameters, job->first_moment, job->second_moment, job->average};
    return json(io::write_range(job->folder, {rank, size}, state.step, range)).dump();
  });
}

// The next message about the job in flight. Messages about a forgotten one are dropped.
std::optional<std::string> CheckpointWriter::receive(int topic, int& source) {
  while (const std::optional<sharding::MpiGroup::Posted> message = group_.receive(topic)) {
    const std::size_t space = message->text.find(' ');
    if (message->text.substr(0, space) != job_->name) continue;
    source = message->source;
    return message->text.substr(space + 1);
  }
  return std::nullopt;
}

std::filesystem::path CheckpointWriter::newest_folder() const {
  return plan_.directory / io::checkpoint_name(static_cast<std::uint64_t>(newest_step_));
}

void CheckpointWriter::forget_after(std::uint64_t begun_by_all) {
  ++epoch_;
  if (begun_ == begun_by_all) return;
  begun_ = begun_by_all;
  newest_step_ = step_before_;
  job_.reset();
}

void CheckpointWriter::collect(int rank, const std::string& result) {
  job_->results[rank] = json::parse(result);
  if (static_cast<int>(job_->results.size()) == group_.size()) commit();
}

void CheckpointWriter::commit() {
  io::CheckpointManifest manifest;
  for (const auto& [rank, result] : job_->results) {
    if (result.contains("error"))
      return finish("rank " + std::to_string(rank) + ": " + result["error"].get<std::string>());
    manifest.files.push_back(result.get<io::FileDigest>());
  }
  manifest.state = job_->snapshot.state;
  manifest.flat_size = partition_.padded_size();
  manifest.configuration = plan_.configuration;
  manifest.program_version = base::project_version();
  manifest.parameters = plan_.parameters;
  job_->committing = run_in_thread([this, folder = job_->folder, manifest = std::move(manifest)]() -> std::string {
    io::commit_checkpoint(folder, manifest);
    io::prune_checkpoints(plan_.directory, plan_.kept);
    return "{}";
  });
}

void CheckpointWriter::finish(const std::string& error) {
  CheckpointOutcome outcome{.step = job_->snapshot.state.step, .error = error};
  outcome.seconds = std::chrono::duration<double>(Clock::now() - job_->start).count();
  outcome.bytes = partition_.padded_size() * (job_->average.empty() ? 3 : 4) * sizeof(float);
  if (!error.empty() && !job_->folder.empty()) io::abandon_checkpoint(job_->folder);
  last_error_ = error;
  if (error.empty()) written_ = job_->start;
  pause_ = error.empty() ? std::chrono::seconds{} : std::clamp(2 * pause_, kFirstPause, kLongestPause);
  retry_time_ = Clock::now() + pause_;
  job_.reset();
  report_(outcome);
}

}  // namespace kangpt::launcher
