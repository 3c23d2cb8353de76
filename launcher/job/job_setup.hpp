// What has to be settled before workers can start: configuration, data, checkpoint, partition. Free of MPI.
//
// It is one value that grows: each stage is made of the one before, whole, by the function that stands below it, so
// that nothing can be asked of a job before it is known. Rank 0 settles it for all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/configuration.hpp"
#include "config/field_changes.hpp"
#include "data_pipeline/batches/batches.hpp"
#include "io/checkpoint.hpp"
#include "io/training_state.hpp"
#include "launcher/job/gpu_probe.hpp"
#include "launcher/job/nodes.hpp"

namespace kangpt::launcher {

inline constexpr const char* kCheckpoints = "checkpoints";  // within the run directory

// Where a job runs.
struct World {
  int size = 1;
  int cpus = 1;                    // over all nodes
  int ranks_here = 1;              // of this node
  std::uint64_t memory_bytes = 0;  // of this node, with swap; 0: unknown
  GpuShares gpus = {};             // looked for where it is to train
  Nodes nodes = {};                // empty: one
};

// Whether snapshots are copied to other nodes.
bool has_copies(const config::RunConfig& config, const World& world);

// First stage: a configuration that fits its data and this world.
struct CheckedJob {
  config::RunConfig config;
  std::vector<data::OpenedSource> sources;  // as this rank sees them
  io::TrainingState fresh_state;            // of a start without a checkpoint
  std::uint64_t batches_per_epoch = 0;
  std::uint64_t total_steps = 0;
  double validation_bytes_per_token = 0;  // of what validation predicts; 0: there is no validation split
  std::string validation_data;            // identifies it; empty: there is none
  std::string notes;                      // for the user, a line each
};

// Opens the data and checks the configuration against them and the world. Throws ConfigError, MissingInputError,
// DataError.
CheckedJob check_job(const config::RunConfig& config, const World& world);

struct StartPoint {
  std::filesystem::path checkpoint;  // to go on from, RUN/checkpoints/step-N; empty: a fresh start
  io::TrainingState state;           // of that checkpoint, or of a fresh start
};

// Second stage: where it starts, with what its user has to know about that among the notes. Where it goes on, even a
// fresh start has the logical shards and threads of the run.
struct StartedJob : CheckedJob, StartPoint {
  std::vector<config::FieldChange> changes;  // since the start that the checkpoint is of
};

// Looks for the newest valid checkpoint as checkpoint.resume says and checks that it belongs to this run: the same
// model, seed, logical shards and data; other settings that have changed are said in the notes. A bad checkpoint is
// moved away, which is said at once, unless it is to be left. One that can't be read is passed over; with a limit,
// those of its step and later ones are too. Throws as its parts do.
enum class BadCheckpoints { kMoveAway, kLeave };
StartedJob find_start(CheckedJob job, const World& world, BadCheckpoints bad, std::uint64_t below_step = io::kNoLimit);

// Last stage: all that ranks have to agree on.
struct JobSetup : StartedJob {
  config::Device device = config::Device::kCpu;  // where workers compute: CPU or CUDA
  std::string run_id = {};                       // see run_id()
  std::filesystem::path initial_weights;         // the file or checkpoint that model.initial_weights means; empty: none
};

// Settles the initial weights, so that all ranks begin with the same ones even where that run goes on. Throws
// MissingInputError, DataError, CheckpointError or ConfigError where a fresh start can't begin with them.
JobSetup settle(StartedJob job, config::Device device);

// Where workers are to compute. Throws ConfigError where run.device asks for GPUs that are not there, and Error
// (kGaveUp) where those that are there don't work: another node may do.
config::Device choose_device(const config::RunConfig& config, const World& world);

// True where the checkpoint has all the steps that the configuration asks for, or more, or
// train.patience ended there.
bool is_done(const StartedJob& job);

// "batch 41: samples 7 3025 112 ...": where a batch's rows come from. It touches no file, and so no HDF5, which serves
// one thread at a time.
using BatchDescriber = std::function<std::string(std::uint64_t batch)>;

// Opens all that a worker on this machine will read but the checkpoint. Throws as its parts do.
BatchDescriber require_inputs(const JobSetup& setup);

// train.precision, of which AUTO leaves the choice to the device.
config::Precision choose_precision(const JobSetup& setup);

// How train.precision is computed on setup.device of this machine: "in bfloat16 by AMX".
std::string describe_products(const JobSetup& setup);

}  // namespace kangpt::launcher
