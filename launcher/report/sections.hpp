// The parts of a report's page, as HTML. A part that has nothing to say is empty.
#pragma once

#include <string>
#include <vector>

#include "launcher/report/run_record.hpp"

namespace kangpt::report {

// "done", "stopped after a checkpoint ...", from the last start.
struct Status {
  std::string word;   // "done"
  std::string text;   // what it means
  std::string style;  // class: good, paused, bad, open
};
Status status_of(const RunRecord& run);
std::string status_badge(const RunRecord& run);

// Figures that one looks for first, and what was run where.
std::string headline(const RunRecord& run);
std::string about(const RunRecord& run);
// What could not be read.
std::string problems(const RunRecord& run);
// Charts over the steps; several runs lie over each other.
std::string curves(const std::vector<RunRecord>& runs);
std::string time_by_phase(const RunRecord& run);
// Starts and failures over the time of day, and what each failure cost. Empty for a single start without any.
std::string failures(const RunRecord& run, const std::string& id);
// All starts, and what else happened, as tables that are closed at first.
std::string history(const RunRecord& run);
std::string samples(const RunRecord& run);
std::string settings(const RunRecord& run);
// Results beside each other, and the settings that are not the same in all runs.
std::string comparison(const std::vector<RunRecord>& runs);
// A link that carries the values in itself, so that it works wherever the page is.
std::string csv_link(const std::vector<RunRecord>& runs);

// Tables. `opening` of a cell is "td" or "th", with attributes.
std::string row(const std::string& opening, const std::vector<std::string>& texts);
std::string table(const std::vector<std::string>& heads, const std::string& rows, const std::string& style = "");
std::string section(const std::string& title, const std::string& markup);

// The line of run `index`, or of a curve, in a legend.
std::string line_key(int index, bool has_dots);

}  // namespace kangpt::report
