// How long training would wait for the reduction on a cluster that is not here: a model, no measurement.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "sharding/reduction_schedule.hpp"

namespace kangpt::tools {

// One GPU's view of the cluster. The defaults are an H100 SXM node's: data-sheet rates times what NCCL reaches of them.
struct Cluster {
  int gpus_per_node = 8;
  double in_node_bytes_per_second = 360e9;  // NVLink, each direction; data sheet 450e9
  double network_bytes_per_second = 45e9;   // one 400 Gbit/s card a GPU; data sheet 50e9
  double launch_seconds = 10e-6;            // of a kernel: one a round, a library's ring has one in all
  double in_node_latency_seconds = 1e-6;    // of a round
  double network_latency_seconds = 5e-6;
  double message_seconds = 0.5e-6;          // each further message of a round
  double memory_bytes_per_second = 2.5e12;  // of the optimizer; data sheet 3.35e12
  double tokens_per_second = 3e6;           // forward and backward of one GPU, alone
};

// A stretch of the network whose gradients are ready, and whose parameters are needed, together.
struct Segment {
  std::string name;
  double bytes = 0;  // of its parameters in fp32
  double forward_seconds = 0;
  double backward_seconds = 0;  // twice the forward's
  int matrices = 0;             // that Muon updates
};

// Embeddings, layers, final norm and head in forward order; `tokens` a step on each GPU.
std::vector<Segment> step_segments(const config::RunConfig& config, const Cluster& cluster, double tokens);

// Seconds of one reduce-scatter of `bytes` over `gpus` ranks, and so of one all-gather: the rounds one after the other,
// each as slow as its slower kind of link. gpus and gpus_per_node are powers of two.
double collective_seconds(const Cluster& cluster, sharding::Schedule schedule, int gpus, double bytes);

struct StepTimes {
  double compute = 0;     // forward, backward
  double update = 0;      // one pass over a rank's range, without the products of Muon's matrices
  double reduce = 0;      // reduce-scatters that nothing hides
  double directions = 0;  // all-gathers of what Muon makes its steps of, since ranks share matrices
  double gather = 0;      // all-gathers of parameters that nothing hides
  double added() const noexcept { return reduce + directions + gather; }
  double total() const noexcept { return compute + update + added(); }
};

struct Exchange {
  sharding::Schedule schedule;
  int gpus = 1;
  double bucket_bytes = 0;
};

// A step in the steady state. Gradients are reduced in buckets of at least bucket_bytes, the last layers first, each as
// soon as it is ready, one after the other beside the backward pass; parameters are gathered bucket by bucket, the
// first layers first, beside the forward pass. What Muon gathers waits for all gradients, whose norm clips each.
// bucket_bytes 0: one bucket, so that nothing overlaps, as this trainer does it.
StepTimes simulate_step(const std::vector<Segment>& segments, const Cluster& cluster, const Exchange& exchange);

}  // namespace kangpt::tools
