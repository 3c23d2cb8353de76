#include <nlohmann/json.hpp>

#include "launcher/record/json_lines.hpp"
#include "launcher/report/markup.hpp"
#include "launcher/report/run_record.hpp"

namespace kangpt::report {
namespace {

using nlohmann::json;

constexpr std::size_t kMostRanksOfAnIncident = 16;
constexpr std::size_t kLongestTextBytes = 400;

std::string text_of(const json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text.size() > kLongestTextBytes) text = text.substr(0, kLongestTextBytes) + " ...";
  return text;
}

std::uint64_t step_of(const json& event) {
  return event.value("step", std::uint64_t{0});
}

// Goes through the lines of events.jsonl in their order.
class EventReader {
 public:
  void add(const json& event);
  Events take() { return std::move(events_); }

 private:
  void add_start(const json& event);
  void add_failure(const json& event);
  void add_restart(const json& event);
  void add_end(const json& event);
  void add_notice(const json& event);
  void set_earlier_metrics_apart();

  Events events_;
  bool in_incident_ = false;  // the newest one may get further failures
};

void EventReader::add(const json& event) {
  const std::string name = event.at("event");
  const double time = event.at("time");
  if (name == "start") {
    add_start(event);
  } else if (name == "failure") {
    add_failure(event);
  } else if (name == "restart") {
    add_restart(event);
  } else if (name == "recovered") {
    if (!events_.incidents.values.empty())
      events_.incidents.values.back().recovery_seconds = event.at("seconds").get<double>();
  } else if (name == "checkpoint") {
    events_.checkpoints.add(step_of(event));
  } else if (name == "end") {
    add_end(event);
  } else {
    add_notice(event);
  }
  if (events_.starts.values.empty()) return;
  Start& start = events_.starts.values.back();
  start.last_time = std::max(start.last_time, time);
  if (event.contains("step")) start.last_step = step_of(event);
}

void EventReader::add_start(const json& event) {
  in_incident_ = false;
  if (event.value("new_run", json()) == true) events_ = {};
  if (!event.value("set_aside", json::array()).empty()) set_earlier_metrics_apart();
  Start start{.time = event.at("time"), .last_time = event.at("time"), .step = step_of(event)};
  start.world_size = event.value("world_size", 0);
  start.threads = event.value("threads", 0);
  start.device = event.value("device", "");
  start.host = event.value("host", "");
  start.version = event.value("version", "");
  for (const json& change : event.value("changed_settings", json::array())) {
    start.changes += text_of(change.at("field")) + " changes from " + text_of(change.at("before")) + " to " +
                     text_of(change.at("now")) + '\n';
  }
  events_.starts.add(std::move(start));
}

// What was measured until now is in files with another name: nothing of it belongs on the curves.
void EventReader::set_earlier_metrics_apart() {
  for (Start& start : events_.starts.values) start.is_of_earlier_metrics = true;
  for (Incident& incident : events_.incidents.values) incident.is_of_earlier_metrics = true;
  events_.checkpoints = {};
}

void EventReader::add_failure(const json& event) {
  if (!in_incident_) events_.incidents.add({.time = event.at("time"), .step = step_of(event)});
  in_incident_ = true;
  Incident& incident = events_.incidents.values.back();
  if (incident.ranks.size() == kMostRanksOfAnIncident) return;
  const std::string phase = event.value("phase", "");
  incident.ranks.push_back(text_of(event.value("rank", json("unknown"))));
  incident.causes.push_back((phase.empty() ? "" : "in " + phase + ": ") +
                            text_of(event.value("cause", json("unknown"))));
}

void EventReader::add_restart(const json& event) {
  if (!in_incident_) return add_notice(event);  // back to a checkpoint, by fault.non_finite
  in_incident_ = false;
  events_.incidents.values.back().restarted_at = step_of(event);
  events_.incidents.values.back().lost_steps = event.value("steps_lost", std::uint64_t{0});
}

void EventReader::add_end(const json& event) {
  in_incident_ = false;
  if (!events_.starts.values.empty()) events_.starts.values.back().exit_code = event.at("exit_code").get<int>();
}

void EventReader::add_notice(const json& event) {
  json rest = event;
  for (const char* said : {"event", "time", "step"}) rest.erase(said);
  const std::string at = event.contains("step") ? " at step " + text_of(event["step"]) : "";
  const std::string name = event.at("event");
  events_.notices.add({event.at("time"), name + at + (rest.empty() ? "" : ": " + text_of(rest))});
}

}  // namespace

Events read_events(const std::filesystem::path& directory, std::vector<std::string>& problems) {
  EventReader reader;
  const std::uint64_t damaged =
      launcher::for_each_object(directory / "events.jsonl", [&](const json& event) { reader.add(event); });
  if (damaged > 0)
    problems.push_back("events.jsonl: " + number(static_cast<double>(damaged)) +
                       " line(s) are damaged or not written to their end, and are left out");
  Events events = reader.take();
  events.history = launcher::read_history(directory);
  return events;
}

}  // namespace kangpt::report
