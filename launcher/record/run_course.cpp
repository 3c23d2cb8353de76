#include "launcher/record/run_course.hpp"

#include <nlohmann/json.hpp>
#include <string>

#include "launcher/record/json_lines.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;

void add_step(const json& line, RunCourse& course) {
  if (!line.contains("loss")) return;
  course.last_tokens_per_second = line.value("tokens_per_second", 0.0);
  if (!line["loss"].is_number()) return;
  const double loss = line["loss"];
  const std::uint64_t step = line.at("step");
  if (course.losses.empty() || loss < course.best_loss) {
    course.best_loss = loss;
    course.best_step = step;
  }
  course.losses.push_back(loss);
}

}  // namespace

RunCourse read_course(const std::filesystem::path& run_directory) {
  RunCourse course;
  for_each_object(run_directory / "metrics.jsonl", [&](const json& line) { add_step(line, course); });
  for_each_object(run_directory / "events.jsonl", [&](const json& event) {
    const std::string name = event.at("event");
    if (name == "start" && event.value("new_run", json()) == true) course.recovery_seconds = 0;
    if (name == "recovered") course.recovery_seconds += event.at("seconds").get<double>();
  });
  return course;
}

}  // namespace kangpt::launcher
