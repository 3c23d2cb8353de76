#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.hpp"
#include "base/format.hpp"
#include "config/configuration.hpp"
#include "config/fault_plan.hpp"
#include "config/field_value.hpp"
#include "config/problem.hpp"
#include "config/schema_values.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Of mean gradients whose squares vanish, this and more bounds the steps by about the learning rate.
constexpr double kLeastBoundingEpsilon = 1e-18;

std::string divisors(int number) {
  std::vector<std::string> found;
  for (int candidate = 1; candidate <= number && candidate <= 1024; ++candidate) {
    if (number % candidate == 0) found.push_back(std::to_string(candidate));
  }
  return base::join(found, ", ");
}

bool is_dilated(const ModelConfig& model) {
  return model.mixer == Mixer::kDilatedConv || model.mixer == Mixer::kDeformableConv;
}

int largest_dilation(const ModelConfig& model) {
  return model.dilation.empty() ? 1 : *std::max_element(model.dilation.begin(), model.dilation.end());
}

bool is_single_precision(double value) {
  return value >= std::numeric_limits<float>::min() && value <= std::numeric_limits<float>::max();
}

// Positions from the present token to the farthest tap of any layer.
double longest_tap(const ModelConfig& model) {
  return (is_dilated(model) ? double{1} * largest_dilation(model) : 1) * (model.kernel_size - 1);
}

// Settings of a mixer that do nothing.
std::vector<std::string> mixer_warnings(const RunConfig& config) {
  std::vector<std::string> messages;
  const ModelConfig& model = config.model;
  if (model.mixer == Mixer::kAttention) return messages;
  const int length = config.data.sequence_length;
  if (longest_tap(model) >= length) {
    messages.push_back("model.kernel_size is " + std::to_string(model.kernel_size) + ": the farthest tap lies " +
                       std::to_string(static_cast<std::int64_t>(longest_tap(model))) +
                       " positions back, where a row of " + std::to_string(length) +
                       " tokens (data.sequence_length) has none; its weights never change");
  }
  if (!is_dilated(model) && largest_dilation(model) > 1) {
    messages.push_back("model.dilation is ignored: only the mixers DILATED_CONV and DEFORMABLE_CONV have one");
  }
  if (model.mixer == Mixer::kDilatedConv && largest_dilation(model) == 1) {
    messages.push_back("model.dilation is 1 in every layer: DILATED_CONV is then the same as CONV");
  }
  return messages;
}

// Collects problems; one check function a section. Knows each field's value by its path, for the messages.
class Checker {
 public:
  explicit Checker(const RunConfig& config) : config_(config), message_(to_message(config)) {}

  std::vector<Problem> check() {
    check_run();
    check_data();
    check_model_sizes();
    check_mixer();
    check_feed_forward();
    check_rates();
    check_learning_rate();
    check_train();
    check_checkpoint();
    check_fault();
    check_injections();
    check_log();
    return std::move(problems_);
  }

 private:
  std::string value_of(const std::string& path) const {
    const std::size_t dot = path.find('.');
    const FieldDescriptor& section = *message_.GetDescriptor()->FindFieldByName(path.substr(0, dot));
    const FieldDescriptor& field = *section.message_type()->FindFieldByName(path.substr(dot + 1));
    const Message& message = message_.GetReflection()->GetMessage(message_, &section);
    if (!field.is_repeated()) return value_text(message, field);
    std::vector<std::string> values;
    for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
      values.push_back(value_text(message, field, i));
    }
    return base::join(values, ", ");
  }

  // "FIELD (VALUE)"
  std::string named(const std::string& path) const { return path + " (" + value_of(path) + ")"; }

  // `fields`: the one that is wrong, then those it does not agree with.
  void require(bool is_valid, const std::vector<std::string>& fields, const std::string& rule) {
    if (is_valid) return;
    problems_.push_back({fields, fields.front() + " is " + value_of(fields.front()) + ": " + rule});
  }

  template <typename Number>
  void require_range(const std::string& field, Number value, int minimum, int maximum) {
    require(value >= minimum && value <= maximum, {field},
            "must be from " + std::to_string(minimum) + " to " + std::to_string(maximum));
  }

  void require_not_negative(const std::string& field, double value) {
    require(std::isfinite(value) && value >= 0, {field}, "must be a finite number of 0 or more");
  }

  // The same for what enters the update, in fp32: there, less than the least normal number is 0 and more than the
  // largest infinite.
  void require_single_precision(const std::string& field, double value) {
    require(is_single_precision(value), {field}, "must be from 1.2e-38 to 3.4e38, the range of fp32");
  }

  void require_zero_or_single_precision(const std::string& field, double value) {
    require(value == 0 || is_single_precision(value), {field},
            "must be 0, or from 1.2e-38 to 3.4e38, the range of fp32");
  }

  // A decay that fp32 rounds to 1 would never forget.
  void require_decay(const std::string& field, double value) {
    require(value >= 0 && value < 1 && static_cast<float>(value) < 1, {field},
            "must be from 0 to 0.9999999, so that it is below 1 in fp32 too");
  }

  void require_at_least_one(const std::string& field, std::uint64_t value) {
    require(value >= 1, {field}, "must be 1 or more");
  }

  void require_path(const std::string& field, const std::string& value) {
    require(!value.empty(), {field}, "must name a folder");
    require(value.find('\0') == std::string::npos, {field}, "must not contain a null character");
  }

  void check_run() {
    require_path("run.directory", config_.run.directory);
    require_range("run.threads", config_.run.threads, 0, 1024);
  }

  void check_data() {
    require_path("data.directory", config_.data.directory);
    require_range("data.sequence_length", config_.data.sequence_length, 2, 65536);
    for (const DataSource& source : config_.data.sources) {
      require(!source.directory.empty(), {"data.source"}, "has a source without a directory");
      require(source.weight > 0 && source.weight <= 1e9, {"data.source"},
              "has a weight that is not a number above 0 (1e9 at most)");
    }
  }

  void check_model_sizes() {
    const ModelConfig& model = config_.model;
    require_range("model.vocabulary_size", model.vocabulary_size, 2, 4194304);
    require_range("model.d_model", model.d_model, 1, 65536);
    require_range("model.layers", model.layers, 1, 1024);
    require_range("model.heads", model.heads, 1, 1024);
    require_range("model.head_dim", model.head_dim, 1, 1024);
    require_range("model.kernel_size", model.kernel_size, 1, 1024);
    for (const int dilation : model.dilation) {
      if (dilation >= 1 && dilation <= 65536) continue;
      require(false, {"model.dilation"}, "each must be from 1 to 65536");
      break;
    }
    require_range("model.offset_groups", model.offset_groups, 1, 65536);
    require_range("model.max_offset", model.max_offset, 0, 65536);
  }

  void check_mixer() {
    const ModelConfig& model = config_.model;
    if (model.mixer == Mixer::kAttention && model.d_model > 0 && model.heads > 0) {
      require(model.d_model % model.heads == 0, {"model.heads", "model.d_model"},
              "must divide " + named("model.d_model") + "; valid: " + divisors(model.d_model));
    }
    if (model.mixer == Mixer::kDeformableConv && model.d_model > 0 && model.offset_groups > 0) {
      require(model.d_model % model.offset_groups == 0, {"model.offset_groups", "model.d_model"},
              "must divide " + named("model.d_model") + "; valid: " + divisors(model.d_model));
      check_reach();
    }
  }

  // Where the offsets are 0 at first, a tap lies k * dilation positions back; that must be within max_offset.
  void check_reach() {
    const double longest = longest_tap(config_.model);
    require(config_.model.max_offset >= longest, {"model.max_offset", "model.kernel_size", "model.dilation"},
            "must be at least (kernel_size - 1) * dilation, " + std::to_string(static_cast<std::int64_t>(longest)));
  }

  void check_feed_forward() {
    const ModelConfig& model = config_.model;
    require_range("model.kan_degree", model.kan_degree, 1, 16);
    require_range("model.mlp_hidden", model.mlp_hidden, 1, 1048576);
    require(model.feed_forward != FeedForward::kHybrid || model.layers % 2 == 0, {"model.layers", "model.feed_forward"},
            "must be even with model.feed_forward HYBRID, whose layers alternate between MLP and KAN");
  }

  void check_rates() {
    const OptimizerSection& optimizer = config_.optimizer;
    const std::size_t problems_before = problems_.size();
    require_single_precision("optimizer.learning_rate", optimizer.learning_rate);
    require_decay("optimizer.beta1", optimizer.beta1);
    require_decay("optimizer.beta2", optimizer.beta2);
    require(
        is_single_precision(optimizer.epsilon), {"optimizer.epsilon"},
        "must be from 1.2e-38 to 3.4e38, the range of fp32: where it is 0 there, every parameter without a gradient "
        "becomes 0/0");
    require_zero_or_single_precision("optimizer.weight_decay", optimizer.weight_decay);
    require_zero_or_single_precision("optimizer.gradient_clip_norm", optimizer.gradient_clip_norm);
    require_single_precision("optimizer.embedding_learning_rate_factor", optimizer.embedding_learning_rate_factor);
    require_single_precision("optimizer.layer_learning_rate_factor", optimizer.layer_learning_rate_factor);
    require_single_precision("optimizer.kan_learning_rate_factor", optimizer.kan_learning_rate_factor);
    require_single_precision("optimizer.offset_learning_rate_factor", optimizer.offset_learning_rate_factor);
    require_single_precision("optimizer.kan_constant_rate_factor", optimizer.kan_constant_rate_factor);
    require_zero_or_single_precision("optimizer.muon_learning_rate", optimizer.muon_learning_rate);
    require_decay("optimizer.muon_momentum", optimizer.muon_momentum);
    if (problems_.size() == problems_before) check_longest_step();
  }

  // The first step divides by 1 - beta1, and an infinite step times a mean of 0 is no number.
  void check_longest_step() {
    const OptimizerSection& optimizer = config_.optimizer;
    const double kan = optimizer.kan_learning_rate_factor * std::max(1.0, optimizer.kan_constant_rate_factor);
    const double layers =
        optimizer.layer_learning_rate_factor * std::max({1.0, kan, optimizer.offset_learning_rate_factor});
    const double factor = std::max({1.0, layers, optimizer.embedding_learning_rate_factor});
    const double longest =
        std::max(optimizer.learning_rate / (1 - optimizer.beta1), optimizer.muon_learning_rate) * factor;
    require(
        !(longest * std::max(1.0, optimizer.weight_decay) > std::numeric_limits<float>::max()),
        {"optimizer.learning_rate"},
        "must be lower: with its factors, optimizer.beta1 and optimizer.weight_decay it gives steps beyond the range "
        "of fp32 (3.4e38)");
  }

  void check_learning_rate() {
    const OptimizerSection& optimizer = config_.optimizer;
    require_zero_or_single_precision("optimizer.minimum_learning_rate", optimizer.minimum_learning_rate);
    if (optimizer.schedule != Schedule::kCosine || !is_single_precision(optimizer.learning_rate)) return;
    require(optimizer.minimum_learning_rate <= optimizer.learning_rate,
            {"optimizer.minimum_learning_rate", "optimizer.learning_rate"},
            "must not be above " + named("optimizer.learning_rate") + " with schedule COSINE");
  }

  void check_train() {
    const TrainSection& train = config_.train;
    require_range("train.batch_size", train.batch_size, 1, 16777216);
    require_not_negative("train.epochs", train.epochs);
    require(train.steps > 0 || !(train.epochs <= 0), {"train.epochs", "train.steps"},
            "must be above 0 where train.steps is 0, or nothing would be trained");
    check_logical_shards();
  }

  void check_logical_shards() {
    const int shards = config_.train.logical_shards;
    const bool is_power_of_two = shards >= 0 && (shards & (shards - 1)) == 0;
    require(is_power_of_two, {"train.logical_shards"},
            "must be a power of two (1, 2, 4, 8...), or 0 for the number of ranks of the first start");
    if (shards <= 0 || !is_power_of_two) return;
    require(config_.train.batch_size % shards == 0, {"train.batch_size", "train.logical_shards"},
            "must be a multiple of " + named("train.logical_shards"));
  }

  void check_checkpoint() {
    const CheckpointSection& checkpoint = config_.checkpoint;
    require_not_negative("checkpoint.interval_seconds", checkpoint.interval_seconds);
    require(checkpoint.keep_last >= 2, {"checkpoint.keep_last"},
            "must be 2 or more, so that one damaged checkpoint does not cost the run");
    require_at_least_one("checkpoint.snapshot_interval_steps", checkpoint.snapshot_interval_steps);
  }

  void check_fault() {
    const FaultSection& fault = config_.fault;
    require(fault.max_restarts >= 0, {"fault.max_restarts"}, "must be 0 or more");
    require(fault.no_progress_limit >= 1, {"fault.no_progress_limit"}, "must be 1 or more");
    require_not_negative("fault.hang_timeout_seconds", fault.hang_timeout_seconds);
    require_not_negative("fault.loss_spike_sigma", fault.loss_spike_sigma);
    if (fault.inject.size() > kMostFaults) {
      problems_.push_back({{"fault.inject"},
                           "fault.inject stands " + std::to_string(fault.inject.size()) + " times: must stand " +
                               std::to_string(kMostFaults) + " times at most"});
    }
  }

  void check_injections() {
    for (const std::string& text : config_.fault.inject) {
      try {
        parse_fault_injection(text);
      } catch (const ConfigError& error) {
        problems_.push_back({{"fault.inject"}, "fault.inject is \"" + text + "\": " + error.what()});
      }
    }
  }

  void check_log() {
    const LogSection& log = config_.log;
    require_at_least_one("log.interval_steps", log.interval_steps);
    require(log.sample_interval_steps == 0 || !log.sample_prompt.empty(),
            {"log.sample_prompt", "log.sample_interval_steps"},
            "must not be empty where " + named("log.sample_interval_steps") + " asks for samples");
  }

  const RunConfig& config_;
  const proto::RunConfig message_;
  std::vector<Problem> problems_;
};

}  // namespace

std::vector<Problem> find_problems(const RunConfig& config) {
  return Checker(config).check();
}

std::vector<std::string> problems(const RunConfig& config) {
  std::vector<std::string> messages;
  for (Problem& problem : find_problems(config)) messages.push_back(std::move(problem.message));
  return messages;
}

std::vector<std::string> warnings(const RunConfig& config) {
  std::vector<std::string> messages = mixer_warnings(config);
  const bool is_dense = config.model.mixer != Mixer::kConv && config.model.mixer != Mixer::kDilatedConv;
  if (config.optimizer.muon_learning_rate > 0 && !is_dense && config.model.feed_forward == FeedForward::kKan) {
    messages.push_back(
        "optimizer.muon_learning_rate is ignored: neither CONV and DILATED_CONV nor KAN have dense "
        "matrices, so that AdamW updates everything");
  }
  if (config.optimizer.epsilon < kLeastBoundingEpsilon) {
    messages.push_back(
        "optimizer.epsilon is below 1e-18: squares of gradients below 1e-19 are 0 in fp32, so that "
        "these gradients can make steps without bound");
  }
  const std::uint64_t steps = config.train.steps;
  const std::uint64_t warmup = config.optimizer.warmup_steps;
  if (steps > 0 && warmup >= steps) {
    messages.push_back("optimizer.warmup_steps is " + std::to_string(warmup) + ", train.steps " +
                       std::to_string(steps) + ": the run ends before the learning rate is at its full value");
  }
  return messages;
}

}  // namespace kangpt::config
