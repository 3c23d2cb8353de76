// The table that kangpt_simulate prints.
#pragma once

#include <string>

#include "config/run_config.hpp"
#include "tools/simulation/cluster_simulation.hpp"

namespace kangpt::tools {

struct SimulationOptions {
  Cluster cluster;
  double tokens = 16384;  // a step on each GPU
  double bucket_mbytes = 4;
};

// Throws UsageError that names the option and what is valid.
void check(const SimulationOptions& options);

// A row for 8, 16, ... 1,024 GPUs: what each schedule adds to the step, after the backward pass and beside it.
std::string describe_simulation(const config::RunConfig& config, const SimulationOptions& options);

}  // namespace kangpt::tools
