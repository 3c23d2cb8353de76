#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.hpp"
#include "base/format.hpp"
#include "config/configuration.hpp"
#include "config/fault_plan.hpp"
#include "config/field_value.hpp"
#include "config/layers.hpp"
#include "config/problem.hpp"
#include "config/reach.hpp"
#include "config/schema.hpp"
#include "config/schema_values.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string divisors(int number) {
  std::vector<std::string> found;
  for (int candidate = 1; candidate <= number && candidate <= 1024; ++candidate) {
    if (number % candidate == 0) found.push_back(std::to_string(candidate));
  }
  return base::join(found, ", ");
}

// What does not go together, and what is too special for the schema to say; a check function a section, or several.
// Knows each field's value by its path, for the messages.
class Checker {
 public:
  Checker(const RunConfig& config, const Message& message)
      : config_(config), message_(message), field_problems_(field_problems(message)), problems_(field_problems_) {}

  std::vector<Problem> check() {
    check_sources();
    check_mixer();
    check_feed_forward();
    check_longest_step();
    check_learning_rate();
    check_epochs();
    check_logical_shards();
    check_injections();
    check_samples();
    std::stable_sort(problems_.begin(), problems_.end(), [this](const Problem& one, const Problem& other) {
      return section_index(one) < section_index(other);
    });
    return std::move(problems_);
  }

 private:
  std::string value_of(const std::string& path) const {
    for (const FieldDescriptor* const field : setting_fields()) {
      if (field_path(*field) == path) return base::join(value_texts(section_of(message_, *field), *field), ", ");
    }
    throw InternalError("there is no field " + path);
  }

  int section_index(const Problem& problem) const {
    const std::string& path = problem.fields.front();
    return message_.GetDescriptor()->FindFieldByName(path.substr(0, path.find('.')))->index();
  }

  // Whether one of the fields "section.name" that begin so is wrong by itself.
  bool is_refused(const std::string& beginning) const {
    return std::any_of(field_problems_.begin(), field_problems_.end(),
                       [&](const Problem& problem) { return problem.fields.front().starts_with(beginning); });
  }

  // "FIELD (VALUE)"
  std::string named(const std::string& path) const { return path + " (" + value_of(path) + ")"; }

  // `fields`: the one that is wrong, then those it does not agree with.
  void require(bool is_valid, const std::vector<std::string>& fields, const std::string& rule) {
    if (is_valid) return;
    problems_.push_back({fields, fields.front() + " is " + value_of(fields.front()) + ": " + rule});
  }

  void check_sources() {
    for (const DataSource& source : config_.data.sources) {
      require(!source.directory.empty(), {"data.source"}, "has a source without a directory");
      require(source.weight > 0 && source.weight <= 1e9, {"data.source"},
              "has a weight that is not a number above 0 (1e9 at most)");
    }
  }

  void check_mixer() {
    const ModelConfig& model = config_.model;
    if (has_mixer(model, Mixer::kAttention) && model.d_model > 0 && model.heads > 0) {
      require(model.d_model % model.heads == 0, {"model.heads", "model.d_model"},
              "must divide " + named("model.d_model") + "; valid: " + divisors(model.d_model));
    }
    if (has_mixer(model, Mixer::kDeformableConv) && model.d_model > 0 && model.offset_groups > 0) {
      require(model.d_model % model.offset_groups == 0, {"model.offset_groups", "model.d_model"},
              "must divide " + named("model.d_model") + "; valid: " + divisors(model.d_model));
      check_reach();
    }
  }

  // Where the offsets are 0 at first, a tap lies k * dilation positions back; that must be within max_offset.
  void check_reach() {
    const double longest = longest_tap(config_.model, Mixer::kDeformableConv);
    require(config_.model.max_offset >= longest, {"model.max_offset", "model.kernel_size", "model.dilation"},
            "must be at least (kernel_size - 1) * dilation, " + std::to_string(static_cast<std::int64_t>(longest)));
  }

  void check_feed_forward() {
    const ModelConfig& model = config_.model;
    require(model.feed_forward != FeedForward::kHybrid || model.layers % 2 == 0, {"model.layers", "model.feed_forward"},
            "must be even with model.feed_forward HYBRID, whose layers alternate between MLP and KAN");
    const bool has_groups =
        model.feed_forward == FeedForward::kGroupedKan || model.feed_forward == FeedForward::kRationalKan;
    if (!has_groups || is_refused("model.") || model.kan_groups == 0) return;
    const int both = std::gcd(model.d_model, model.mlp_hidden);
    require(both % model.kan_groups == 0, {"model.kan_groups", "model.d_model", "model.mlp_hidden"},
            "must divide " + named("model.d_model") + " and " + named("model.mlp_hidden") + "; valid: 0 for up to 8, " +
                divisors(both));
  }

  // The first step divides by 1 - beta1, and an infinite step times a mean of 0 is no number.
  void check_longest_step() {
    if (is_refused("optimizer.")) return;
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
    if (optimizer.schedule == Schedule::kConstant || is_refused("optimizer.learning_rate")) return;
    require(
        optimizer.minimum_learning_rate <= optimizer.learning_rate,
        {"optimizer.minimum_learning_rate", "optimizer.learning_rate"},
        "must not be above " + named("optimizer.learning_rate") + " with schedule " + value_of("optimizer.schedule"));
  }

  void check_epochs() {
    const TrainSection& train = config_.train;
    require(train.steps > 0 || !(train.epochs <= 0), {"train.epochs", "train.steps"},
            "must be above 0 where train.steps is 0, or nothing would be trained");
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

  void check_injections() {
    const FaultSection& fault = config_.fault;
    if (fault.inject.size() > kMostFaults) {
      problems_.push_back({{"fault.inject"},
                           "fault.inject stands " + std::to_string(fault.inject.size()) + " times: must stand " +
                               std::to_string(kMostFaults) + " times at most"});
    }
    for (const std::string& text : fault.inject) {
      try {
        parse_fault_injection(text);
      } catch (const ConfigError& error) {
        problems_.push_back({{"fault.inject"}, "fault.inject is \"" + text + "\": " + error.what()});
      }
    }
  }

  void check_samples() {
    const LogSection& log = config_.log;
    require(log.sample_interval_steps == 0 || !log.sample_prompt.empty(),
            {"log.sample_prompt", "log.sample_interval_steps"},
            "must not be empty where " + named("log.sample_interval_steps") + " asks for samples");
  }

  const RunConfig& config_;
  const Message& message_;
  const std::vector<Problem> field_problems_;
  std::vector<Problem> problems_;
};

}  // namespace

std::vector<Problem> find_problems(const RunConfig& config) {
  return Checker(config, *to_message(config)).check();
}

std::vector<std::string> problems(const RunConfig& config) {
  std::vector<std::string> messages;
  for (Problem& problem : find_problems(config)) messages.push_back(std::move(problem.message));
  return messages;
}

}  // namespace kangpt::config
