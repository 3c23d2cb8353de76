// The resolved configuration of a run as plain values. Meaning, unit, default and range of each field:
// configs/run_config.proto. A setting is a field there, and here a member that KANGPT_FIELDS lists.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fields.hpp"

namespace kangpt::config {

KANGPT_ENUM(Device, kAuto, kCpu, kCuda);
KANGPT_ENUM(DataMode, kPacked, kStory, kPadded);
KANGPT_ENUM(Shuffle, kSample, kNone, kBlock);
KANGPT_ENUM(Mixer, kAttention, kConvMod, kConv, kDilatedConv, kSeparableConv, kDeformableConv);
KANGPT_ENUM(FeedForward, kKan, kMlp, kHybrid, kSwiglu, kGroupedKan, kRationalKan);
KANGPT_ENUM(Schedule, kConstant, kCosine, kLinear, kWsd);
KANGPT_ENUM(Precision, kFp32, kBf16, kAuto);
KANGPT_ENUM(Reduction, kTree, kFast);
KANGPT_ENUM(Recompute, kNone, kLayers);
KANGPT_ENUM(Resume, kAuto, kNever, kRequired);
KANGPT_ENUM(NonFinite, kSkip, kRollback, kStop);
KANGPT_ENUM(Weights, kTrained, kAverage);

struct RunSection {
  std::string directory;
  std::uint64_t seed = 0;
  Device device = Device::kAuto;
  int threads = 0;

  KANGPT_FIELDS(directory, seed, device, threads)
};

struct DataSource {
  std::string directory;
  double weight = 1;

  KANGPT_FIELDS(directory, weight)
};

struct DataSection {
  std::string directory;
  DataMode mode = DataMode::kPacked;
  Shuffle shuffle = Shuffle::kSample;
  int sequence_length = 0;
  double holdout = 0;  // of the stories
  bool accept_changed = false;
  std::vector<DataSource> sources;  // instead of `directory`, unless empty

  KANGPT_FIELDS(directory, mode, shuffle, sequence_length, holdout, accept_changed, sources)
};

struct ModelConfig {
  int vocabulary_size = 0;
  int sequence_length = 0;  // copied from data.sequence_length: rows of position_embedding
  int d_model = 0;
  int layers = 0;
  int heads = 0;
  int head_dim = 0;
  std::vector<Mixer> mixers = {Mixer::kAttention};  // cycled over the layers
  int kernel_size = 0;
  std::vector<int> dilation;  // cycled over the layers
  int offset_groups = 0;
  double max_offset = 0;
  FeedForward feed_forward = FeedForward::kKan;
  int kan_degree = 0;
  int mlp_hidden = 0;
  int kan_groups = 0;  // 0: the greatest up to 8 that divides both widths
  bool final_norm = false;
  std::string initial_weights;
  double dropout = 0;                      // probability; 0: none
  Precision precision = Precision::kFp32;  // copied from train.precision: of matrix products
  Recompute recompute = Recompute::kNone;  // copied from train.recompute

  KANGPT_FIELDS(vocabulary_size, d_model, layers, heads, head_dim, mixers, kernel_size, dilation, offset_groups,
                max_offset, feed_forward, kan_degree, mlp_hidden, final_norm, initial_weights, dropout, kan_groups)
};

struct OptimizerSection {
  double learning_rate = 0;
  double beta1 = 0;
  double beta2 = 0;
  double epsilon = 0;
  double weight_decay = 0;
  Schedule schedule = Schedule::kConstant;
  std::uint64_t warmup_steps = 0;
  double minimum_learning_rate = 0;
  double gradient_clip_norm = 0;  // 0: no clipping
  double layer_learning_rate_factor = 1;
  double kan_learning_rate_factor = 1;
  double offset_learning_rate_factor = 1;
  double kan_constant_rate_factor = 1;
  double embedding_learning_rate_factor = 1;
  double muon_learning_rate = 0;  // 0: AdamW for all
  double muon_momentum = 0;
  std::uint64_t decay_steps = 0;  // of WSD; 0: a tenth of the run
  double ema_decay = 0;           // 0: no average of the weights

  KANGPT_FIELDS(learning_rate, beta1, beta2, epsilon, weight_decay, schedule, warmup_steps, minimum_learning_rate,
                gradient_clip_norm, layer_learning_rate_factor, kan_learning_rate_factor, offset_learning_rate_factor,
                kan_constant_rate_factor, embedding_learning_rate_factor, muon_learning_rate, muon_momentum,
                decay_steps, ema_decay)
};

struct TrainSection {
  int batch_size = 0;  // sequences per optimizer step over all ranks
  std::uint64_t steps = 0;
  double epochs = 0;
  int logical_shards = 0;  // 0: the world size of the first start
  Precision precision = Precision::kFp32;
  Reduction reduction = Reduction::kTree;
  std::uint64_t patience = 0;  // validations; 0: without end
  Recompute recompute = Recompute::kNone;

  KANGPT_FIELDS(batch_size, steps, epochs, logical_shards, precision, reduction, patience, recompute)
};

struct CheckpointSection {
  std::uint64_t interval_steps = 0;
  double interval_seconds = 0;
  int keep_last = 0;
  std::uint64_t keep_every = 0;
  Resume resume = Resume::kAuto;
  std::uint64_t snapshot_interval_steps = 0;
  bool keep_best = false;
  std::uint64_t copy_interval_steps = 0;

  KANGPT_FIELDS(interval_steps, interval_seconds, keep_last, keep_every, resume, snapshot_interval_steps, keep_best,
                copy_interval_steps)
};

struct FaultSection {
  int max_restarts = 0;
  int no_progress_limit = 0;
  double hang_timeout_seconds = 0;
  NonFinite non_finite = NonFinite::kSkip;
  double loss_spike_sigma = 0;
  std::vector<std::string> inject;
  std::uint64_t desync_interval_steps = 0;

  KANGPT_FIELDS(max_restarts, no_progress_limit, hang_timeout_seconds, non_finite, loss_spike_sigma, inject,
                desync_interval_steps)
};

struct LogSection {
  std::uint64_t interval_steps = 0;
  bool tensorboard = false;
  std::uint64_t validation_interval_steps = 0;
  std::uint64_t sample_interval_steps = 0;
  std::string sample_prompt;
  std::uint64_t validation_batches = 0;  // 0: the whole split
  Weights validation_weights = Weights::kTrained;
  bool profile = false;

  KANGPT_FIELDS(interval_steps, tensorboard, validation_interval_steps, sample_interval_steps, sample_prompt,
                validation_batches, validation_weights, profile)
};

struct RunConfig {
  RunSection run;
  DataSection data;
  ModelConfig model;
  OptimizerSection optimizer;
  TrainSection train;
  CheckpointSection checkpoint;
  FaultSection fault;
  LogSection log;

  KANGPT_FIELDS(run, data, model, optimizer, train, checkpoint, fault, log)
};

}  // namespace kangpt::config
