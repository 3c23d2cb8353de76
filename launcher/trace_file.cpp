#include "launcher/trace_file.hpp"

#include <nlohmann/json.hpp>

namespace kangpt::launcher {

using nlohmann::json;

TraceFile::TraceFile(const std::filesystem::path& path) : file_(path) {
  const json name = {{"name", "process_name"}, {"ph", "M"}, {"pid", 0}, {"args", {{"name", "kangpt rank 0"}}}};
  file_ << "[\n" << name.dump();
}

TraceFile::~TraceFile() {
  file_ << "\n]\n";
}

void TraceFile::add(std::uint64_t step, const json& intervals) {
  if (steps_++ >= kMaxSteps) return;
  for (const json& interval : intervals) {
    const json event = {{"name", interval.at(0).get<std::string>()},
                        {"ph", "X"},
                        {"pid", 0},
                        {"tid", 0},
                        {"ts", interval.at(1).get<std::int64_t>()},
                        {"dur", interval.at(2).get<std::int64_t>()},
                        {"args", {{"step", step}}}};
    file_ << ",\n" << event.dump();
  }
  file_.flush();
}

}  // namespace kangpt::launcher
