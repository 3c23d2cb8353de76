// Starts and failures: when they were, and what they cost.
#include <algorithm>
#include <array>

#include "base/format.hpp"
#include "launcher/report/markup.hpp"
#include "launcher/report/scale.hpp"
#include "launcher/report/sections.hpp"

namespace kangpt::report {
namespace {

constexpr std::size_t kMostBars = 20;
constexpr std::size_t kMostRows = 100;
constexpr double kWidth = 720, kLeft = 92, kRight = 16, kRowHeight = 24, kAxisHeight = 34;

struct TimeUnit {
  double seconds;
  const char* name;
};

// The largest in which the whole has a few units.
TimeUnit unit_for(double seconds) {
  constexpr std::array<TimeUnit, 3> kUnits = {{{86400, "days"}, {3600, "hours"}, {60, "minutes"}}};
  for (const TimeUnit& unit : kUnits) {
    if (seconds >= 3 * unit.seconds) return unit;
  }
  return {1, "seconds"};
}

template <typename T>
std::vector<T> newest(const Newest<T>& all, std::size_t most) {
  const std::size_t count = std::min(all.values.size(), most);
  return {all.values.end() - static_cast<std::ptrdiff_t>(count), all.values.end()};
}

std::string count(std::uint64_t value) {
  return base::format_count(value);
}

std::string end_of(const Start& start) {
  return start.exit_code ? "exit code " + std::to_string(*start.exit_code) : "no end noted";
}

std::string style_of(const Start& start) {
  if (!start.exit_code) return "open";
  return *start.exit_code == 0 ? "good" : *start.exit_code == 75 ? "paused" : "bad";
}

std::string attribute(const char* name, double value) {
  return ' ' + std::string(name) + "=\"" + fixed(value, 1) + '"';
}

// A bar for each start, with a cross and the time without a step for each failure.
class Timeline {
 public:
  Timeline(const RunRecord& run, std::string id)
      : id_(std::move(id)),
        starts_(newest(run.events.starts, kMostBars)),
        incidents_(run.events.incidents),
        first_(run.events.starts.dropped + run.events.starts.values.size() - starts_.size() + 1) {
    for (const Start& start : starts_) end_ = std::max(end_, start.last_time);
  }
  std::string svg() const;
  const char* unit() const { return unit_for(end_ - begin()).name; }

 private:
  double begin() const { return starts_.front().time; }
  double x_at(double time) const {
    return kLeft +
           Axis(begin(), end_).at(std::clamp(time, begin(), std::max(begin(), end_))) * (kWidth - kLeft - kRight);
  }
  double bottom() const { return kRowHeight * static_cast<double>(starts_.size()) + 6; }
  std::string axis() const;
  std::string bar(std::size_t index) const;
  std::string failures(std::size_t index) const;

  std::string id_;
  std::vector<Start> starts_;
  const Newest<Incident>& incidents_;
  std::uint64_t first_;  // number of the first bar's start
  double end_ = 0;
};

std::string Timeline::axis() const {
  const TimeUnit unit = unit_for(end_ - begin());
  const std::vector<double> ticks = linear_ticks(0, std::max(end_ - begin(), 0.0) / unit.seconds, 8);
  const std::vector<std::string> texts = tick_texts(ticks);
  std::string lines, markup;
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    const double x = x_at(begin() + ticks[i] * unit.seconds);
    lines += 'M' + fixed(x, 1) + " 0V" + fixed(bottom(), 1);
    markup += text_element("text class=\"middle\"" + attribute("x", x) + attribute("y", bottom() + 4) + " dy=\".95em\"",
                           texts[i]);
  }
  markup += text_element(
      "text class=\"end\"" + attribute("x", kLeft - 14) + attribute("y", bottom() + 4) + " dy=\".95em\"", unit.name);
  return "<path class=\"grid\" d=\"" + lines + "\"/>" + markup;
}

std::string Timeline::bar(std::size_t index) const {
  const Start& start = starts_[index];
  const double y = kRowHeight * static_cast<double>(index) + 6;
  const double width = std::max(x_at(start.last_time) - x_at(start.time), 2.0);
  const std::string name = "start " + count(first_ + index);
  const std::string title = text_element("title", name + ", " + time_text(start.time) + ", " +
                                                      std::to_string(start.world_size) + " rank(s), " + end_of(start));
  return text_element("text class=\"end\"" + attribute("x", kLeft - 8) + attribute("y", y + kRowHeight / 2 - 3) +
                          " dy=\".32em\"",
                      name) +
         element("g", title + "<rect class=\"run " + style_of(start) + '"' + attribute("x", x_at(start.time)) +
                          attribute("y", y) + attribute("width", width) + attribute("height", kRowHeight - 8) +
                          " rx=\"3\"/>");
}

std::string Timeline::failures(std::size_t index) const {
  const Start& start = starts_[index];
  const double y = kRowHeight * static_cast<double>(index) + 6, middle = y + (kRowHeight - 8) / 2;
  std::string markup;
  double last = -1;
  for (const Incident& incident : incidents_.values) {
    if (incident.time < start.time || incident.time > start.last_time) continue;
    const double x = x_at(incident.time);
    const double width = x_at(incident.time + incident.recovery_seconds.value_or(0)) - x;
    if (x - last < 2) continue;
    last = x;
    const std::string title = text_element("title", "step " + count(incident.step) + ", " + time_text(incident.time));
    markup += element("g class=\"crash\"", title + "<rect class=\"lost\"" + attribute("x", x) + attribute("y", y) +
                                               attribute("width", width) + attribute("height", kRowHeight - 8) +
                                               "/><path d=\"M" + fixed(x, 1) + ' ' + fixed(middle, 1) +
                                               "m-4 -4l8 8m0 -8l-8 8\"/>");
  }
  return markup;
}

std::string Timeline::svg() const {
  std::string content =
      text_element("title id=\"" + id_ + "-title\"", "When it ran") +
      text_element("desc id=\"" + id_ + "-text\"",
                   "A bar for each start, with a cross for each failure. The tables below say the same.") +
      axis();
  for (std::size_t i = 0; i < starts_.size(); ++i) content += bar(i) + failures(i);
  return element("svg xmlns=\"http://www.w3.org/2000/svg\" class=\"wide\" viewBox=\"0 0 " + fixed(kWidth, 0) + ' ' +
                     fixed(bottom() + kAxisHeight, 0) + "\" role=\"img\" aria-labelledby=\"" + id_ + "-title " + id_ +
                     "-text\"",
                 content);
}

std::string lines(const std::vector<std::string>& texts) {
  std::string markup;
  for (const std::string& text : texts) markup += (markup.empty() ? "" : "<br>") + escaped(text);
  return markup;
}

std::string failure_table(const RunRecord& run) {
  const std::vector<Incident> incidents = newest(run.events.incidents, kMostRows);
  std::string rows;
  for (const Incident& incident : incidents) {
    const std::string recovery = incident.recovery_seconds ? base::format_duration(*incident.recovery_seconds) : "";
    rows += element("tr", text_element("td class=\"time\"", time_text(incident.time)) +
                              text_element("td class=\"number\"", count(incident.step)) +
                              element("td class=\"number\"", lines(incident.ranks)) +
                              element("td", lines(incident.causes)) +
                              text_element("td class=\"number\"",
                                           incident.restarted_at ? count(*incident.restarted_at) : "the start ended") +
                              text_element("td class=\"number\"", count(incident.lost_steps)) +
                              text_element("td class=\"number\"", recovery));
  }
  if (rows.empty()) return "";
  const std::uint64_t left_out = run.events.incidents.dropped + run.events.incidents.values.size() - incidents.size();
  return table({"When", "Step", "Rank", "Cause", "Went on behind step", "Steps lost", "To recover"}, rows) +
         (left_out == 0 ? ""
                        : text_element("p class=\"note\"", count(left_out) + " earlier ones are in events.jsonl."));
}

std::string start_table(const RunRecord& run) {
  const std::vector<Start> starts = newest(run.events.starts, kMostRows);
  std::uint64_t number = run.events.starts.dropped + run.events.starts.values.size() - starts.size();
  std::string rows;
  for (const Start& start : starts) {
    rows += row(
        "td", {count(++number), time_text(start.time), start.step == 0 ? "the beginning" : "step " + count(start.step),
               std::to_string(start.world_size) + " x " + std::to_string(start.threads), start.host, start.version,
               end_of(start), start.changes});
  }
  if (rows.empty()) return "";
  return element(
      "details",
      text_element("summary", "The starts") +
          table({"", "When", "From", "Ranks x threads", "Host", "Version", "End", "Changed settings"}, rows));
}

std::string notices(const RunRecord& run) {
  const std::vector<Notice> shown = newest(run.events.notices, kMostRows);
  std::string rows;
  for (const Notice& notice : shown) rows += row("td", {time_text(notice.time), notice.text});
  if (rows.empty()) return "";
  return element("details", text_element("summary", "Other events") + table({"When", "What"}, rows));
}

}  // namespace

std::string failures(const RunRecord& run, const std::string& id) {
  const bool has_failures = !run.events.incidents.values.empty();
  const bool has_picture = run.events.starts.values.size() > 1 || (has_failures && !run.events.starts.values.empty());
  std::string markup;
  if (has_picture) {
    const Timeline timeline(run, id);
    markup +=
        element("figure", timeline.svg()) +
        text_element("p class=\"note\"",
                     "Time in " + std::string(timeline.unit()) + " since " +
                         time_text(newest(run.events.starts, kMostBars).front().time) +
                         ". A cross is a failure; the dark piece behind it is the time until the next step was made.");
  }
  return section(has_failures ? "Starts and failures" : "Starts", markup + failure_table(run));
}

std::string history(const RunRecord& run) {
  return start_table(run) + notices(run);
}

}  // namespace kangpt::report
