#include "launcher/record/tensorboard_record.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "launcher/record/json_lines.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;
using Curve = std::pair<const char*, const char*>;  // name in metrics.jsonl, name here

constexpr std::array<Curve, 5> kTraining = {Curve{"loss", "loss"},
                                            {"learning_rate", "learning_rate"},
                                            {"gradient_norm", "gradient_norm"},
                                            {"tokens_per_second", "tokens_per_second"},
                                            {"validation_loss", "validation_loss"}};
constexpr std::array<Curve, 3> kValidation = {
    Curve{"validation_loss", "loss"}, {"perplexity", "perplexity"}, {"bits_per_byte", "bits_per_byte"}};
constexpr const char* kTableHead = "| time (UTC) | step | rank | phase | what happened |\n|---|---|---|---|---|\n";
constexpr std::size_t kMostFailures = 50;  // in the table, which is written again with each

void draw(std::span<const Curve> curves, const json& line, TensorboardWriter& writer) {
  for (const auto& [name, tag] : curves) {
    if (line.contains(name) && line[name].is_number())
      writer.scalar(tag, line.at("step").get<std::uint64_t>(), line[name].get<double>());
  }
}

std::string utc(double unix_seconds) {
  const auto seconds = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  std::array<char, 32> text{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return "";
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string cell(const json& value) {
  if (value.is_null()) return " |";
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  std::ranges::replace(text, '\n', ' ');
  return " " + as_markdown(text) + " |";
}

std::string table_line(const json& event, const json& what) {
  return "|" + cell(utc(event.value("time", 0.0))) + cell(event.value("step", json())) +
         cell(event.value("rank", json())) + cell(event.value("phase", json())) + cell(what) + "\n";
}

}  // namespace

TensorboardRecord::TensorboardRecord(TensorboardOptions options, std::uint64_t next_step)
    : options_(std::move(options)), training_(options_.run_directory / "tensorboard", next_step, options_.warn) {
  if (std::filesystem::exists(options_.run_directory / "tensorboard" / "validation")) validation(next_step);
  training_.hyperparameters(options_.settings);
  if (!options_.is_new_run) {
    for_each_object(options_.run_directory / "events.jsonl", [this](const json& event) { remember(event); });
    if (!failures_.empty()) write_failures(next_step - 1);
  }
  training_.flush();
}

void TensorboardRecord::restart(std::uint64_t next_step) {
  training_.restart(next_step);
  if (validation_) validation_->restart(next_step);
}

void TensorboardRecord::metrics(const json& line) {
  draw(kTraining, line, training_);
  const std::uint64_t step = line.at("step");
  if (options_.flops_per_token > 0 && line.contains("tokens_per_second"))
    training_.scalar("model_flops_per_second", step,
                     options_.flops_per_token * line["tokens_per_second"].get<double>());
  if (line.contains("mfu")) training_.scalar("mfu", step, line["mfu"].get<double>());
  const json phases = line.value("profile", json::object());
  for (const auto& [phase, seconds] : phases.items()) {
    training_.scalar("seconds/" + phase, step, seconds.get<double>());
  }
  training_.flush();
  if (!line.contains("validation_loss")) return;
  draw(kValidation, line, validation(step));
  validation_->flush();
}

void TensorboardRecord::sample(std::uint64_t step, const std::string& text) {
  training_.text("sample", step, as_markdown(text));
  training_.flush();
}

void TensorboardRecord::event(const json& line) {
  const std::string name = line.at("event");
  remember(line);
  // After a restart once more: it has taken back what was written for the step that failed.
  if (name == "failure" || name == "restart") write_failures(line.at("step"));
  if (name == "end" && line.at("exit_code") == 0) training_.finished();
  training_.flush();
}

void TensorboardRecord::remember(const json& event) {
  const std::string name = event.at("event");
  if (name == "start" && event.value("new_run", false)) failures_.clear();
  if (name == "failure") failures_.push_back(table_line(event, event.value("cause", "")));
  if (name == "restart") {
    const std::string lost = std::to_string(event.value("steps_lost", std::uint64_t{0}));
    failures_.push_back(table_line(event, "all workers go on behind this step; steps lost: " + lost));
  }
  for (; failures_.size() > kMostFailures; failures_.pop_front()) ++earlier_failures_;
}

void TensorboardRecord::write_failures(std::uint64_t step) {
  std::string text = kTableHead;
  for (const std::string& line : failures_) text += line;
  if (earlier_failures_ > 0) text += "\n" + std::to_string(earlier_failures_) + " earlier lines: see events.jsonl";
  training_.text("failures", step, text);
}

// Made where there is something to write, or to take back.
TensorboardWriter& TensorboardRecord::validation(std::uint64_t next_step) {
  if (!validation_)
    validation_.emplace(options_.run_directory / "tensorboard" / "validation", next_step, options_.warn);
  return *validation_;
}

}  // namespace kangpt::launcher
