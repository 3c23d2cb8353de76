#include "launcher/report/run_report.hpp"

#include <algorithm>
#include <chrono>
#include <exception>

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "launcher/report/markup.hpp"
#include "launcher/report/sections.hpp"
#include "launcher/report/style.hpp"

namespace kangpt::report {
namespace {

namespace fs = std::filesystem;

// Points of all curves together, so that a page about many runs stays small.
constexpr std::size_t kMostPoints = 1600, kMostPointsOfARun = 400, kFewestPoints = 60;

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Where two have one name, the paths as they were given.
void tell_apart(std::vector<RunRecord>& runs) {
  const auto is_unique = [&](const RunRecord& run) {
    return std::ranges::count(runs, run.name, &RunRecord::name) == 1;
  };
  if (std::ranges::all_of(runs, is_unique)) return;
  for (RunRecord& run : runs) run.name = run.directory.string();
}

std::string lead(const RunRecord& run) {
  const Status status = status_of(run);
  std::string text = status.text;
  if (!run.events.starts.values.empty()) {
    text += ". Started " + time_text(run.events.starts.values.front().time) + ", last sign of life " +
            time_text(run.events.starts.values.back().last_time) + '.';
  }
  return element("p class=\"lead\"", status_badge(run) + ' ' + escaped(text));
}

std::string details_of(const RunRecord& run, const std::string& id) {
  return failures(run, id) + time_by_phase(run) + samples(run) + settings(run) + about(run);
}

std::string page_of_one(const std::vector<RunRecord>& runs) {
  const RunRecord& run = runs.front();
  return text_element("h1", run.name) + lead(run) + problems(run) + headline(run) + curves(runs) +
         details_of(run, "time");
}

std::string page_of_several(const std::vector<RunRecord>& runs) {
  std::string body =
      text_element("h1", std::to_string(runs.size()) + " runs compared") + comparison(runs) + curves(runs);
  std::size_t index = 0;
  for (const RunRecord& run : runs) {
    body += element("details class=\"one\"", text_element("summary", run.name) + lead(run) + problems(run) +
                                                 headline(run) + details_of(run, "time-" + std::to_string(index++)));
  }
  return body;
}

std::string document(const std::string& title, const std::string& body) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
         "<meta name=\"color-scheme\" content=\"light dark\">\n" +
         text_element("title", title) + "\n" + element("style", kStyle) + "\n</head>\n<body>\n" + body +
         "</body>\n</html>\n";
}

}  // namespace

Report make_report(const std::vector<fs::path>& directories) {
  const std::size_t detail =
      std::clamp(kMostPoints / std::max<std::size_t>(directories.size(), 1), kFewestPoints, kMostPointsOfARun);
  std::vector<RunRecord> runs;
  for (const fs::path& directory : directories) runs.push_back(read_run(directory, detail));
  tell_apart(runs);
  Report report;
  for (const RunRecord& run : runs) {
    for (const std::string& problem : run.problems) report.problems.push_back(run.directory.string() + ": " + problem);
  }
  const bool is_one = runs.size() == 1;
  const std::string body =
      (is_one ? page_of_one(runs) : page_of_several(runs)) +
      element("footer",
              element("div class=\"download\"", csv_link(runs)) +
                  text_element("p", "Made " + time_text(now()) + " by kangpt_report " + base::project_version() +
                                        ". Everything is in this file; it needs no network."));
  report.page = document((is_one ? runs.front().name : std::to_string(runs.size()) + " runs") + " - KAN-GPT", body);
  return report;
}

void write_end_report(const fs::path& run_directory) noexcept {
  try {
    base::write_file_atomically(run_directory / kReportName, make_report({run_directory}).page);
  } catch (const std::exception& error) {
    base::log_warning(std::string(kReportName) + " was not written, which costs the run nothing: " + error.what());
  }
}

}  // namespace kangpt::report
