#include "tools/simulation/simulation_report.hpp"

#include <array>
#include <bit>
#include <cstdio>

#include "base/error.hpp"
#include "base/format.hpp"

namespace kangpt::tools {
namespace {

using sharding::Schedule;

constexpr int kFewestGpus = 8;
constexpr int kMostGpus = 1024;

constexpr char kLegend[] = R"(
halving: what train.reduction TREE does, log2(GPUs) rounds, nearest GPUs first; direct: the same bits in one round;
ring: FAST, other bits for other numbers of GPUs, and slow where its GPUs - 1 steps outweigh the bytes.
GPU busy: share of the step spent in forward and backward. now: halving after the backward pass; best: beside it.
)";

void require_positive(const char* option, double value) {
  if (value > 0) return;
  throw UsageError(std::string(option) + " is " + std::to_string(value) + "; valid: above 0");
}

template <typename... Values>
std::string print(const char* format, Values... values) {
  std::array<char, 200> line{};
  std::snprintf(line.data(), line.size(), format, values...);
  return line.data();
}

std::string heading(const std::vector<Segment>& segments, const SimulationOptions& options) {
  const Cluster& cluster = options.cluster;
  double bytes = 0;
  int matrices = 0;
  for (const Segment& segment : segments) {
    bytes += segment.bytes;
    matrices += segment.matrices;
  }
  const StepTimes alone = simulate_step(segments, cluster, {Schedule::kDirect, 1, 0});
  std::string text = "gradient      " + base::format_bytes(bytes) + " in fp32\n";
  text += print("step          %.2f ms on one GPU alone: %.0f tokens at %.2f M tokens/s, update %.2f ms\n",
                1e3 * alone.total(), options.tokens, cluster.tokens_per_second / 1e6, 1e3 * alone.update);
  if (matrices > 0)
    text += print("Muon          updates %d matrices: what it gathers for them is counted, their products are not\n",
                  matrices);
  text += print("links         %.0f GB/s in a node of %d, %.0f GB/s of network a GPU; nothing here was measured\n\n",
                cluster.in_node_bytes_per_second / 1e9, cluster.gpus_per_node, cluster.network_bytes_per_second / 1e9);
  text +=
      print("             ms added to a step: after the backward pass |  beside it, buckets of %3.0f MB | GPU busy\n",
            options.bucket_mbytes);
  return text +
         "   GPUs      direct   halving      ring              |  direct   halving      ring    |   now    best\n";
}

}  // namespace

void check(const SimulationOptions& options) {
  require_positive("--tokens", options.tokens);
  require_positive("--tokens-per-second", options.cluster.tokens_per_second);
  require_positive("--in-node-gbytes", options.cluster.in_node_bytes_per_second);
  require_positive("--network-gbytes", options.cluster.network_bytes_per_second);
  require_positive("--bucket-mbytes", options.bucket_mbytes);
  const int gpus = options.cluster.gpus_per_node;
  if (gpus < 1 || gpus > kMostGpus || !std::has_single_bit(static_cast<unsigned>(gpus))) {
    throw UsageError("--gpus-per-node is " + std::to_string(gpus) + "; valid: a power of two up to " +
                     std::to_string(kMostGpus));
  }
}

std::string describe_simulation(const config::RunConfig& config, const SimulationOptions& options) {
  const std::vector<Segment> segments = step_segments(config, options.cluster, options.tokens);
  std::string text = heading(segments, options);
  for (int gpus = kFewestGpus; gpus <= kMostGpus; gpus *= 2) {
    const auto times = [&](Schedule schedule, double bucket_bytes) {
      return simulate_step(segments, options.cluster, {schedule, gpus, bucket_bytes});
    };
    const auto added = [&](Schedule schedule, double bucket_bytes) {
      return 1e3 * times(schedule, bucket_bytes).added();
    };
    const double bucket_bytes = options.bucket_mbytes * 1e6;
    const StepTimes now = times(sharding::kScheduleOfGpus, 0);
    const StepTimes best = times(Schedule::kHalving, bucket_bytes);
    text += print("%7d  %10.2f%10.2f%10.2f%14s |%8.2f%10.2f%10.2f%4s |%5.1f %%  %5.1f %%\n", gpus,
                  added(Schedule::kDirect, 0), added(Schedule::kHalving, 0), added(Schedule::kRing, 0), "",
                  added(Schedule::kDirect, bucket_bytes), added(Schedule::kHalving, bucket_bytes),
                  added(Schedule::kRing, bucket_bytes), "", 100 * now.compute / now.total(),
                  100 * best.compute / best.total());
  }
  return text + kLegend;
}

}  // namespace kangpt::tools
