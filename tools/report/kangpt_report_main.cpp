// kangpt_report: what runs look like, as one HTML file.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "launcher/command_line.hpp"
#include "launcher/report/run_report.hpp"

namespace kangpt {
namespace {

namespace fs = std::filesystem;

constexpr char kFooter[] = R"(Examples:
  kangpt_report runs/tinystories_kan                          writes runs/tinystories_kan/report.html
  kangpt_report runs/kan runs/mlp --output comparison.html    curves, settings and results of both
A run may be under way, have crashed or have damaged files: the report says what could not be read.
Exit code: 0 written, 66 no run directory, 74 a file can't be read or written.)";

int make_report(int argc, char** argv) {
  std::vector<fs::path> runs;
  fs::path output;
  CLI::App app("Writes a report on a run, or on several beside each other: one HTML file for any browser.");
  app.footer(kFooter);
  app.set_version_flag("--version", base::version_text("kangpt_report"));
  app.add_option("RUN", runs, "Run directories")->required();
  app.add_option("--output", output, "The file (default: report.html, in RUN if that is one, else in this folder)");
  if (!launcher::parse_arguments(app, argc, argv)) return static_cast<int>(ExitCode::kDone);
  if (output.empty()) output = runs.size() == 1 ? runs.front() / report::kReportName : fs::path(report::kReportName);
  const report::Report report = report::make_report(runs);
  for (const std::string& problem : report.problems) base::log_warning(problem);
  base::write_file_atomically(output, report.page);
  std::printf("%s\n", output.c_str());
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace
}  // namespace kangpt

int main(int argc, char** argv) {
  kangpt::base::start_log("kangpt_report");
  return kangpt::run_program("kangpt_report", kangpt::make_report, argc, argv);
}
