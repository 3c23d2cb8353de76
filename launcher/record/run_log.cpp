#include "launcher/record/run_log.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "io/checkpoint.hpp"
#include "launcher/record/json_lines.hpp"
#include "launcher/record/run_summary.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void append(AppendFile& file, const json& line) {
  file.add(line.dump(-1, ' ', false, json::error_handler_t::replace) + '\n');
  file.write();
}

bool is_of_step_up_to(std::uint64_t step, const json& line) {
  return line.contains("step") && line["step"].is_number_unsigned() && line["step"] <= step;
}

void repair(const std::filesystem::path& file, const std::function<bool(const json&)>& keep) {
  const std::uint64_t torn = keep_lines(file, keep);
  if (torn > 0)
    base::log_warning("dropped " + std::to_string(torn) + " line(s) of " + file.string() +
                      " that an earlier start did not write to their end");
}

}  // namespace

RunLog::RunLog(RunLogOptions options, std::uint64_t step)
    : options_(std::move(options)),
      display_(options_.total_steps),
      metrics_(options_.directory / "metrics.jsonl"),
      events_(options_.directory / "events.jsonl"),
      last_step_(step) {
  base::make_directories(options_.directory / "samples");
  repair(options_.directory / "metrics.jsonl", [&](const json& line) { return is_of_step_up_to(step, line); });
  repair(options_.directory / "events.jsonl", [](const json& /*line*/) { return true; });
  if (options_.tensorboard) {
    tensorboard_.emplace(TensorboardOptions{.run_directory = options_.directory,
                                            .settings = options_.settings,
                                            .flops_per_token = options_.flops_per_token,
                                            .is_new_run = options_.is_new_run},
                         step + 1);
  }
  if (options_.trace) trace_.emplace(options_.directory / "trace.json");
  if (!options_.is_new_run) find_fired_faults();
}

void RunLog::find_fired_faults() {
  std::multiset<std::string> fired = read_history(options_.directory).fired_faults;
  for (std::size_t i = 0; i < options_.faults.size(); ++i) {
    const auto found = fired.find(options_.faults[i]);
    if (found == fired.end()) continue;
    fired_faults_ |= std::uint64_t{1} << i;
    fired.erase(found);
  }
}

void RunLog::remember_faults(std::uint64_t fired) {
  json faults = json::array();
  for (std::size_t i = 0; i < options_.faults.size(); ++i) {
    if (((fired & ~fired_faults_) >> i & 1) != 0) faults.push_back(options_.faults[i]);
  }
  fired_faults_ |= fired;
  if (!faults.empty()) event("fault_injected", {{"faults", faults}});
}

void RunLog::report(const json& report) {
  const std::string kind = report.is_object() && report.contains("kind") && report["kind"].is_string()
                               ? report["kind"].get<std::string>()
                               : "";
  try {
    if (kind == "step") return report_step(report);
    if (kind == "validation") return report_validation(report);
    if (kind == "sample") return report_sample(report);
    if (kind == "matrix_rate") return report_matrix_rate(report);
  } catch (const json::exception&) {  // a field is missing or of another type
  }
  base::log_warning("a report of kind '" + kind + "' that makes no sense was ignored");
}

void RunLog::report_step(const json& report) {
  last_step_ = report.at("step");
  if (recovering_since_) {
    const double seconds = std::chrono::duration<double>(Clock::now() - *recovering_since_).count();
    recovering_since_.reset();
    event("recovered", {{"step", last_step_}, {"seconds", seconds}}, "recovered in " + base::format_duration(seconds));
  }
  const double loss = report.at("loss").is_number() ? report["loss"].get<double>() : std::nan("");
  const double seconds = report.at("step_seconds").get<double>() + report.at("snapshot_seconds").get<double>();
  const double tokens = report.at("step_tokens");
  interval_seconds_ += seconds;
  interval_tokens_ += tokens;
  const double rate = interval_tokens_ / std::max(interval_seconds_, 1e-9);
  display_.step({last_step_, loss, rate, seconds});
  if (report.at("skipped")) {
    event("skipped", {{"step", last_step_}, {"batch", report.at("batch")}},
          "step " + std::to_string(last_step_) + " was skipped: its loss or gradient is not finite");
  }
  if (trace_ && report.contains("trace")) trace_->add(last_step_, report["trace"]);
  if (report.at("loss_spike")) {
    event("loss_spike", {{"step", last_step_}, {"batch", report.at("batch")}, {"loss", loss}},
          "step " + std::to_string(last_step_) + ": the loss is far above its recent mean");
  }
  if (last_step_ % options_.interval_steps != 0 && last_step_ != options_.total_steps) return;
  json line = report;
  for (const char* internal : {"kind", "step_tokens", "skipped", "loss_spike", "batch", "trace"}) line.erase(internal);
  line["tokens_per_second"] = rate;
  if (peak_flops_ > 0 && options_.flops_per_token > 0) line["mfu"] = options_.flops_per_token * rate / peak_flops_;
  line["restarts"] = restarts_;
  line["world_size"] = options_.world_size;
  line["time"] = unix_time();
  append(metrics_, line);
  if (tensorboard_) tensorboard_->metrics(line);
  interval_seconds_ = interval_tokens_ = 0;
}

void RunLog::report_validation(const json& report) {
  const double loss = report.at("validation_loss").is_number() ? report["validation_loss"].get<double>() : std::nan("");
  json line{{"step", report.at("step")}, {"validation_loss", loss}, {"perplexity", std::exp(loss)}};
  if (options_.validation_bytes_per_token > 0)
    line["bits_per_byte"] = loss / std::numbers::ln2 / options_.validation_bytes_per_token;
  append(metrics_, line);
  if (tensorboard_) tensorboard_->metrics(line);
  display_.validation({report.at("step"), loss, report.at("tokens"), report.at("seconds")});
}

void RunLog::report_sample(const json& report) {
  const std::uint64_t step = report.at("step");
  const std::string text = report.at("text");
  try {
    base::write_file_atomically(options_.directory / "samples" / (io::checkpoint_name(step) + ".txt"), text + "\n");
  } catch (const Error& error) {
    base::log_warning(error.what());
  }
  if (tensorboard_) tensorboard_->sample(step, text);
  display_.sample(step, text);
}

// Ranks are taken to be alike. Workers that are started again measure again; what other work was there makes it less.
void RunLog::report_matrix_rate(const json& report) {
  peak_flops_ = std::max(peak_flops_, options_.world_size * report.at("flops_per_second").get<double>());
}

void RunLog::event(const std::string& name, const json& fields, const std::string& message) {
  json line{{"event", name}, {"time", unix_time()}};
  if (name == "failure" && !recovering_since_) recovering_since_ = Clock::now();
  line.update(fields);
  append(events_, line);
  if (tensorboard_) tensorboard_->event(line);
  if (!message.empty()) display_.event(name, line, message);
}

void RunLog::restarted(std::uint64_t step) {
  const std::uint64_t lost = last_step_ > step ? last_step_ - step : 0;
  restarts_ += 1;
  last_step_ = step;
  display_.restarted();
  drop_steps_after(step);
  if (tensorboard_) tensorboard_->restart(step + 1);
  event("restart", {{"step", step}, {"steps_lost", lost}},
        "restarting the workers behind step " + std::to_string(step));
}

// On disk and among the lines that wait for it.
void RunLog::drop_steps_after(std::uint64_t step) {
  const auto keep = [&](const json& line) { return is_of_step_up_to(step, line); };
  metrics_.forget([&](std::string_view line) { return !keep(json::parse(line)); });
  try {
    keep_lines(options_.directory / "metrics.jsonl", keep);
  } catch (const Error& error) {
    base::log_warning(std::string("metrics.jsonl has steps that are computed again: ") + error.what());
  }
}

void RunLog::finish() {
  metrics_.write();
  events_.write();
  display_.finish();
}

}  // namespace kangpt::launcher
