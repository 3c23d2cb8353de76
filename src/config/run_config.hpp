// The resolved configuration of a run as plain values. Meaning, unit and default of each field:
// configs/run_config.proto.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kangpt::config {

enum class Device { kAuto, kCpu, kCuda };
enum class DataMode { kPacked, kStory, kPadded };
enum class Shuffle { kSample, kNone };
enum class Mixer { kAttention, kConvMod, kConv, kDilatedConv, kSeparableConv, kDeformableConv };
enum class FeedForward { kKan, kMlp, kHybrid };
enum class Schedule { kConstant, kCosine };
enum class Precision { kFp32, kBf16 };
enum class Reduction { kTree, kFast };
enum class Resume { kAuto, kNever, kRequired };
enum class NonFinite { kSkip, kRollback, kStop };

struct RunSection {
  std::string directory;
  std::uint64_t seed = 0;
  Device device = Device::kAuto;
  int threads = 0;
};

struct DataSource {
  std::string directory;
  double weight = 1;
};

struct DataSection {
  std::string directory;
  DataMode mode = DataMode::kPacked;
  Shuffle shuffle = Shuffle::kSample;
  int sequence_length = 0;
  bool accept_changed = false;
  std::vector<DataSource> sources;  // instead of `directory`, unless empty
};

struct ModelConfig {
  int vocabulary_size = 0;
  int sequence_length = 0;  // copied from data.sequence_length: rows of position_embedding
  int d_model = 0;
  int layers = 0;
  int heads = 0;
  int head_dim = 0;
  Mixer mixer = Mixer::kAttention;
  int kernel_size = 0;
  std::vector<int> dilation;  // cycled over the layers
  int offset_groups = 0;
  double max_offset = 0;
  FeedForward feed_forward = FeedForward::kKan;
  int kan_degree = 0;
  int mlp_hidden = 0;
  bool final_norm = false;
  std::string initial_weights;
  Precision precision = Precision::kFp32;  // copied from train.precision: of matrix products
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
  double embedding_learning_rate_factor = 1;
  double layer_learning_rate_factor = 1;
  double kan_learning_rate_factor = 1;
  double offset_learning_rate_factor = 1;
  double kan_constant_rate_factor = 1;
  double muon_learning_rate = 0;  // 0: AdamW for all
  double muon_momentum = 0;
};

struct TrainSection {
  int batch_size = 0;  // sequences per optimizer step over all ranks
  std::uint64_t steps = 0;
  double epochs = 0;
  int logical_shards = 0;  // 0: the world size of the first start
  Precision precision = Precision::kFp32;
  Reduction reduction = Reduction::kTree;
};

struct CheckpointSection {
  std::uint64_t interval_steps = 0;
  double interval_seconds = 0;
  int keep_last = 0;
  std::uint64_t keep_every = 0;
  Resume resume = Resume::kAuto;
  std::uint64_t snapshot_interval_steps = 0;
};

struct FaultSection {
  int max_restarts = 0;
  int no_progress_limit = 0;
  double hang_timeout_seconds = 0;
  NonFinite non_finite = NonFinite::kSkip;
  double loss_spike_sigma = 0;
  std::vector<std::string> inject;
  std::uint64_t desync_interval_steps = 0;
};

struct LogSection {
  std::uint64_t interval_steps = 0;
  bool tensorboard = false;
  std::uint64_t validation_interval_steps = 0;
  std::uint64_t sample_interval_steps = 0;
  std::string sample_prompt;
  std::uint64_t validation_batches = 0;  // 0: the whole split
  bool profile = false;
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
};

}  // namespace kangpt::config
