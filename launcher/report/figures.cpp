// Status, headline figures, what ran where, problems, phases, samples, settings.
#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.hpp"
#include "base/format.hpp"
#include "launcher/report/markup.hpp"
#include "launcher/report/sections.hpp"

namespace kangpt::report {
namespace {

std::string count(std::uint64_t value) {
  return base::format_count(value);
}

// To three digits.
double rounded(std::uint64_t value) {
  const double unit =
      std::pow(10, std::max(std::floor(std::log10(std::max(static_cast<double>(value), 1.0))) - 2, 0.0));
  return std::round(static_cast<double>(value) / unit) * unit;
}

std::string plural(std::uint64_t value, const std::string& what) {
  return count(value) + ' ' + what + (value == 1 ? "" : "s");
}

std::string card(const std::string& name, const std::string& value, const std::string& remark = "") {
  return element("div", text_element("dt", name) + text_element("dd", value) +
                            (remark.empty() ? "" : text_element("dd class=\"remark\"", remark)));
}

std::string step_card(const RunRecord& run) {
  const bool knows_end = run.total_steps > 0;
  return card("Step", count(run.metrics.steps), knows_end ? "of " + count(run.total_steps) : "");
}

std::string loss_card(const RunRecord& run) {
  const auto& loss = run.metrics.totals.loss;
  if (loss.is_null() && !run.metrics.first_loss) return "";
  const std::string first = run.metrics.first_loss ? "from " + fixed(*run.metrics.first_loss, 4) : "";
  return card("Training loss", loss.is_number() ? fixed(loss.get<double>(), 4) : "not finite", first);
}

std::string validation_card(const RunRecord& run) {
  const launcher::MetricsTotals& totals = run.metrics.totals;
  if (!totals.best_validation_loss) return "";
  const double best = *totals.best_validation_loss;
  const double last = totals.validation_loss.is_number() ? totals.validation_loss.get<double>() : std::nan("");
  const std::string at = "at step " + count(totals.best_step) + ", perplexity " + number(std::exp(best));
  return card("Best validation loss", fixed(best, 4), last == best ? at : at + "; last " + fixed(last, 4));
}

std::string speed_card(const RunRecord& run) {
  const launcher::MetricsTotals& totals = run.metrics.totals;
  if (!(totals.seconds > 0)) return "";
  const std::string mfu = totals.mfu() > 0 ? "; MFU " + number(100 * totals.mfu()) + " %" : "";
  return card("Tokens per second", number(totals.tokens / totals.seconds),
              number(totals.tokens) + " tokens in " + base::format_duration(totals.seconds) + mfu);
}

std::string failure_card(const RunRecord& run) {
  const Newest<Incident>& incidents = run.events.incidents;
  if (incidents.values.empty()) return card("Failures", "none");
  double seconds = 0;
  for (const Incident& incident : incidents.values) seconds += incident.recovery_seconds.value_or(0);
  return card("Failures", count(incidents.values.size() + incidents.dropped),
              plural(run.events.history.lost_steps, "step") + " computed again, " + base::format_duration(seconds) +
                  " to recover");
}

void fact(const std::string& name, const std::string& value, std::string& rows) {
  if (!value.empty()) rows += element("tr", text_element("th scope=\"row\"", name) + text_element("td", value));
}

std::string hosts(const RunRecord& run) {
  std::set<std::string> names;
  for (const Start& start : run.events.starts.values) names.insert(start.host);
  names.erase("");
  return base::join({names.begin(), names.end()}, ", ");
}

std::string where(const RunRecord& run) {
  if (run.events.starts.values.empty()) return "";
  const Start& start = run.events.starts.values.back();
  return plural(static_cast<std::uint64_t>(start.world_size), "rank") + " x " +
         plural(static_cast<std::uint64_t>(start.threads), "thread") +
         (start.device.empty() ? "" : ", " + start.device);
}

std::string digest(const RunRecord& run) {
  if (run.digest.empty()) return "";
  return run.digest + (run.digest_step == run.metrics.steps ? "" : " (of step " + count(run.digest_step) + ")");
}

std::string checkpoints(const RunRecord& run) {
  if (run.checkpoints_on_disk.empty()) return "none on disk";
  std::vector<std::string> steps;
  constexpr std::size_t kMostNamed = 5;
  for (std::size_t i = run.checkpoints_on_disk.size(); i-- > 0 && steps.size() < kMostNamed;)
    steps.push_back(count(run.checkpoints_on_disk[i]));
  std::ranges::reverse(steps);
  const bool has_more = run.checkpoints_on_disk.size() > steps.size();
  return "on disk those of step " + std::string(has_more ? "... " : "") + base::join(steps, ", ");
}

// The prompt in another style than what was generated.
std::string sample_markup(const Sample& sample, const std::string& prompt) {
  if (prompt.empty() || !sample.text.starts_with(prompt)) return escaped(sample.text);
  return text_element("b", prompt) + escaped(std::string_view(sample.text).substr(prompt.size()));
}

}  // namespace

std::string row(const std::string& opening, const std::vector<std::string>& texts) {
  std::string cells;
  for (const std::string& text : texts) cells += text_element(opening, text);
  return element("tr", cells);
}

std::string table(const std::vector<std::string>& heads, const std::string& rows, const std::string& style) {
  const std::string opening = style.empty() ? "table" : "table class=\"" + style + "\"";
  return element("div class=\"scroll\"",
                 element(opening, element("thead", row("th scope=\"col\"", heads)) + element("tbody", rows)));
}

std::string section(const std::string& title, const std::string& markup) {
  return markup.empty() ? "" : element("section", text_element("h2", title) + markup) + '\n';
}

Status status_of(const RunRecord& run) {
  if (run.events.starts.values.empty()) return {"unknown", "events.jsonl notes no start", "open"};
  const std::optional<int> code = run.events.starts.values.back().exit_code;
  if (!code)
    return {"no end noted", "it is under way, or was killed: the same command goes on from the newest checkpoint",
            "open"};
  const std::string with = " (exit code " + std::to_string(*code) + ")";
  switch (static_cast<ExitCode>(*code)) {
    case ExitCode::kDone:
      return {"done", "all its steps are made", "good"};
    case ExitCode::kStopped:
      return {"stopped", "by a signal, after a checkpoint: the same command goes on" + with, "paused"};
    case ExitCode::kGaveUp:
      return {"gave up", "after repeated crashes: a new start may help" + with, "bad"};
    case ExitCode::kNoProgress:
      return {"no progress", "the same failure would come again: don't start it again as it is" + with, "bad"};
    default:
      return {"failed", "with exit code " + std::to_string(*code), "bad"};
  }
}

std::string status_badge(const RunRecord& run) {
  const Status status = status_of(run);
  return text_element("strong class=\"badge " + status.style + "\"", status.word);
}

std::string headline(const RunRecord& run) {
  std::string cards = step_card(run) + loss_card(run) + validation_card(run) + speed_card(run) + failure_card(run);
  if (run.parameters) cards += card("Parameters", short_number(rounded(*run.parameters)), count(*run.parameters));
  return element("dl class=\"cards\"", cards) + '\n';
}

std::string about(const RunRecord& run) {
  std::string rows;
  fact("Directory", run.directory.string(), rows);
  fact("Digest", digest(run), rows);
  fact("Version", run.events.history.version, rows);
  fact("Host of rank 0", hosts(run), rows);
  fact("Last start", where(run), rows);
  fact("Starts",
       run.events.history.starts == 0 ? ""
                                      : count(run.events.history.starts) + ", with " +
                                            plural(run.events.history.restarts, "restart") + " of the workers",
       rows);
  fact("Checkpoints", checkpoints(run), rows);
  return section("What ran where", element("table class=\"facts\"", element("tbody", rows)) + history(run));
}

std::string problems(const RunRecord& run) {
  std::string items;
  for (const std::string& problem : run.problems) items += text_element("li", problem);
  if (items.empty()) return "";
  return element("div class=\"problems\" role=\"note\"",
                 text_element("strong", "Not all of this run could be read") + element("ul", items));
}

std::string time_by_phase(const RunRecord& run) {
  std::vector<std::pair<double, std::string>> phases;
  double total = 0, longest = 0;
  for (const auto& [name, seconds] : run.metrics.phase_seconds) {
    phases.emplace_back(seconds, name);
    total += seconds;
    longest = std::max(longest, seconds);
  }
  if (!(total > 0)) return "";
  std::ranges::sort(phases, std::greater<>());
  std::string rows;
  for (const auto& [seconds, name] : phases) {
    const std::string bar =
        "<div class=\"bar\" style=\"width:" + fixed(100 * std::max(seconds, 0.0) / longest, 1) + "%\"></div>";
    rows += element("tr", text_element("th scope=\"row\"", name) + element("td class=\"wide-cell\"", bar) +
                              text_element("td class=\"number\"", base::format_duration(seconds)) +
                              text_element("td class=\"number\"", fixed(100 * seconds / total, 1) + " %"));
  }
  const std::string why = run.metrics.is_profiled
                              ? "Rank 0, summed over the logged steps; \"start\" is that of the workers."
                              : "Rank 0, summed over the logged steps. log.profile: true divides it further.";
  return section("Time by phase",
                 table({"Phase", "", "Time", "Share"}, rows, "phases") + text_element("p class=\"note\"", why));
}

std::string samples(const RunRecord& run) {
  std::string items;
  for (const Sample& sample : run.samples) {
    items += element("figure class=\"sample\"", text_element("figcaption", "step " + count(sample.step)) +
                                                    element("blockquote", sample_markup(sample, run.sample_prompt)));
  }
  if (run.sample_files > run.samples.size())
    items += text_element("p class=\"note\"", count(run.samples.size()) + " of " + plural(run.sample_files, "sample") +
                                                  ", evenly spread; all of them are in samples/.");
  return section("Samples", items);
}

std::string settings(const RunRecord& run) {
  std::string rows;
  for (const Setting& setting : run.settings) {
    rows += element("tr", element("th scope=\"row\"", text_element("code", setting.field)) +
                              element("td", text_element("code", setting.value)) +
                              element("td", text_element("code", setting.default_value)));
  }
  if (rows.empty()) return "";
  return section("Settings that differ from the defaults", table({"Setting", "This run", "Default"}, rows));
}

}  // namespace kangpt::report
