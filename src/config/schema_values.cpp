#include "config/schema_values.hpp"

namespace kangpt::config {
namespace {

// Enumerators of the schema and of run_config.hpp stand in the same order.
template <typename To, typename From>
To same_enumerator(From value) {
  return static_cast<To>(static_cast<int>(value));
}
static_assert(static_cast<int>(Device::kCuda) == proto::Run::CUDA);
static_assert(static_cast<int>(DataMode::kPadded) == proto::Data::PADDED);
static_assert(static_cast<int>(Shuffle::kNone) == proto::Data::NONE);
static_assert(static_cast<int>(Mixer::kDeformableConv) == proto::Model::DEFORMABLE_CONV);
static_assert(static_cast<int>(FeedForward::kHybrid) == proto::Model::HYBRID);
static_assert(static_cast<int>(Schedule::kCosine) == proto::Optimizer::COSINE);
static_assert(static_cast<int>(Precision::kBf16) == proto::Train::BF16);
static_assert(static_cast<int>(Reduction::kFast) == proto::Train::FAST);
static_assert(static_cast<int>(Resume::kRequired) == proto::Checkpoint::REQUIRED);
static_assert(static_cast<int>(NonFinite::kStop) == proto::Fault::STOP);

RunSection to_values(const proto::Run& message) {
  RunSection values;
  values.directory = message.directory();
  values.seed = message.seed();
  values.device = same_enumerator<Device>(message.device());
  values.threads = message.threads();
  return values;
}

DataSection to_values(const proto::Data& message) {
  DataSection values;
  values.directory = message.directory();
  values.mode = same_enumerator<DataMode>(message.mode());
  values.shuffle = same_enumerator<Shuffle>(message.shuffle());
  values.sequence_length = message.sequence_length();
  values.accept_changed = message.accept_changed();
  for (const proto::Data::Source& source : message.source()) {
    values.sources.push_back({source.directory(), source.weight()});
  }
  return values;
}

ModelConfig to_values(const proto::Model& message) {
  ModelConfig values;
  values.vocabulary_size = message.vocabulary_size();
  values.d_model = message.d_model();
  values.layers = message.layers();
  values.heads = message.heads();
  values.head_dim = message.head_dim();
  values.mixer = same_enumerator<Mixer>(message.mixer());
  values.kernel_size = message.kernel_size();
  values.dilation.assign(message.dilation().begin(), message.dilation().end());
  if (values.dilation.empty()) values.dilation = {1};
  values.offset_groups = message.offset_groups();
  values.max_offset = message.max_offset();
  values.feed_forward = same_enumerator<FeedForward>(message.feed_forward());
  values.kan_degree = message.kan_degree();
  values.mlp_hidden = message.mlp_hidden();
  values.final_norm = message.final_norm();
  values.initial_weights = message.initial_weights();
  return values;
}

OptimizerSection to_values(const proto::Optimizer& message) {
  OptimizerSection values;
  values.learning_rate = message.learning_rate();
  values.beta1 = message.beta1();
  values.beta2 = message.beta2();
  values.epsilon = message.epsilon();
  values.weight_decay = message.weight_decay();
  values.schedule = same_enumerator<Schedule>(message.schedule());
  values.warmup_steps = message.warmup_steps();
  values.minimum_learning_rate = message.minimum_learning_rate();
  values.gradient_clip_norm = message.gradient_clip_norm();
  values.embedding_learning_rate_factor = message.embedding_learning_rate_factor();
  values.layer_learning_rate_factor = message.layer_learning_rate_factor();
  values.kan_learning_rate_factor = message.kan_learning_rate_factor();
  values.offset_learning_rate_factor = message.offset_learning_rate_factor();
  values.kan_constant_rate_factor = message.kan_constant_rate_factor();
  values.muon_learning_rate = message.muon_learning_rate();
  values.muon_momentum = message.muon_momentum();
  return values;
}

TrainSection to_values(const proto::Train& message) {
  TrainSection values;
  values.batch_size = message.batch_size();
  values.steps = message.steps();
  values.epochs = message.epochs();
  values.logical_shards = message.logical_shards();
  values.precision = same_enumerator<Precision>(message.precision());
  values.reduction = same_enumerator<Reduction>(message.reduction());
  return values;
}

CheckpointSection to_values(const proto::Checkpoint& message) {
  CheckpointSection values;
  values.interval_steps = message.interval_steps();
  values.interval_seconds = message.interval_seconds();
  values.keep_last = message.keep_last();
  values.keep_every = message.keep_every();
  values.resume = same_enumerator<Resume>(message.resume());
  values.snapshot_interval_steps = message.snapshot_interval_steps();
  return values;
}

FaultSection to_values(const proto::Fault& message) {
  FaultSection values;
  values.max_restarts = message.max_restarts();
  values.no_progress_limit = message.no_progress_limit();
  values.hang_timeout_seconds = message.hang_timeout_seconds();
  values.non_finite = same_enumerator<NonFinite>(message.non_finite());
  values.loss_spike_sigma = message.loss_spike_sigma();
  values.inject.assign(message.inject().begin(), message.inject().end());
  values.desync_interval_steps = message.desync_interval_steps();
  return values;
}

LogSection to_values(const proto::Log& message) {
  LogSection values;
  values.interval_steps = message.interval_steps();
  values.tensorboard = message.tensorboard();
  values.validation_interval_steps = message.validation_interval_steps();
  values.sample_interval_steps = message.sample_interval_steps();
  values.sample_prompt = message.sample_prompt();
  values.validation_batches = message.validation_batches();
  values.profile = message.profile();
  return values;
}

void to_message(const RunSection& values, proto::Run& message) {
  message.set_directory(values.directory);
  message.set_seed(values.seed);
  message.set_device(same_enumerator<proto::Run::Device>(values.device));
  message.set_threads(values.threads);
}

void to_message(const DataSection& values, proto::Data& message) {
  message.set_directory(values.directory);
  message.set_mode(same_enumerator<proto::Data::Mode>(values.mode));
  message.set_shuffle(same_enumerator<proto::Data::Shuffle>(values.shuffle));
  message.set_sequence_length(values.sequence_length);
  message.set_accept_changed(values.accept_changed);
  for (const DataSource& source : values.sources) {
    proto::Data::Source& entry = *message.add_source();
    entry.set_directory(source.directory);
    entry.set_weight(source.weight);
  }
}

void to_message(const ModelConfig& values, proto::Model& message) {
  message.set_vocabulary_size(values.vocabulary_size);
  message.set_d_model(values.d_model);
  message.set_layers(values.layers);
  message.set_heads(values.heads);
  message.set_head_dim(values.head_dim);
  message.set_mixer(same_enumerator<proto::Model::Mixer>(values.mixer));
  message.set_kernel_size(values.kernel_size);
  message.mutable_dilation()->Assign(values.dilation.begin(), values.dilation.end());
  message.set_offset_groups(values.offset_groups);
  message.set_max_offset(values.max_offset);
  message.set_feed_forward(same_enumerator<proto::Model::FeedForward>(values.feed_forward));
  message.set_kan_degree(values.kan_degree);
  message.set_mlp_hidden(values.mlp_hidden);
  message.set_final_norm(values.final_norm);
  message.set_initial_weights(values.initial_weights);
}

void to_message(const OptimizerSection& values, proto::Optimizer& message) {
  message.set_learning_rate(values.learning_rate);
  message.set_beta1(values.beta1);
  message.set_beta2(values.beta2);
  message.set_epsilon(values.epsilon);
  message.set_weight_decay(values.weight_decay);
  message.set_schedule(same_enumerator<proto::Optimizer::Schedule>(values.schedule));
  message.set_warmup_steps(values.warmup_steps);
  message.set_minimum_learning_rate(values.minimum_learning_rate);
  message.set_gradient_clip_norm(values.gradient_clip_norm);
  message.set_embedding_learning_rate_factor(values.embedding_learning_rate_factor);
  message.set_layer_learning_rate_factor(values.layer_learning_rate_factor);
  message.set_kan_learning_rate_factor(values.kan_learning_rate_factor);
  message.set_offset_learning_rate_factor(values.offset_learning_rate_factor);
  message.set_kan_constant_rate_factor(values.kan_constant_rate_factor);
  message.set_muon_learning_rate(values.muon_learning_rate);
  message.set_muon_momentum(values.muon_momentum);
}

void to_message(const TrainSection& values, proto::Train& message) {
  message.set_batch_size(values.batch_size);
  message.set_steps(values.steps);
  message.set_epochs(values.epochs);
  message.set_logical_shards(values.logical_shards);
  message.set_precision(same_enumerator<proto::Train::Precision>(values.precision));
  message.set_reduction(same_enumerator<proto::Train::Reduction>(values.reduction));
}

void to_message(const CheckpointSection& values, proto::Checkpoint& message) {
  message.set_interval_steps(values.interval_steps);
  message.set_interval_seconds(values.interval_seconds);
  message.set_keep_last(values.keep_last);
  message.set_keep_every(values.keep_every);
  message.set_resume(same_enumerator<proto::Checkpoint::Resume>(values.resume));
  message.set_snapshot_interval_steps(values.snapshot_interval_steps);
}

void to_message(const FaultSection& values, proto::Fault& message) {
  message.set_max_restarts(values.max_restarts);
  message.set_no_progress_limit(values.no_progress_limit);
  message.set_hang_timeout_seconds(values.hang_timeout_seconds);
  message.set_non_finite(same_enumerator<proto::Fault::NonFinite>(values.non_finite));
  message.set_loss_spike_sigma(values.loss_spike_sigma);
  message.mutable_inject()->Assign(values.inject.begin(), values.inject.end());
  message.set_desync_interval_steps(values.desync_interval_steps);
}

void to_message(const LogSection& values, proto::Log& message) {
  message.set_interval_steps(values.interval_steps);
  message.set_tensorboard(values.tensorboard);
  message.set_validation_interval_steps(values.validation_interval_steps);
  message.set_sample_interval_steps(values.sample_interval_steps);
  message.set_sample_prompt(values.sample_prompt);
  message.set_validation_batches(values.validation_batches);
  message.set_profile(values.profile);
}

}  // namespace

RunConfig to_values(const proto::RunConfig& message) {
  RunConfig config;
  config.run = to_values(message.run());
  config.data = to_values(message.data());
  config.model = to_values(message.model());
  config.optimizer = to_values(message.optimizer());
  config.train = to_values(message.train());
  config.checkpoint = to_values(message.checkpoint());
  config.fault = to_values(message.fault());
  config.log = to_values(message.log());
  config.model.sequence_length = config.data.sequence_length;
  config.model.precision = config.train.precision;
  return config;
}

proto::RunConfig to_message(const RunConfig& config) {
  proto::RunConfig message;
  to_message(config.run, *message.mutable_run());
  to_message(config.data, *message.mutable_data());
  to_message(config.model, *message.mutable_model());
  to_message(config.optimizer, *message.mutable_optimizer());
  to_message(config.train, *message.mutable_train());
  to_message(config.checkpoint, *message.mutable_checkpoint());
  to_message(config.fault, *message.mutable_fault());
  to_message(config.log, *message.mutable_log());
  return message;
}

}  // namespace kangpt::config
