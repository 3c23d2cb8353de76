// What has to be settled before workers can start: configuration, data, checkpoint, partition. Free of MPI.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/parameter_table.hpp"
#include "config/configuration.hpp"
#include "config/field_changes.hpp"
#include "data_pipeline/batches/batches.hpp"
#include "io/checkpoint.hpp"
#include "io/training_state.hpp"

namespace kangpt::launcher {

// Where a job runs.
struct World {
  int size = 1;
  int cpus = 1;                    // over all nodes
  int ranks_here = 1;              // of this node
  std::uint64_t memory_bytes = 0;  // of this node, with swap; 0: unknown
  std::string gpu_problem;         // why not every rank has a GPU of its own; empty: each has
};

// Everything rank 0 finds out and the others are told.
struct JobSetup {
  config::RunConfig config;
  std::filesystem::path checkpoint;       // to go on from, RUN/checkpoints/step-N; empty: a fresh start
  std::filesystem::path initial_weights;  // the file or checkpoint that model.initial_weights means; empty: none
  io::TrainingState state;                // of that checkpoint, or of a fresh start
  std::uint64_t total_steps = 0;
  std::uint64_t batches_per_epoch = 0;
  double validation_bytes_per_token = 0;         // of what validation predicts; 0: there is no validation split
  std::string validation_data;                   // identifies it; empty: there is none
  std::vector<config::FieldChange> changes;      // since the start that the checkpoint is of
  config::Device device = config::Device::kCpu;  // where workers compute: CPU or CUDA
  std::string notes;                             // for the user, a line each
};

// Checks the configuration against data and world. Throws ConfigError, MissingInputError, DataError.
JobSetup check_job(const config::RunConfig& config, const World& world);

// Settles setup.device. Throws ConfigError where run.device asks for GPUs that are not there.
void choose_device(JobSetup& setup, const World& world);

// Looks for the newest valid checkpoint as checkpoint.resume says and checks that it belongs to this run: the same
// model, seed, logical shards and data; other settings that have changed are said in setup.notes. A bad checkpoint is
// moved away, which is said at once, unless it is to be left. One that can't be read is passed over; with a limit,
// those of its step and later ones are too. Throws as its parts do.
enum class BadCheckpoints { kMoveAway, kLeave };
void find_checkpoint(JobSetup& setup, const World& world, BadCheckpoints bad, std::uint64_t below_step = io::kNoLimit);

// Settles setup.initial_weights, so that all ranks begin with the same ones even where that run goes on. Throws
// MissingInputError, DataError, CheckpointError or ConfigError where a fresh start can't begin with them.
void find_initial_weights(JobSetup& setup);

// True where the checkpoint has all the steps that the configuration asks for, or more.
bool is_done(const JobSetup& setup);

// Opens all that a worker on this machine will read but the checkpoint. Throws as its parts do.
void require_inputs(const JobSetup& setup);

// How train.precision is computed on setup.device of this machine: "in bfloat16 by AMX".
std::string describe_products(const JobSetup& setup);

// "batch 41: samples 7 3025 112 ...": where a batch's rows come from. Throws as check_job() does; what it returns
// touches no file, and so no HDF5, which serves one thread at a time.
std::function<std::string(std::uint64_t batch)> batch_describer(const JobSetup& setup);

// For the way from rank 0 to the others.
std::string to_text(const JobSetup& setup);
JobSetup setup_from_text(const std::string& text);

}  // namespace kangpt::launcher
