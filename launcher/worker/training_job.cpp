#include "launcher/worker/training_job.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/error.hpp"
#include "config/context_window.hpp"
#include "data_pipeline/batches/data_vocabulary.hpp"
#include "data_pipeline/batches/prefetch.hpp"
#include "data_pipeline/tokenizer/prompt.hpp"
#include "launcher/job/batch_options.hpp"
#include "launcher/job/run_length.hpp"
#include "launcher/worker/agent_link.hpp"
#include "launcher/worker/last_words.hpp"
#include "model/generation.hpp"
#include "model/parameters/initialisation.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "model/parameters/weight_source.hpp"
#include "operations/computing.hpp"
#include "operations/matrix_rate.hpp"
#include "sharding/workplace/workplace.hpp"
#include "training/learning_rate.hpp"

namespace kangpt::launcher {
namespace {

constexpr useconds_t kLookMicroseconds = 50;

// Text for log.sample_prompt, always with the same seed so that samples of different steps compare.
class SampleWriter {
 public:
  SampleWriter(const config::RunConfig& config, const model::Transformer& network, AgentLink& link,
               data::Vocabulary vocabulary)
      : config_(config), network_(network), link_(link), vocabulary_(std::move(vocabulary)) {}

  std::string operator()() const {
    const std::vector<std::int64_t> prompt = data::prompt_tokens(vocabulary_, config_.log.sample_prompt);
    const model::GenerationOptions options{.sampling = {.temperature = 0.8, .top_p = 0.95},
                                           .seed = config_.run.seed,
                                           .max_tokens = config_.data.sequence_length,
                                           .window_tokens = config::context_window_tokens(config_.data)};
    const auto keep_going = [this](std::int64_t /*token*/) {
      link_.progress();
      return true;
    };
    return config_.log.sample_prompt + vocabulary_.decode(model::generate(network_, prompt, options, keep_going));
  }

 private:
  const config::RunConfig& config_;
  const model::Transformer& network_;
  AgentLink& link_;
  data::Vocabulary vocabulary_;
};

// Batches of another source, each a sign of life: a validation may take longer than any time-out.
class LivelyBatches final : public training::BatchSource {
 public:
  LivelyBatches(std::unique_ptr<training::BatchSource> batches, AgentLink& link)
      : batches_(std::move(batches)), link_(link) {}

  training::MicroBatch micro_batch(std::uint64_t batch, int logical_shard) override {
    link_.progress();
    return batches_->micro_batch(batch, logical_shard);
  }
  std::uint64_t batches_per_epoch() const override { return batches_->batches_per_epoch(); }

 private:
  std::unique_ptr<training::BatchSource> batches_;
  AgentLink& link_;
};

class TrainingJob {
 public:
  TrainingJob(const WorkerParts& parts, const sharding::StartOrder& order, const config::RunConfig& config)
      : agent_(parts.agent),
        order_(order),
        config_(config),
        layout_(model::parameter_layout(config.model)),
        partition_(layout_.flat_size, static_cast<int>(order.state.logical_shards), order.world_size),
        memory_(parts.memory.bytes(), partition_.padded_size(), partition_.range_size(),
                {order.slots, sharding::ExchangeMemory::arrays_for(config.optimizer.ema_decay)}),
        workplace_(sharding::make_workplace(worker_link(), gpu(parts), config.train.reduction)),
        faults_(config::parse_fault_injections(config.fault.inject), order.rank, order.fired_faults,
                {workplace_.buffers.gradients, workplace_.buffers.parameters},
                [this](std::size_t index) { agent_.send(sharding::MessageKind::kFaultFired, index); }),
        link_(agent_, memory_.heartbeat(), faults_, profiling()) {}

  training::Outcome run() {
    link_.enter(training::Phase::kStart, order_.state.step);
    measure_matrix_rate();
    const std::unique_ptr<training::ShardedState> state = first_state();
    state->gather_parameters();
    model::Transformer network(config_.model, layout_, workplace_.buffers);
    link_.progress();
    const std::vector<data::OpenedSource> sources = open_data(config_.data);
    const std::unique_ptr<training::BatchSource> batches = training_batches(sources);
    link_.progress();
    const std::unique_ptr<training::BatchSource> validation = validation_batches(sources);
    link_.progress();
    const training::TrainerParts parts{network, *batches, *workplace_.communicator, *state, link_};
    const std::uint64_t total_steps = run_length_steps(config_.train, batches->batches_per_epoch());
    training::Trainer trainer(
        parts,
        {config_.optimizer, training::rate_ranges(config_.optimizer, layout_), config_.fault, total_steps, shards()},
        order_.state);
    return training::run_training(
        {trainer, parts, link_, validation.get(), sampler(network, sources), [this] { return link_.stop_requested(); },
         [this] { return link_.checkpoint_requested(); }},
        {total_steps, config_.train.patience, training::decay_begin(config_.optimizer, total_steps),
         validates_average(), checkpoints(), config_.log},
        shards());
  }

 private:
  training::ShardSpan shards() const {
    const sharding::ShardInterval mine = partition_.shards(order_.rank);
    return {mine.first, mine.count};
  }

  bool validates_average() const {
    return config_.optimizer.ema_decay > 0 && config_.log.validation_weights == config::Weights::kAverage;
  }

  config::CheckpointSection checkpoints() const {
    config::CheckpointSection section = config_.checkpoint;
    if (section.snapshot_interval_steps == 0 && !workplace_.copies) section.snapshot_interval_steps = 1;
    return section;
  }

  // An element that the host asks for is there when all is done that was queued before.
  Profiling profiling() const {
    if (!config_.log.profile || order_.rank != 0) return nullptr;
    return [gradients = workplace_.buffers.gradients] { gradients[0].item<float>(); };
  }

  // AUTO has been decided by the agent.
  std::optional<at::Device> gpu(const WorkerParts& parts) const {
    if (config_.run.device != config::Device::kCuda) return std::nullopt;
    return parts.take_gpu(order_.gpu);
  }

  // On all ranks at about the same time, since they share caches and clock rates. Without bf16 in the hardware its
  // products are the slower ones.
  void measure_matrix_rate() {
    double rate = operations::matrix_rate(workplace_.buffers.parameters.device(), at::kFloat);
    if (config_.train.precision == config::Precision::kBf16)
      rate = std::max(rate, operations::matrix_rate(workplace_.buffers.parameters.device(), at::kBFloat16));
    if (order_.rank == 0) link_.report_matrix_rate(rate);
  }

  sharding::WorkerLink worker_link() { return {agent_, memory_, partition_, order_}; }

  std::unique_ptr<training::ShardedState> first_state() {
    const bool fresh = order_.slot < 0;
    if (fresh) fill_first_slot();
    const auto publish = [this](int slot, const sharding::Publication& publication) {
      memory_.note(slot, publication);
      ++publications_;
      agent_.send(sharding::MessageKind::kPublish, static_cast<std::uint64_t>(slot), sharding::as_payload(publication));
      if (publication.write_checkpoint != 0) await_answer();
    };
    const auto await_taken = [this] {
      while (memory_.heartbeat().publications < publications_) ::usleep(kLookMicroseconds);
    };
    auto state = sharding::make_state(worker_link(), workplace_, {fresh ? 0 : order_.slot, publish, await_taken});
    if (fresh) state->publish(order_.state, training::ShardedState::Destination::kMemory);
    return state;
  }

  // Until the agent has copied a slot that goes to disk, it must not be written again.
  void await_answer() {
    const std::optional<sharding::Message> answer = agent_.receive();
    if (!answer || answer->kind != sharding::MessageKind::kDone)
      throw CommunicationError("the agent of rank " + std::to_string(order_.rank) + " is gone");
  }

  // Every rank computes all first values, since each depends on the seed and its own place alone, and keeps its range.
  void fill_first_slot() {
    const std::span<float> flat = memory_.parameters();
    config_.model.initial_weights.empty()
        ? model::initialise(config_.model, layout_, config_.run.seed, flat.first(layout_.flat_size))
        : model::load_first_weights(config_.model.initial_weights, layout_, flat.first(layout_.flat_size));
    std::ranges::fill(flat.subspan(layout_.flat_size), 0.0F);
    const sharding::FlatInterval range = partition_.range(order_.rank);
    const sharding::ExchangeMemory::Slot slot = memory_.slot(0);
    std::ranges::copy(flat.subspan(range.begin, range.size()), slot.parameters.begin());
    std::ranges::copy(slot.parameters.first(slot.average.size()), slot.average.begin());
    std::ranges::fill(slot.first_moment, 0.0F);
    std::ranges::fill(slot.second_moment, 0.0F);
  }

  std::unique_ptr<training::BatchSource> training_batches(const std::vector<data::OpenedSource>& sources) const {
    const training::ShardSpan mine = shards();
    return data::prefetch(
        data::open_batches(batch_options(config_, sources, partition_.logical_shards(), data::kTrainSplit)),
        {.first_batch = order_.state.batches, .shards_begin = mine.first, .shards_end = mine.first + mine.count});
  }

  // Data without a validation split trains without validation; rank 0's agent says so.
  std::unique_ptr<training::BatchSource> validation_batches(const std::vector<data::OpenedSource>& sources) {
    if (!data::have_split(sources, data::kValidationSplit)) return nullptr;
    return std::make_unique<LivelyBatches>(
        data::open_batches(batch_options(config_, sources, partition_.logical_shards(), data::kValidationSplit)),
        link_);
  }

  std::function<std::string()> sampler(const model::Transformer& network,
                                       const std::vector<data::OpenedSource>& sources) {
    if (config_.log.sample_interval_steps == 0 || order_.rank != 0) return nullptr;
    std::optional<data::Vocabulary> vocabulary = data::vocabulary_of(sources);
    if (!vocabulary) throw MissingInputError("the vocabulary is gone from " + data::directories(sources));
    return SampleWriter(config_, network, link_, std::move(*vocabulary));
  }

  sharding::MessageSocket& agent_;
  sharding::StartOrder order_;
  const config::RunConfig& config_;
  base::ParameterTable layout_;
  sharding::Partition partition_;
  sharding::ExchangeMemory memory_;
  sharding::Workplace workplace_;
  std::uint64_t publications_ = 0;
  FaultInjector faults_;
  AgentLink link_;
};

}  // namespace

void run_training_job(const WorkerParts& parts, const sharding::StartOrder& order, const config::RunConfig& config) {
  operations::start_computing(static_cast<int>(order.state.threads));
  std::optional<TrainingJob> job;
  training::Outcome outcome{};
  const bool done = tell_failure(parts.agent, [&] { outcome = job.emplace(parts, order, config).run(); });
  if (!done) std::_Exit(static_cast<int>(ExitCode::kInternal));
  job.reset();
  parts.agent.send(sharding::MessageKind::kFinished, outcome == training::Outcome::kDone ? 0 : 1);
}

}  // namespace kangpt::launcher
