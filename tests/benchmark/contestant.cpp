#include "tests/benchmark/contestant.hpp"

#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <istream>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/shared_memory.hpp"
#include "io/safetensors.hpp"
#include "model/parameters/initialisation.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "model/parameters/weight_file.hpp"
#include "model/transformer.hpp"
#include "operations/computing.hpp"
#include "sharding/local_communicator.hpp"
#include "sharding/slot_state.hpp"
#include "training/learning_rate.hpp"
#include "training/trainer.hpp"

namespace kangpt::benchmarks {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The same rows again and again.
class OneBatch : public training::BatchSource {
 public:
  OneBatch(const std::filesystem::path& path, std::int64_t sequences, std::int64_t time) {
    batch_ = {.rows = sequences, .time = time, .inputs = {}, .targets = {}, .mask = {}};
    batch_.mask.assign(static_cast<std::size_t>(sequences * time), 1.0F);
    std::vector<std::int64_t> row(static_cast<std::size_t>(time + 1));
    std::ifstream file(path, std::ios::binary);
    for (std::int64_t sequence = 0; sequence < sequences; ++sequence) {
      file.read(reinterpret_cast<char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(std::int64_t)));
      if (!file) throw DataError(path.string() + " holds fewer than " + std::to_string(sequences) + " rows");
      batch_.inputs.insert(batch_.inputs.end(), row.begin(), row.end() - 1);
      batch_.targets.insert(batch_.targets.end(), row.begin() + 1, row.end());
    }
  }

  training::MicroBatch micro_batch(std::uint64_t, int) override { return batch_; }
  std::uint64_t batches_per_epoch() const override { return 1; }

 private:
  training::MicroBatch batch_;
};

// Seconds spent in each phase of the steps.
class PhaseSeconds : public training::PhaseObserver {
 public:
  void enter(training::Phase phase, std::uint64_t) override {
    seconds_[phase_] += seconds_since(start_);
    phase_ = phase;
    start_ = Clock::now();
  }
  double of(training::Phase phase) const {
    const auto found = seconds_.find(phase);
    return found == seconds_.end() ? 0 : found->second;
  }

 private:
  std::map<training::Phase, double> seconds_;
  training::Phase phase_ = training::Phase::kStart;
  Clock::time_point start_ = Clock::now();
};

double peak_megabytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != "VmHWM:") continue;
    status >> word;
    return std::stod(word) * 1024 / 1e6;
  }
  return 0;
}

long page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

at::Tensor tensor_over(std::span<float> values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kFloat);
}

// A worker's parts for a world of one rank, over a shared mapping as between agent and worker.
class Contestant {
 public:
  Contestant(const config::RunConfig& config, const std::filesystem::path& batch)
      : config_(config),
        layout_(model::parameter_layout(config_.model)),
        partition_(layout_.flat_size, 1, 1),
        mapping_(base::SharedMemory::create(
            "contestant", sharding::ExchangeMemory::size_bytes(partition_.padded_size(), partition_.range_size()))),
        memory_(mapping_.bytes(), partition_.padded_size(), partition_.range_size()),
        batches_(batch, config.train.batch_size, config.data.sequence_length) {
    operations::start_computing(config.run.threads);
    model::load_weights(config.model.initial_weights, layout_, memory_.slot(0).parameters.first(layout_.flat_size));
    state_.gather_parameters();
  }

  json steps(int count) {
    const model::PartSeconds parts_before = network_.part_seconds();
    const double update_before = phases_.of(training::Phase::kUpdate);
    const long faults_before = page_faults();
    json answer{{"seconds", json::array()}, {"losses", json::array()}};
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < count; ++i) {
      training::StepVotes votes;
      const Clock::time_point begin = Clock::now();
      const training::StepReport report = trainer_.step(votes);
      state_.publish(trainer_.state(), training::ShardedState::Destination::kMemory);
      answer["seconds"].push_back(seconds_since(begin));
      answer["losses"].push_back(report.loss);
    }
    phases_.enter(training::Phase::kStart, 0);
    const model::PartSeconds& parts = network_.part_seconds();
    json seconds{{"head", parts.head - parts_before.head},
                 {"feed_forward", parts.feed_forward - parts_before.feed_forward},
                 {"mixer", parts.mixer - parts_before.mixer},
                 {"embedding", parts.embedding - parts_before.embedding},
                 {"optimizer", phases_.of(training::Phase::kUpdate) - update_before}};
    double named = 0;
    for (const auto& part : seconds) named += part.get<double>();
    seconds["other"] = seconds_since(start) - named;
    answer["parts"] = seconds;
    answer["page_faults"] = page_faults() - faults_before;
    answer["peak_megabytes"] = peak_megabytes();
    return answer;
  }

 private:
  config::RunConfig config_;
  base::ParameterTable layout_;
  sharding::Partition partition_;
  base::SharedMemory mapping_;
  sharding::ExchangeMemory memory_;
  OneBatch batches_;
  PhaseSeconds phases_;
  sharding::LocalCommunicator communicator_;
  sharding::SlotState state_{memory_, partition_, communicator_, {0, [](int, const sharding::Publication&) {}}};
  model::Transformer network_{
      config_.model, layout_, {tensor_over(memory_.parameters()), tensor_over(memory_.gradients())}};
  training::Trainer trainer_{
      {network_, batches_, communicator_, state_, phases_},
      {config_.optimizer, training::rate_ranges(config_.optimizer, layout_), config_.fault, 0, {0, 1}},
      {}};
};

}  // namespace

void write_first_weights(const config::RunConfig& config, const std::filesystem::path& path) {
  const config::ModelConfig& model = config.model;
  const base::ParameterTable layout = model::parameter_layout(model);
  std::vector<float> flat(layout.flat_size);
  model::initialise(model, layout, config.run.seed, flat);
  std::vector<io::TensorToWrite> tensors;
  for (const base::ParameterEntry& entry : layout.entries) {
    tensors.push_back({entry.name, entry.shape, std::span(flat).subspan(entry.offset, entry.size)});
  }
  io::write_safetensors(path, tensors, {});
}

void serve(const config::RunConfig& config, const std::filesystem::path& batch, std::istream& in, std::ostream& out) {
  Contestant contestant(config, batch);
  for (int count = 0; in >> count;) out << contestant.steps(count) << std::endl;
}

}  // namespace kangpt::benchmarks
