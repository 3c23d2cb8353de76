// The report on a run, or on several beside each other: one HTML file that needs nothing else.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kangpt::report {

inline constexpr const char* kReportName = "report.html";

// The page: pictures, style and values are in it, and no script. Of a run that is under way, that crashed or whose
// files are damaged it says what there is, and what could not be read. Time grows with
// the size of the files, memory and the page do not. Throws MissingInputError where one of `runs` is no run directory,
// IoError where its metrics or events can't be read.
struct Report {
  std::string page;
  std::vector<std::string> problems;  // "runs/a: metrics.jsonl: ..."
};
Report make_report(const std::vector<std::filesystem::path>& runs);

// At the end of a start: report.html in the run directory. Whatever goes wrong is one warning.
void write_end_report(const std::filesystem::path& run_directory) noexcept;

}  // namespace kangpt::report
