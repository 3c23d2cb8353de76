#include "launcher/run_log.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>
#include <sstream>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "io/checkpoint.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Drops the lines of `file` whose "step" is greater than `step`, and a last line that was cut off.
void drop_lines_after(const std::filesystem::path& file, std::uint64_t step) {
  if (!std::filesystem::exists(file)) return;
  std::istringstream lines(base::read_file(file));
  std::string kept;
  std::string line;
  bool dropped = false;
  while (std::getline(lines, line)) {
    const json value = json::parse(line, nullptr, false);
    const bool keep =
        value.is_object() && value.contains("step") && value["step"].is_number_unsigned() && value["step"] <= step;
    keep ? void(kept += line + '\n') : void(dropped = true);
  }
  if (dropped) base::write_file_atomically(file, kept);
}

}  // namespace

RunLog::RunLog(RunLogOptions options, std::uint64_t step) : options_(std::move(options)), last_step_(step) {
  base::make_directories(options_.directory / "samples");
  drop_lines_after(options_.directory / "metrics.jsonl", step);
  if (options_.tensorboard) tensorboard_.emplace(options_.directory / "tensorboard", step + 1);
  if (options_.trace) trace_.emplace(options_.directory / "trace.json");
  if (!options_.is_new_run) find_fired_faults();
}

void RunLog::find_fired_faults() {
  std::multiset<std::string> fired;
  std::ifstream events(options_.directory / "events.jsonl");
  for (std::string line; std::getline(events, line);) {
    const json event = json::parse(line, nullptr, false);
    if (!event.is_object()) continue;
    if (event.value("new_run", json()) == true) fired.clear();
    for (const json& fault : event.value("faults", json::array())) {
      if (fault.is_string()) fired.insert(fault.get<std::string>());
    }
  }
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

void RunLog::append(const std::filesystem::path& file, const json& line) {
  std::ofstream stream(options_.directory / file, std::ios::app);
  stream << line.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
  stream.flush();
  if (!stream) warn_of_failed_write(file);
}

void RunLog::warn_of_failed_write(const std::filesystem::path& file) {
  if (std::exchange(write_failed_, true)) return;
  progress_.interrupt();
  base::log_warning("cannot write " + (options_.directory / file).string() + "; training goes on without it");
}

// The curves of TensorBoard: those of `metrics` that it has.
void RunLog::draw(const json& metrics) {
  if (!tensorboard_) return;
  for (const char* tag : {"loss", "learning_rate", "gradient_norm", "tokens_per_second", "validation_loss"}) {
    if (metrics.contains(tag) && metrics[tag].is_number())
      tensorboard_->scalar(tag, metrics.at("step").get<std::uint64_t>(), metrics[tag].get<double>());
  }
  if (!tensorboard_->flush()) warn_of_failed_write("tensorboard");
}

void RunLog::report(const json& report) {
  const std::string kind = report.is_object() && report.contains("kind") && report["kind"].is_string()
                               ? report["kind"].get<std::string>()
                               : "";
  try {
    if (kind == "step") return report_step(report);
    if (kind == "validation") return report_validation(report);
    if (kind == "sample") return report_sample(report);
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
  last_loss_ = report.at("loss").is_number() ? report["loss"].get<double>() : std::nan("");
  const double seconds = report.at("step_seconds").get<double>() + report.at("snapshot_seconds").get<double>();
  const double tokens = report.at("step_tokens");
  interval_steps_ += 1;
  interval_seconds_ += seconds;
  interval_tokens_ += tokens;
  total_seconds_ += seconds;
  total_tokens_ += tokens;
  const double rate = interval_tokens_ / std::max(interval_seconds_, 1e-9);
  progress_.show(
      {last_step_, options_.total_steps, last_loss_, rate, interval_seconds_ / static_cast<double>(interval_steps_)});
  if (report.at("skipped")) {
    event("skipped", {{"step", last_step_}, {"batch", report.at("batch")}},
          "step " + std::to_string(last_step_) + " was skipped: its loss or gradient is not finite");
  }
  if (trace_ && report.contains("trace")) trace_->add(last_step_, report["trace"]);
  if (report.at("loss_spike")) {
    event("loss_spike", {{"step", last_step_}, {"batch", report.at("batch")}, {"loss", last_loss_}},
          "step " + std::to_string(last_step_) + ": the loss is far above its recent mean");
  }
  if (last_step_ % options_.interval_steps != 0 && last_step_ != options_.total_steps) return;
  json line = report;
  for (const char* internal : {"kind", "step_tokens", "skipped", "loss_spike", "batch", "trace"}) line.erase(internal);
  line["tokens_per_second"] = rate;
  line["restarts"] = restarts_;
  line["world_size"] = options_.world_size;
  line["time"] = unix_time();
  append("metrics.jsonl", line);
  draw(line);
  interval_steps_ = 0;
  interval_seconds_ = interval_tokens_ = 0;
}

void RunLog::report_validation(const json& report) {
  const double loss = report.at("validation_loss").is_number() ? report["validation_loss"].get<double>() : std::nan("");
  json line{{"step", report.at("step")}, {"validation_loss", loss}, {"perplexity", std::exp(loss)}};
  if (options_.validation_bytes_per_token > 0)
    line["bits_per_byte"] = loss / std::numbers::ln2 / options_.validation_bytes_per_token;
  append("metrics.jsonl", line);
  draw(line);
  last_validation_loss_ = loss;
  validated_ = true;
  progress_.interrupt();
  std::ostringstream text;
  text.precision(4);
  text << std::fixed << "step " << report.at("step").get<std::uint64_t>() << ": validation loss " << loss
       << ", perplexity " << std::exp(loss) << " (" << base::format_count(report.at("tokens").get<std::uint64_t>())
       << " tokens in " << base::format_duration(report.at("seconds")) << ")";
  base::log_info(text.str());
}

void RunLog::report_sample(const json& report) {
  const std::uint64_t step = report.at("step");
  const std::string text = report.at("text");
  try {
    base::write_file_atomically(options_.directory / "samples" / (io::checkpoint_name(step) + ".txt"), text + "\n");
  } catch (const Error& error) {
    base::log_warning(error.what());
  }
  progress_.interrupt();
  base::log_info("step " + std::to_string(step) + ", a sample: " + text);
}

void RunLog::event(const std::string& name, json fields, const std::string& message) {
  json line{{"event", name}, {"time", unix_time()}};
  if (name == "failure" && !recovering_since_) recovering_since_ = Clock::now();
  line.update(fields);
  append("events.jsonl", line);
  if (message.empty()) return;
  progress_.interrupt();
  const bool is_good = name == "start" || name == "restart" || name == "recovered";
  const bool is_end = name == "gave_up" || (name == "failure" && line.at("exit_code") != ExitCode::kInternal);
  (is_good ? base::log_info : is_end ? base::log_error : base::log_warning)(message);
}

void RunLog::restarted(std::uint64_t step) {
  const std::uint64_t lost = last_step_ > step ? last_step_ - step : 0;
  restarts_ += 1;
  lost_steps_ += lost;
  last_step_ = step;
  try {
    drop_lines_after(options_.directory / "metrics.jsonl", step);
  } catch (const Error& error) {
    base::log_warning(std::string("metrics.jsonl has steps that are computed again: ") + error.what());
  }
  if (tensorboard_) tensorboard_->restart(step + 1);
  event("restart", {{"step", step}, {"steps_lost", lost}},
        "restarting the workers behind step " + std::to_string(step));
}

void RunLog::finish(std::uint64_t steps, const std::string& digest) {
  json summary{{"steps", steps},
               {"loss", last_loss_},
               {"tokens_per_second", total_tokens_ / std::max(total_seconds_, 1e-9)},
               {"restarts", restarts_},
               {"lost_steps", lost_steps_},
               {"world_size", options_.world_size}};
  if (validated_) summary["validation_loss"] = last_validation_loss_;
  if (!digest.empty()) summary["digest"] = digest;
  base::write_file_atomically(options_.directory / "summary.json", summary.dump(2) + "\n");
  progress_.interrupt();
}

}  // namespace kangpt::launcher
