// Several runs beside each other, and the link with all their values.
#include <algorithm>
#include <map>
#include <optional>

#include "base/format.hpp"
#include "launcher/report/markup.hpp"
#include "launcher/report/sections.hpp"

namespace kangpt::report {
namespace {

constexpr const char* kOwnDirectory = "run.directory";  // differs, and makes no difference
constexpr std::size_t kDigestDigits = 12;

std::optional<double> speed(const RunRecord& run) {
  const launcher::MetricsTotals& totals = run.metrics.totals;
  if (!(totals.seconds > 0)) return std::nullopt;
  return totals.tokens / totals.seconds;
}

std::string number_cell(const std::string& text, bool is_best) {
  return element("td class=\"number\"", is_best ? text_element("strong", text) : escaped(text));
}

struct Best {
  std::optional<double> validation_loss;
  std::optional<double> speed;
};

Best best_of(const std::vector<RunRecord>& runs) {
  Best best;
  for (const RunRecord& run : runs) {
    const auto loss = run.metrics.totals.best_validation_loss;
    if (loss && (!best.validation_loss || *loss < *best.validation_loss)) best.validation_loss = loss;
    const auto rate = speed(run);
    if (rate && (!best.speed || *rate > *best.speed)) best.speed = rate;
  }
  return best;
}

std::string result_row(const RunRecord& run, int index, const Best& best) {
  const launcher::MetricsTotals& totals = run.metrics.totals;
  const auto validation = totals.best_validation_loss;
  const auto rate = speed(run);
  std::string cells =
      element("th scope=\"row\"", line_key(index, false) + escaped(run.name)) + element("td", status_badge(run));
  cells += number_cell(base::format_count(run.metrics.steps), false);
  cells += number_cell(totals.loss.is_number() ? fixed(totals.loss.get<double>(), 4) : "", false);
  cells += number_cell(validation ? fixed(*validation, 4) : "", validation == best.validation_loss);
  cells += number_cell(validation ? base::format_count(totals.best_step) : "", false);
  cells += number_cell(rate ? number(*rate) : "", rate == best.speed);
  cells += number_cell(base::format_duration(totals.seconds), false);
  cells += number_cell(base::format_count(run.events.incidents.values.size() + run.events.incidents.dropped), false);
  cells += element("td", text_element("code", run.digest.substr(0, kDigestDigits)));
  return element("tr", cells);
}

std::string value_in(const RunRecord& run, const std::string& field, const std::string& default_value) {
  const auto found = std::ranges::find(run.settings, field, &Setting::field);
  return found == run.settings.end() ? default_value : found->value;
}

// Fields in the order in which the runs have them, with the default of each.
std::vector<Setting> fields_of(const std::vector<RunRecord>& runs) {
  std::vector<Setting> fields;
  for (const RunRecord& run : runs) {
    for (const Setting& setting : run.settings) {
      const bool is_new = std::ranges::find(fields, setting.field, &Setting::field) == fields.end();
      if (is_new && setting.field != kOwnDirectory) fields.push_back(setting);
    }
  }
  std::ranges::stable_sort(fields, {},
                           [](const Setting& setting) { return setting.field.substr(0, setting.field.find('.')); });
  return fields;
}

std::string differing_settings(const std::vector<RunRecord>& runs) {
  std::vector<std::string> heads = {"Setting"};
  for (const RunRecord& run : runs) heads.push_back(run.name);
  std::string rows;
  for (const Setting& field : fields_of(runs)) {
    std::vector<std::string> values;
    for (const RunRecord& run : runs) values.push_back(value_in(run, field.field, field.default_value));
    if (std::ranges::adjacent_find(values, std::not_equal_to<>()) == values.end()) continue;
    std::string cells = element("th scope=\"row\"", text_element("code", field.field));
    for (const std::string& value : values) cells += element("td", text_element("code", value));
    rows += element("tr", cells);
  }
  if (rows.empty()) return section("Settings that differ", text_element("p", "None: the runs have the same settings."));
  return section("Settings that differ", table(heads, rows));
}

// A field of a CSV file (RFC 4180).
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char character : text) quoted += character == '"' ? std::string("\"\"") : std::string(1, character);
  return quoted + '"';
}

}  // namespace

std::string comparison(const std::vector<RunRecord>& runs) {
  const Best best = best_of(runs);
  std::string rows;
  int index = 0;
  for (const RunRecord& run : runs) rows += result_row(run, index++, best);
  const std::vector<std::string> heads = {"Run",     "End",      "Steps",    "Training loss", "Best validation loss",
                                          "At step", "Tokens/s", "Training", "Failures",      "Digest"};
  return section("Results", table(heads, rows, "results")) + differing_settings(runs);
}

std::string csv_link(const std::vector<RunRecord>& runs) {
  const bool is_one = runs.size() == 1;
  std::string csv = (is_one ? "" : "run,") + csv_header() + '\n';
  std::uint64_t stride = 1;
  for (const RunRecord& run : runs) {
    stride = std::max(stride, run.metrics.csv_stride);
    for (const std::string& values : run.metrics.csv_rows)
      csv += (is_one ? "" : csv_field(run.name) + ',') + values + '\n';
  }
  const std::string name = (is_one ? runs.front().name + "-" : "") + "metrics.csv";
  const std::string part = stride == 1
                               ? " (all lines of metrics.jsonl)"
                               : " (one line in " + base::format_count(stride) + " of metrics.jsonl, where all are)";
  return element("p", text_element("a download=\"" + escaped(name) + "\" href=\"data:text/csv;charset=utf-8," +
                                       percent_encoded(csv) + "\"",
                                   "The metrics as CSV") +
                          escaped(part));
}

}  // namespace kangpt::report
