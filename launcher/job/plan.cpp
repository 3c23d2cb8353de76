#include "launcher/job/plan.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <sstream>
#include <vector>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/processor/processor.hpp"
#include "config/context_window.hpp"
#include "model/parameters/gpu_memory.hpp"
#include "model/parameters/model_cost.hpp"
#include "model/parameters/model_memory.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "sharding/agent_protocol.hpp"
#include "sharding/partition.hpp"
#include "training/learning_rate.hpp"

namespace kangpt::launcher {
namespace {

std::string bytes(std::uint64_t count) {
  return base::format_bytes(static_cast<double>(count));
}

// Gradients are reduced and parameters gathered; where ranks share a matrix, so is what Muon makes its step of.
std::uint64_t exchanges_a_step(const config::RunConfig& config, const base::ParameterTable& table,
                               const sharding::Partition& partition) {
  const auto is_shared = [&](const training::RateRange& rate) {
    return rate.rows > 0 && partition.cuts({rate.begin, rate.end});
  };
  return std::ranges::any_of(training::rate_ranges(config.optimizer, table), is_shared) ? 3 : 2;
}

// What a rank takes of the memory file system.
struct RankMemory {
  std::uint64_t shared_bytes = 0;    // by agent and worker
  std::uint64_t copies_bytes = 0;    // for copies of other ranks' snapshots, of the rank that keeps most
  std::uint64_t snapshot_bytes = 0;  // of shared_bytes, for one snapshot
  int snapshots = 0;
};

RankMemory memory_of(const sharding::Partition& partition, const config::RunConfig& config, const World& world) {
  using sharding::ExchangeMemory;
  const bool copies = has_copies(config, world);
  const int slots = copies ? ExchangeMemory::kMostSlots : ExchangeMemory::kSlots;
  std::size_t most_sources = 0;
  for (int rank = 0; copies && rank < world.size; ++rank)
    most_sources = std::max(most_sources, copy_sources(world.nodes, rank).size());
  const int arrays = ExchangeMemory::arrays_for(config.optimizer.ema_decay);
  return {.shared_bytes = ExchangeMemory::size_bytes(partition.padded_size(), partition.range_size(), {slots, arrays}),
          .copies_bytes =
              most_sources * ExchangeMemory::size_bytes(0, partition.range_size(), {ExchangeMemory::kSlots, arrays}),
          .snapshot_bytes = static_cast<std::uint64_t>(arrays) * partition.range_size() * sizeof(float),
          .snapshots = slots};
}

// What agents and workers take for themselves: programs, libraries, and what these keep. Measured.
constexpr std::uint64_t kWorkerProgramBytes = 150'000'000;
constexpr std::uint64_t kAgentProgramBytes = 40'000'000;

model::PassMemory passes_of(const JobSetup& setup) {
  const bool on_gpu = setup.device == config::Device::kCuda;
  const bool rounds = on_gpu || base::bfloat16_products() != base::Bfloat16Products::kNone;
  const model::PassShape shape = {
      .sequences = static_cast<std::int64_t>(setup.state.batch_size / setup.state.logical_shards),
      .time = config::context_window_tokens(setup.config.data),
      .threads = std::max(1U, setup.state.threads),
      .precision = rounds ? choose_precision(setup) : config::Precision::kFp32};
  return on_gpu ? model::gpu_pass_memory(setup.config.model, shape) : model::pass_memory(setup.config.model, shape);
}

// Of each rank, where all ranks have them whole: a flat buffer, and the gradient tree's.
struct FlatMemory {
  std::uint64_t bytes = 0;
  std::uint64_t tree_bytes = 0;
};

std::string describe_agent(const RankMemory& memory) {
  return bytes(memory.snapshot_bytes + kAgentProgramBytes) + " of the agent (a checkpoint on its way to disk " +
         bytes(memory.snapshot_bytes) + ", program " + bytes(kAgentProgramBytes) + ")";
}

std::string describe_passes(const model::PassMemory& passes, const FlatMemory& flat) {
  return "activations " + bytes(passes.kept_bytes) + ", one layer after the other " + bytes(passes.shared_bytes) +
         (flat.tree_bytes > 0 ? ", gradient tree " + bytes(flat.tree_bytes) : "");
}

// All of Muon's matrices: a rank has no more of them.
std::uint64_t muon_bytes(const config::RunConfig& config) {
  std::vector<model::MatrixShape> matrices;
  for (const training::RateRange& rate :
       training::rate_ranges(config.optimizer, model::parameter_layout(config.model))) {
    if (rate.rows > 0) matrices.push_back({rate.rows, (rate.end - rate.begin) / rate.rows});
  }
  return model::gpu_muon_bytes(matrices);
}

// With a line of its own where a GPU has less. A snapshot is a copy of the moments, and of the parameters that they
// belong to.
std::string describe_gpu_memory(const JobSetup& setup, const World& world, const RankMemory& memory,
                                const FlatMemory& flat) {
  const model::PassMemory passes = passes_of(setup);
  const std::uint64_t state = 2 * flat.bytes + memory.snapshot_bytes + muon_bytes(setup.config);
  const std::uint64_t needed = state + flat.tree_bytes + passes.total(), there = world.gpus.memory_bytes;
  const std::string text = bytes(needed) + " of a rank's GPU at the most (parameters, gradients and moments " +
                           bytes(state) + ", " + describe_passes(passes, flat) +
                           "), and what CUDA and its libraries take; of the host " + bytes(memory.shared_bytes) +
                           " shared by agent and worker; " + describe_agent(memory);
  if (there == 0 || needed <= there) return text;
  return text + "\nwarning       a GPU of this job has " + bytes(there) +
         ", which will not do; less is taken by more train.logical_shards, which make micro-batches smaller, by " +
         "train.recompute=LAYERS, or on more GPUs";
}

std::string describe_memory(const JobSetup& setup, const World& world, const RankMemory& memory,
                            const FlatMemory& flat) {
  if (setup.device == config::Device::kCuda) return describe_gpu_memory(setup, world, memory, flat);
  const model::PassMemory passes = passes_of(setup);
  const std::uint64_t worker = flat.tree_bytes + passes.total() + kWorkerProgramBytes;
  const std::uint64_t agent = memory.snapshot_bytes + kAgentProgramBytes;
  return bytes(memory.shared_bytes + worker + agent) + " a rank at the most: " + bytes(memory.shared_bytes) +
         " shared by agent and worker (parameters, gradients, " +
         (memory.snapshots == sharding::ExchangeMemory::kSlots ? "two" : "four") + " snapshots" +
         (setup.config.optimizer.ema_decay > 0 ? " with the average of the parameters); " : "); ") + bytes(worker) +
         " of the worker (" + describe_passes(passes, flat) + ", program " + bytes(kWorkerProgramBytes) + "); " +
         describe_agent(memory);
}

std::string describe_copies(const RankMemory& memory, const config::RunConfig& config, const World& world) {
  const int nodes = count_nodes(world.nodes);
  if (nodes == 1)
    return "none: all ranks are on one node, which keeps the newest snapshots in memory after a kill; if it is lost "
           "itself, a start goes on from the last checkpoint";
  const std::uint64_t interval = config.checkpoint.copy_interval_steps;
  if (interval == 0)
    return "none, as checkpoint.copy_interval_steps is 0: if a node is lost, a start goes on from the last checkpoint";
  return bytes(memory.snapshot_bytes) + " sent by each rank " +
         (interval == 1 ? "a step" : "every " + std::to_string(interval) + " steps") + " to another of " +
         std::to_string(nodes) + " nodes, in the background; " + bytes(memory.copies_bytes) +
         " of memory a rank keep what others send";
}

std::string describe_start(const JobSetup& setup) {
  if (setup.checkpoint.empty()) return ", a fresh start";
  const std::string step = base::format_count(setup.state.step);
  if (setup.state.step >= setup.total_steps) return "; nothing to do, since step " + step + " is done";
  return ", going on behind step " + step;
}

}  // namespace

std::string memory_problem(const JobSetup& setup, const World& world) {
  const std::uint64_t flat_size = model::parameter_layout(setup.config.model).flat_size;
  const sharding::Partition partition(flat_size, static_cast<int>(setup.state.logical_shards), world.size);
  const RankMemory memory = memory_of(partition, setup.config, world);
  const std::uint64_t needed =
      static_cast<std::uint64_t>(world.ranks_here) * (memory.shared_bytes + memory.copies_bytes);
  if (world.memory_bytes == 0 || needed <= world.memory_bytes) return "";
  return "the network takes " + bytes(needed) + " of memory for parameters, gradients and snapshots of " +
         std::to_string(world.ranks_here) + " rank(s) on this machine, which has " + bytes(world.memory_bytes) +
         "; smaller values of model.d_model, model.layers or model.vocabulary_size may fit, or more machines";
}

void require_memory(const JobSetup& setup, const World& world) {
  const std::string problem = memory_problem(setup, world);
  if (!problem.empty()) throw ConfigError(problem);
}

std::string recommended_layout(const JobSetup& setup, const World& world) {
  if (setup.device == config::Device::kCuda) return "one rank a GPU";
  const bool are_shards_fixed = setup.config.train.logical_shards != 0 || !setup.checkpoint.empty();
  const auto shareable = are_shards_fixed ? setup.state.logical_shards : setup.state.batch_size;
  const auto processors = static_cast<unsigned>(std::max(1, world.cpus));
  const auto ranks = std::gcd(std::uint64_t{std::bit_floor(processors)}, std::uint64_t{shareable});
  const std::uint64_t threads = processors / ranks;
  const std::string count = std::to_string(ranks);
  return count + " rank(s) x " + std::to_string(threads) + " thread(s) use all " + std::to_string(processors) +
         " processor(s): mpirun -np " + count +
         (are_shards_fixed ? " ... --set run.threads=" + std::to_string(threads) : "");
}

std::string describe_plan(const JobSetup& setup, const World& world) {
  const config::RunConfig& config = setup.config;
  const base::ParameterTable table = model::parameter_layout(config.model);
  const auto shards = static_cast<int>(setup.state.logical_shards);
  const sharding::Partition partition(table.flat_size, shards, world.size);
  const std::uint64_t flat_bytes = partition.padded_size() * sizeof(float);
  const std::uint64_t tree_levels =
      static_cast<std::uint64_t>(std::bit_width(static_cast<unsigned>(shards / world.size)) - 1);
  const RankMemory memory = memory_of(partition, config, world);
  const std::uint64_t others = static_cast<std::uint64_t>(world.size) - 1;
  const std::uint64_t tokens =
      setup.state.batch_size * static_cast<std::uint64_t>(config::context_window_tokens(config.data));
  const model::TokenFlops flops = model::flops_per_token(config.model);
  std::ostringstream text;
  text << "model         " << base::format_count(table.parameter_count) << " parameters, "
       << bytes(table.parameter_count * sizeof(float)) << " in fp32; "
       << base::format_count(static_cast<std::uint64_t>(flops.total())) << " FLOP a token (head "
       << static_cast<int>(100 * flops.head / flops.total()) << " %, feed-forward "
       << static_cast<int>(100 * flops.feed_forward / flops.total()) << " %, mixer "
       << static_cast<int>(100 * flops.mixer / flops.total()) << " %)\n"
       << "ranks         " << world.size << ", with " << setup.state.threads << " thread(s) each on " << world.cpus
       << " processor(s); " << shards << " logical shards of "
       << setup.state.batch_size / static_cast<std::uint64_t>(shards) << " sequences\n"
       << "best layout   " << recommended_layout(setup, world) << "\n"
       << "products      " << describe_products(setup) << "\n"
       << "steps         " << base::format_count(setup.total_steps) << " of up to " << base::format_count(tokens)
       << " tokens" << describe_start(setup) << "\n"
       << "memory        " << describe_memory(setup, world, memory, {flat_bytes, tree_levels * flat_bytes}) << "\n"
       << "wire          "
       << bytes(exchanges_a_step(config, table, partition) * others * flat_bytes /
                static_cast<std::uint64_t>(world.size))
       << " sent by each rank a step\n"
       << "copies        " << describe_copies(memory, config, world) << "\n"
       << "checkpoint    " << bytes(memory.snapshot_bytes * static_cast<std::uint64_t>(world.size))
       << " each, the last " << config.checkpoint.keep_last << " kept in " << config.run.directory << "/checkpoints\n";
  for (const std::string& warning : config::warnings(config)) text << "warning       " << warning << "\n";
  std::istringstream notes(setup.notes);
  for (std::string line; std::getline(notes, line);) text << "note          " << line << "\n";
  return text.str();
}

}  // namespace kangpt::launcher
