// The charts over the steps of one run, or of several.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/format.hpp"
#include "launcher/report/chart.hpp"
#include "launcher/report/markup.hpp"
#include "launcher/report/sections.hpp"

namespace kangpt::report {
namespace {

constexpr std::size_t kMostTableRows = 12;

std::string step_text(double step) {
  return "step " + base::format_count(static_cast<std::uint64_t>(step));
}

// Where the curves of a run are broken: something went on there.
std::vector<double> breaks_of(const RunRecord& run) {
  std::vector<double> breaks;
  for (const Incident& incident : run.events.incidents.values) {
    if (incident.restarted_at && !incident.is_of_earlier_metrics)
      breaks.push_back(static_cast<double>(*incident.restarted_at));
  }
  for (const Start& start : run.events.starts.values) {
    if (start.step > 0 && !start.is_of_earlier_metrics) breaks.push_back(static_cast<double>(start.step));
  }
  const std::vector<double>& not_finite = run.metrics.curves.at("loss").not_finite();
  breaks.insert(breaks.end(), not_finite.begin(), not_finite.end());
  std::ranges::sort(breaks);
  return breaks;
}

void add_incidents(const RunRecord& run, std::vector<Mark>& marks) {
  for (const Incident& incident : run.events.incidents.values) {
    if (incident.is_of_earlier_metrics) continue;
    const auto x = static_cast<double>(incident.step);
    const std::string who =
        incident.ranks.empty() ? "" : "rank " + incident.ranks.front() + ' ' + incident.causes.front();
    marks.push_back({Mark::Kind::kCrash, x, 0, step_text(x) + ": " + who});
  }
}

std::vector<Mark> marks_of(const RunRecord& run) {
  std::vector<Mark> marks;
  add_incidents(run, marks);
  for (const Start& start : run.events.starts.values) {
    if (start.step == 0 || start.is_of_earlier_metrics) continue;
    const auto x = static_cast<double>(start.step);
    marks.push_back(
        {Mark::Kind::kResume, x, 0, "a start went on behind " + step_text(x) + ", " + time_text(start.time)});
  }
  for (const std::uint64_t step : run.events.checkpoints.values) {
    const auto x = static_cast<double>(step);
    marks.push_back({Mark::Kind::kCheckpoint, x, 0, "checkpoint of " + step_text(x)});
  }
  for (const double x : run.metrics.curves.at("loss").not_finite())
    marks.push_back({Mark::Kind::kNotFinite, x, 0, step_text(x) + ": the loss is not finite"});
  return marks;
}

void add_best(const RunRecord& run, std::vector<Mark>& marks) {
  const launcher::MetricsTotals& totals = run.metrics.totals;
  if (!totals.best_validation_loss || std::abs(*totals.best_validation_loss) > Curve::kLargest) return;
  marks.push_back({Mark::Kind::kBest, static_cast<double>(totals.best_step), *totals.best_validation_loss,
                   run.name + ": best validation loss " + fixed(*totals.best_validation_loss, 4) + ", " +
                       step_text(static_cast<double>(totals.best_step))});
}

Series series(const RunRecord& run, const std::string& curve, int colour) {
  return {.name = run.name,
          .colour = colour,
          .buckets = run.metrics.curves.at(curve).buckets(),
          .breaks = curve == "validation_loss" ? std::vector<double>() : breaks_of(run)};
}

std::string described(const std::string& name, const std::vector<Bucket>& buckets) {
  if (buckets.empty()) return "";
  return name + ": " + number(buckets.front().mean()) + " at " + step_text(buckets.front().first_x) + ", " +
         number(buckets.back().mean()) + " at " + step_text(buckets.back().last_x) + ". ";
}

Chart loss_chart(const std::vector<RunRecord>& runs) {
  const bool is_one = runs.size() == 1;
  Chart chart{.id = "loss",
              .title = "Training and validation loss",
              .size = Chart::Size::kWide,
              .logarithmic_from = 10,
              .bands = is_one};
  int colour = 0;
  for (const RunRecord& run : runs) {
    Series training = series(run, "loss", colour);
    Series validation = series(run, "validation_loss", is_one ? 1 : colour);
    validation.line = is_one ? Series::Line::kSolidWithDots : Series::Line::kDots;
    chart.description += described(run.name + ", training loss", training.buckets) +
                         described(run.name + ", validation loss", validation.buckets);
    chart.series.push_back(std::move(training));
    chart.series.push_back(std::move(validation));
    if (is_one) chart.marks = marks_of(run);
    add_best(run, chart.marks);
    ++colour;
  }
  std::ranges::stable_sort(chart.marks, {}, &Mark::x);
  return chart;
}

struct Kind {
  const char* curve;
  const char* title;
  double logarithmic_from;
};

Chart small_chart(const std::vector<RunRecord>& runs, const Kind& kind) {
  Chart chart{
      .id = kind.curve, .title = kind.title, .logarithmic_from = kind.logarithmic_from, .bands = runs.size() == 1};
  std::ranges::replace(chart.id, '_', '-');
  int colour = 0;
  for (const RunRecord& run : runs) {
    chart.series.push_back(series(run, kind.curve, colour++));
    chart.description += described(run.name, chart.series.back().buckets);
    if (runs.size() == 1) add_incidents(run, chart.marks);
  }
  return chart;
}

std::string key(const std::string& drawing, const std::string& text) {
  return element("li",
                 "<svg class=\"key\" viewBox=\"0 0 24 12\" aria-hidden=\"true\">" + drawing + "</svg>" + escaped(text));
}

bool has(const std::vector<Mark>& marks, Mark::Kind kind) {
  return std::ranges::any_of(marks, [&](const Mark& mark) { return mark.kind == kind; });
}

std::string mark_keys(const std::vector<Mark>& marks) {
  std::string keys;
  if (has(marks, Mark::Kind::kBest))
    keys += key("<g class=\"best\"><circle cx=\"12\" cy=\"6\" r=\"4.5\"/></g>", "best");
  if (has(marks, Mark::Kind::kCrash)) keys += key("<g class=\"crash\"><path d=\"M8 2l8 8m0 -8l-8 8\"/></g>", "failure");
  if (has(marks, Mark::Kind::kResume))
    keys += key("<g class=\"resume\"><path class=\"filled\" d=\"M8 1l9 5l-9 5z\"/></g>", "a later start goes on");
  if (has(marks, Mark::Kind::kCheckpoint))
    keys += key("<g class=\"checkpoint\"><path d=\"M12 1l4 5l-4 5l-4 -5z\"/></g>", "checkpoint");
  if (has(marks, Mark::Kind::kNotFinite))
    keys += key("<g class=\"not-finite\"><path d=\"M8 10l4 -8l4 8z\"/></g>", "loss not finite");
  return keys;
}

std::string legend(const std::vector<RunRecord>& runs, const std::vector<Mark>& marks) {
  std::string keys;
  if (runs.size() == 1) {
    keys = element("li", line_key(0, false) + "training") + element("li", line_key(1, true) + "validation");
  } else {
    int colour = 0;
    for (const RunRecord& run : runs) keys += element("li", line_key(colour++, false) + escaped(run.name));
    keys += element("li", "dots: validation");
  }
  return element("ul class=\"legend\"", keys + mark_keys(marks));
}

// What the picture shows, for those who can't see it or want the numbers.
std::string figures_table(const RunRecord& run, const std::string& name) {
  const std::vector<Bucket>& loss = run.metrics.curves.at("loss").buckets();
  constexpr std::array<const char*, 4> kColumns = {"validation_loss", "learning_rate", "gradient_norm",
                                                   "tokens_per_second"};
  std::string rows;
  const std::size_t shown = std::min(loss.size(), kMostTableRows);
  for (std::size_t i = 0; i < shown; ++i) {
    const Bucket& bucket = loss[shown < 2 ? 0 : i * (loss.size() - 1) / (shown - 1)];
    std::vector<std::string> cells = {base::format_count(static_cast<std::uint64_t>(bucket.last_x)),
                                      fixed(bucket.mean(), 4)};
    for (const char* column : kColumns) {  // the newest value up to here
      const std::vector<Bucket>& others = run.metrics.curves.at(column).buckets();
      const auto next = std::ranges::upper_bound(others, bucket.last_x, {}, &Bucket::first_x);
      const bool is_loss = column == kColumns.front();
      const auto text = [&](double value) { return is_loss ? fixed(value, 4) : number(value); };
      cells.push_back(next == others.begin() ? "" : text(std::prev(next)->mean()));
    }
    rows += row("td class=\"number\"", cells);
  }
  if (rows.empty()) return "";
  return element("details", text_element("summary", name) + table({"Step", "Training loss", "Validation loss",
                                                                   "Learning rate", "Gradient norm", "Tokens/s"},
                                                                  rows, "figures"));
}

std::string how_to_read(const std::vector<RunRecord>& runs) {
  std::uint64_t values = 1;
  bool is_broken = false;
  for (const RunRecord& run : runs) {
    const std::vector<Bucket>& buckets = run.metrics.curves.at("loss").buckets();
    if (!buckets.empty()) values = std::max(values, buckets.front().count);
    is_broken = is_broken || !breaks_of(run).empty();
  }
  std::string text;
  if (values > 1)
    text += "Each point of a line is the mean of " + base::format_count(values) + " logged steps" +
            (runs.size() == 1 ? "; the band around it goes from the lowest to the highest of them. " : " or fewer. ");
  if (is_broken)
    text +=
        "A line is broken where training went on after a failure or in a later start. Steps that were computed "
        "again stand once, with their later values. ";
  return text.empty() ? "" : text_element("p class=\"note\"", text);
}

}  // namespace

std::string line_key(int index, bool has_dots) {
  const std::string classes = "c" + std::to_string(index % 8) + " d" + std::to_string(index / 8 % 3);
  return "<svg class=\"key\" viewBox=\"0 0 24 12\" aria-hidden=\"true\"><path class=\"line " + classes +
         "\" d=\"M1 6H23\"/>" + (has_dots ? "<path class=\"dots " + classes + "\" d=\"M12 6h0\"/>" : "") + "</svg>";
}

std::string curves(const std::vector<RunRecord>& runs) {
  const Chart loss = loss_chart(runs);
  if (is_empty(loss)) return section("Loss", text_element("p", "metrics.jsonl has no step yet."));
  std::string tables, small;
  for (const RunRecord& run : runs)
    tables +=
        figures_table(run, runs.size() == 1 ? "The figures as a table" : "The figures of " + run.name + " as a table");
  constexpr std::array<Kind, 3> kSmall = {{{"learning_rate", "Learning rate", 0},
                                           {"gradient_norm", "Gradient norm, before clipping", 30},
                                           {"tokens_per_second", "Tokens per second", 0}}};
  for (const Kind& kind : kSmall) {
    const Chart chart = small_chart(runs, kind);
    if (!is_empty(chart)) small += element("figure", text_element("figcaption", chart.title) + to_svg(chart)) + '\n';
  }
  const std::string wide = element("figure", legend(runs, loss.marks) + to_svg(loss));
  return section("Training and validation loss", wide + how_to_read(runs) + tables) +
         element("section", element("div class=\"charts\"", small)) + '\n';
}

}  // namespace kangpt::report
