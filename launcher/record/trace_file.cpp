#include "launcher/record/trace_file.hpp"

#include <nlohmann/json.hpp>

#include "base/file.hpp"

namespace kangpt::launcher {

using nlohmann::json;

TraceFile::TraceFile(const std::filesystem::path& path, AppendFile::Warn warn) : file_(path, std::move(warn)) {
  const json name = {{"name", "process_name"}, {"ph", "M"}, {"pid", 0}, {"args", {{"name", "kangpt rank 0"}}}};
  base::write_file_atomically(path, "[\n" + name.dump());
}

TraceFile::~TraceFile() {
  file_.add("\n]\n");  // written as the file's own end
}

void TraceFile::add(std::uint64_t step, const json& intervals) {
  if (steps_++ >= kMaxSteps) return;
  std::string events;
  for (const json& interval : intervals) {
    const json event = {{"name", interval.at(0).get<std::string>()},
                        {"ph", "X"},
                        {"pid", 0},
                        {"tid", 0},
                        {"ts", interval.at(1).get<std::int64_t>()},
                        {"dur", interval.at(2).get<std::int64_t>()},
                        {"args", {{"step", step}}}};
    events += ",\n" + event.dump();
  }
  file_.add(std::move(events));
  file_.write();
}

}  // namespace kangpt::launcher
