#include "tools/simulation/cluster_simulation.hpp"

#include <algorithm>
#include <limits>
#include <ranges>

#include "model/parameters/model_cost.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "training/learning_rate.hpp"

namespace kangpt::tools {
namespace {

using sharding::Schedule;

constexpr double kForwardShare = 1.0 / 3;  // of forward and backward together
// AdamW, and Muon but for its products, reads gradient, parameter and moments and writes the last three, 4 bytes each.
constexpr double kUpdateTraffic = 7;

// "layers.3" of "layers.3.kan.coefficients", else what stands before the first dot.
std::string segment_name(const std::string& parameter) {
  const std::size_t dot = parameter.find('.');
  return parameter.substr(0, parameter.starts_with("layers.") ? parameter.find('.', dot + 1) : dot);
}

struct Collective {
  Schedule schedule;
  int gpus = 1;
  double bytes = 0;
};

// Seconds of what a rank sends in one round. In a ring all network cards of a node share what crosses its border.
double round_seconds(const Cluster& cluster, const sharding::Round& round, int rank, const Collective& collective) {
  const double range_bytes = collective.bytes / collective.gpus;
  double in_node_bytes = 0, network_bytes = 0;
  for (const sharding::Transfer& transfer : round) {
    const int ranges = (collective.gpus - transfer.first_range + transfer.stride - 1) / transfer.stride;
    const bool in_node = transfer.peer / cluster.gpus_per_node == rank / cluster.gpus_per_node;
    (in_node ? in_node_bytes : network_bytes) += ranges * range_bytes;
  }
  const double cards = collective.schedule == Schedule::kRing ? cluster.gpus_per_node : 1;
  const double in_node = in_node_bytes > 0 ? cluster.in_node_latency_seconds : 0;
  const double network = network_bytes > 0 ? cluster.network_latency_seconds : 0;
  return std::max(in_node + in_node_bytes / cluster.in_node_bytes_per_second,
                  network + network_bytes / (cards * cluster.network_bytes_per_second)) +
         cluster.message_seconds * static_cast<double>(round.size() - 1);
}

// The segments of each bucket, in backward order.
std::vector<std::vector<std::size_t>> make_buckets(const std::vector<Segment>& segments, double bucket_bytes) {
  const double least = bucket_bytes > 0 ? bucket_bytes : std::numeric_limits<double>::infinity();
  std::vector<std::vector<std::size_t>> buckets;
  double bytes = least;
  for (std::size_t i = segments.size(); i-- > 0;) {
    if (buckets.empty() || bytes >= least) {
      buckets.emplace_back();
      bytes = 0;
    }
    buckets.back().push_back(i);
    bytes += segments[i].bytes;
  }
  return buckets;
}

double bytes_of(const std::vector<Segment>& segments, const std::vector<std::size_t>& bucket) {
  double bytes = 0;
  for (const std::size_t i : bucket) bytes += segments[i].bytes;
  return bytes;
}

bool has_matrices(const std::vector<Segment>& segments, const std::vector<std::size_t>& bucket) {
  return std::ranges::any_of(bucket, [&](std::size_t i) { return segments[i].matrices > 0; });
}

}  // namespace

std::vector<Segment> step_segments(const config::RunConfig& config, const Cluster& cluster, double tokens) {
  const base::ParameterTable table = model::parameter_layout(config.model);
  const std::vector<training::RateRange> rates = training::rate_ranges(config.optimizer, table);
  const model::TokenFlops flops = model::flops_per_token(config.model);
  const double seconds_per_flop = tokens / cluster.tokens_per_second / flops.total();
  std::vector<Segment> segments;
  int layer = 0;
  for (const auto& entry : table.entries) {
    const std::string name = segment_name(entry.name);
    double work = 0;
    if (segments.empty() || segments.back().name != name) {
      segments.push_back({.name = name});
      if (name.starts_with("layers.")) work = model::layer_flops_per_token(config.model, layer++).total();
    }
    if (name == "head") work = flops.head;
    Segment& segment = segments.back();
    segment.bytes += static_cast<double>(entry.size * sizeof(float));
    segment.matrices += static_cast<int>(std::ranges::count_if(
        rates, [&](const training::RateRange& rate) { return rate.rows > 0 && rate.begin == entry.offset; }));
    segment.forward_seconds += kForwardShare * work * seconds_per_flop;
    segment.backward_seconds += (1 - kForwardShare) * work * seconds_per_flop;
  }
  return segments;
}

double collective_seconds(const Cluster& cluster, Schedule schedule, int gpus, double bytes) {
  // The rank at the border of its node is the slowest in a ring, and like all others in the other schedules.
  const int rank = std::min(gpus, cluster.gpus_per_node) - 1;
  const auto rounds = sharding::reduce_scatter_rounds(schedule, rank, gpus);
  const std::size_t launches = schedule == Schedule::kRing ? std::min<std::size_t>(rounds.size(), 1) : rounds.size();
  double seconds = cluster.launch_seconds * static_cast<double>(launches);
  for (const sharding::Round& round : rounds) seconds += round_seconds(cluster, round, rank, {schedule, gpus, bytes});
  return seconds;
}

StepTimes simulate_step(const std::vector<Segment>& segments, const Cluster& cluster, const Exchange& exchange) {
  const auto buckets = make_buckets(segments, exchange.bucket_bytes);
  const auto seconds_of = [&](const std::vector<std::size_t>& bucket) {
    return collective_seconds(cluster, exchange.schedule, exchange.gpus, bytes_of(segments, bucket));
  };
  StepTimes times;
  double backward = 0, link_free = 0, bytes = 0;
  for (const auto& bucket : buckets) {
    for (const std::size_t i : bucket) backward += segments[i].backward_seconds;
    link_free = std::max(link_free, backward) + seconds_of(bucket);
    bytes += bytes_of(segments, bucket);
    if (has_matrices(segments, bucket)) times.directions += seconds_of(bucket);
  }
  times.reduce = link_free - backward;
  times.update = kUpdateTraffic * bytes / exchange.gpus / cluster.memory_bytes_per_second;
  double forward = 0, gathered = 0;
  for (const auto& bucket : std::views::reverse(buckets)) {
    gathered += seconds_of(bucket);
    times.gather += std::max(0.0, gathered - forward);
    forward = std::max(forward, gathered);
    for (const std::size_t i : bucket) forward += segments[i].forward_seconds;
  }
  times.compute = backward + forward - times.gather;
  return times;
}

}  // namespace kangpt::tools
