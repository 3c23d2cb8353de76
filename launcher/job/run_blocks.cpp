#include "launcher/job/run_blocks.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/command.hpp"
#include "base/file.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "base/text_columns.hpp"
#include "config/context_window.hpp"
#include "config/layers.hpp"
#include "launcher/record/run_course.hpp"
#include "launcher/record/run_summary.hpp"
#include "model/parameters/model_cost.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;

constexpr std::size_t kLabelColumns = 12;
constexpr int kCurveColumns = 60;

std::string row(const std::string& label, const std::string& text) {
  const std::string gap(kLabelColumns - std::min(label.size(), kLabelColumns - 1), ' ');
  return "\n  " + label + gap + text;
}

template <typename... Args>
std::string print(const char* format, Args... args) {
  std::array<char, 96> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, args...);
  return buffer.data();
}

// "1.25 TFLOP/s".
std::string format_flops(double flops) {
  constexpr std::array kUnits = {"FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s"};
  std::size_t unit = 0;
  for (; flops >= 999.5 && unit + 1 < kUnits.size(); ++unit) flops /= 1000;
  return print("%.3g %s", flops, kUnits[unit]);
}

std::string mixer_text(const config::ModelConfig& model, config::Mixer mixer) {
  switch (mixer) {
    case config::Mixer::kAttention:
      return "attention of " + std::to_string(model.heads) + " heads";
    case config::Mixer::kConvMod:
      return "convolutional modulation";
    case config::Mixer::kConv:
      return "convolution";
    case config::Mixer::kDilatedConv:
      return "dilated convolution";
    case config::Mixer::kSeparableConv:
      return "separable convolution";
    case config::Mixer::kDeformableConv:
      return "deformable convolution";
  }
  return "";
}

// "attention of 8 heads, then 3 of convolution, in turns".
std::string mixers_text(const config::ModelConfig& model) {
  std::vector<std::string> texts;
  for (auto first = model.mixers.begin(); first != model.mixers.end();) {
    const auto end = std::find_if(first, model.mixers.end(), [&](config::Mixer mixer) { return mixer != *first; });
    const bool is_alone = end - first == 1 || end - first == std::ssize(model.mixers);
    texts.push_back((is_alone ? "" : std::to_string(end - first) + " of ") + mixer_text(model, *first));
    first = end;
  }
  return base::join(texts, ", then ") + (texts.size() > 1 ? ", in turns" : "");
}

std::string feed_forward_text(const config::ModelConfig& model) {
  const std::string degree = "KAN of degree " + std::to_string(model.kan_degree);
  const std::string width = " of " + std::to_string(model.mlp_hidden);
  const std::string groups = " in " + std::to_string(config::function_groups(model)) + " groups";
  switch (model.feed_forward) {
    case config::FeedForward::kKan:
      return degree;
    case config::FeedForward::kMlp:
      return "MLP" + width;
    case config::FeedForward::kHybrid:
      return degree + " and MLP" + width + " in turns";
    case config::FeedForward::kSwiglu:
      return "SwiGLU" + width;
    case config::FeedForward::kGroupedKan:
      return "grouped " + degree + groups + width;
    case config::FeedForward::kRationalKan:
      return "rational KAN" + groups + width;
  }
  return "";
}

std::string model_text(const config::ModelConfig& model) {
  return std::to_string(model.layers) + " layers of " + std::to_string(model.d_model) + ", " + mixers_text(model) +
         ", " + feed_forward_text(model);
}

double tokens_a_step(const JobSetup& setup) {
  return static_cast<double>(setup.state.batch_size) * config::context_window_tokens(setup.config.data);
}

std::string data_text(const JobSetup& setup) {
  const bool has_validation = setup.validation_bytes_per_token > 0;
  const std::uint64_t interval = setup.config.log.validation_interval_steps;
  return data::directories(setup.sources) + ": rows of " + std::to_string(setup.config.data.sequence_length) +
         " tokens, vocabulary " + base::format_count(static_cast<std::uint64_t>(setup.config.model.vocabulary_size)) +
         "; " +
         (!has_validation ? "no validation split"
          : interval > 0  ? "validation every " + base::format_count(interval) + " steps"
                          : "no validation (log.validation_interval_steps)");
}

std::string steps_text(const JobSetup& setup) {
  std::string text = base::format_count(setup.total_steps);
  if (setup.config.train.steps == 0) text += print(", which is %.4g epochs", setup.config.train.epochs);
  if (setup.state.step > 0) text += "; " + base::format_count(setup.state.step) + " are done";
  const std::uint64_t interval = setup.config.checkpoint.interval_steps;
  return text + (interval > 0 ? "; a checkpoint every " + base::format_count(interval) : "");
}

// Before the first step only an earlier start knows.
std::string time_text(const JobSetup& setup) {
  const double rate = read_course(setup.config.run.directory).last_tokens_per_second;
  if (rate <= 0) return "said after the first steps";
  const auto left = static_cast<double>(setup.total_steps - std::min(setup.state.step, setup.total_steps));
  return "about " + base::format_duration(left * tokens_a_step(setup) / rate) + " to go, at the " +
         base::format_count(static_cast<std::uint64_t>(rate)) + " tokens/s of before";
}

std::string results_text(const JobSetup& setup) {
  return "in " + setup.config.run.directory + ": metrics.jsonl, events.jsonl, checkpoints/" +
         (setup.config.log.sample_interval_steps > 0 ? ", samples/" : "") +
         (setup.config.log.tensorboard ? ", tensorboard/" : "");
}

std::string loss_rows(const RunCourse& course) {
  if (course.losses.empty()) return "";
  const std::string text =
      row("loss", print("%.4f first, %.4f last, %.4f best (step %llu)", course.losses.front(), course.losses.back(),
                        course.best_loss, static_cast<unsigned long long>(course.best_step)));
  return text + row("", base::sparkline(course.losses, kCurveColumns, base::log_style()));
}

// From summary.json; nothing where the run has none yet.
std::string summary_rows(const JobSetup& setup) {
  const std::filesystem::path file = std::filesystem::path(setup.config.run.directory) / "summary.json";
  if (lacks_summary_of(last_logged_step(setup.config.run.directory), setup.config.run.directory)) return "";
  const json summary = json::parse(base::read_file(file), nullptr, false);
  const auto number = [&](const char* name) {
    return summary.value(name, json()).is_number() ? summary[name].get<double>() : 0;
  };
  std::string text;
  if (number("best_validation_loss") > 0) {
    text += row("validation", print("%.4f last, %.4f best (step %.0f)", number("validation_loss"),
                                    number("best_validation_loss"), number("best_step")));
  }
  const double rate = number("tokens_per_second");
  if (rate > 0) {
    text += row("speed", base::format_count(static_cast<std::uint64_t>(rate)) + " tokens/s, " +
                             format_flops(rate * model::flops_per_token(setup.config.model).total()) +
                             (number("mfu") > 0 ? print(" (MFU %.0f %%)", 100 * number("mfu")) : "") + "; " +
                             base::format_count(static_cast<std::uint64_t>(number("tokens"))) + " tokens in " +
                             base::format_duration(number("seconds")) + " of steps");
  }
  return text;
}

std::string restarts_row(const RunHistory& history, const RunCourse& course) {
  std::string text = history.restarts == 0 ? "none" : base::format_count(history.restarts) + " of the workers";
  if (history.restarts > 0) text += ", recovered in " + base::format_duration(course.recovery_seconds);
  if (history.starts > 1) text += "; " + base::format_count(history.starts) + " starts";
  if (history.lost_steps > 0) text += "; " + base::format_count(history.lost_steps) + " step(s) computed again";
  return row("restarts", text);
}

}  // namespace

std::string start_block(const JobSetup& setup) {
  const std::uint64_t shards = std::max<std::uint64_t>(setup.state.logical_shards, 1);
  return row("model", model_text(setup.config.model)) + row("data", data_text(setup)) +
         row("batch", base::format_count(setup.state.batch_size) + " rows, up to " +
                          base::format_count(static_cast<std::uint64_t>(tokens_a_step(setup))) + " tokens a step; " +
                          base::format_count(shards) + " logical shards") +
         row("steps", steps_text(setup)) + row("time", time_text(setup)) + row("results", results_text(setup));
}

std::string results_block(const JobSetup& setup) {
  const std::string& run = setup.config.run.directory;
  const RunCourse course = read_course(run);
  return loss_rows(course) + summary_rows(setup) + restarts_row(read_history(run), course);
}

std::string next_commands(const JobSetup& setup) {
  const std::string& run = setup.config.run.directory;
  const std::string data = setup.sources.front().directory.string();
  std::vector<std::string> eval = {"kangpt_eval", "--checkpoint", run, "--data", data};
  if (setup.validation_bytes_per_token <= 0) eval.insert(eval.end(), {"--split", "train"});
  std::string text = "\n  read what it learnt: " +
                     base::shell_command({"kangpt_generate", "--checkpoint", run, "--prompt", "Once upon a time"});
  text += "\n  measure it: " + base::shell_command(eval);
  text += "\n  look at it: open " + base::shell_command({run + "/report.html"}) + " in a browser";
  if (setup.config.log.tensorboard)
    text += "\n  see its curves: " + base::shell_command({"tensorboard", "--logdir", run + "/tensorboard"});
  return text;
}

}  // namespace kangpt::launcher
