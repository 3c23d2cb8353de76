#include "io/checkpoint_manifest.hpp"

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "io/state_file.hpp"
#include "message/message_fields.hpp"
#include "message/message_text.hpp"
#include "src/io/checkpoint_manifest.pb.h"

namespace kangpt::io {
namespace {

constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 48;  // far above any model, far below any overflow

// ---- Checks of values; "" where all is well ----

std::string file_problem(const CheckpointManifest& manifest) {
  const std::size_t arrays = manifest.state.averaged_weights > 0 ? kStateArrays.size() : kAverageArray;
  std::uint64_t position = 0;
  for (std::size_t rank = 0; rank < manifest.files.size(); ++rank) {
    const FileDigest& file = manifest.files[rank];
    const std::string name = state_file_name(rank, manifest.files.size());
    if (file.name != name) return "names the file '" + file.name + "' where " + name + " is expected";
    if (file.begin != position || file.end < file.begin || file.end > kMaxElements) {
      return name + " does not begin where the file before it ends";
    }
    position = file.end;
    if (file.size_bytes / sizeof(float) / arrays < file.end - file.begin) return name + " is too small";
    if (file.sha256.size() != 64) return name + " has no SHA-256";
  }
  if (manifest.files.empty() || position != manifest.flat_size) return "the files do not cover the flat buffer";
  return "";
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
                              std::string::npos;
}

// Elements of a shape, kMaxElements + 1 for an impossible one.
std::uint64_t element_count(const std::vector<std::int64_t>& shape) {
  std::uint64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (extent <= 0 || __builtin_mul_overflow(count, static_cast<std::uint64_t>(extent), &count))
      return kMaxElements + 1;
  }
  return std::min(count, kMaxElements + 1);
}

std::string table_problem(const base::ParameterTable& table, std::uint64_t flat_size) {
  std::uint64_t position = 0;
  std::uint64_t count = 0;
  std::set<std::string> names;
  for (const base::ParameterEntry& entry : table.entries) {
    if (!is_plain_name(entry.name)) return "has a parameter with an impossible name";
    if (!names.insert(entry.name).second) return "names the parameter '" + entry.name + "' twice";
    if (entry.offset < position || entry.offset > flat_size || entry.size != element_count(entry.shape) ||
        entry.size > flat_size - entry.offset) {
      return "puts the parameter '" + entry.name + "' outside the flat buffer or over another one";
    }
    position = entry.offset + entry.size;
    count += entry.size;
  }
  if (position != table.flat_size || count != table.parameter_count) return "miscounts its parameters";
  return "";
}

void check(const CheckpointManifest& manifest, const std::string& file) {
  std::string problem = file_problem(manifest);
  if (problem.empty()) problem = table_problem(manifest.parameters, manifest.flat_size);
  if (!problem.empty()) throw CheckpointError(file + ": " + problem);
}

// ---- To and from the message: what has the same name in both as a whole, the rest piece by piece ----

proto::Manifest to_message(const CheckpointManifest& manifest) {
  proto::Manifest message;
  message::write_fields(manifest, message);
  message.set_version(kVersion);
  const LeftOutBatches& left_out = manifest.state.left_out;
  for (std::uint32_t i = 0; i < left_out.count; ++i) message.mutable_state()->add_left_out_batch(left_out.newest[i]);
  message.set_table_size(manifest.parameters.flat_size);
  message.set_parameter_count(manifest.parameters.parameter_count);
  for (const base::ParameterEntry& entry : manifest.parameters.entries) {
    message::write_fields(entry, *message.add_parameter());
  }
  std::string_view rest = manifest.configuration;
  for (std::size_t end = 0; end != std::string_view::npos; rest.remove_prefix(end + 1)) {
    end = rest.find('\n');
    message.add_configuration_line(std::string(rest.substr(0, end)));
    if (end == std::string_view::npos) break;
  }
  return message;
}

CheckpointManifest from_message(const proto::Manifest& message) {
  CheckpointManifest manifest;
  message::read_fields(message, manifest);
  const proto::State& state = message.state();
  for (int i = state.left_out_batch_size() - 1; i >= 0; --i) manifest.state.left_out.add(state.left_out_batch(i));
  manifest.parameters.flat_size = message.table_size();
  manifest.parameters.parameter_count = message.parameter_count();
  for (const proto::Parameter& parameter : message.parameter()) {
    base::ParameterEntry& entry = manifest.parameters.entries.emplace_back();
    message::read_fields(parameter, entry);
    entry.size = element_count(entry.shape);
  }
  for (int line = 0; line < message.configuration_line_size(); ++line) {
    manifest.configuration += (line > 0 ? "\n" : "") + message.configuration_line(line);
  }
  return manifest;
}

}  // namespace

std::string manifest_to_text(const CheckpointManifest& manifest) {
  check(manifest, "manifest of step " + std::to_string(manifest.state.step));
  return message::sealed_text(to_message(manifest));
}

CheckpointManifest parse_manifest(std::string_view text, const std::string& file) {
  proto::Manifest message;
  const std::string problem = message::read_sealed_text(text, message);
  if (!problem.empty()) throw CheckpointError(file + problem);
  if (message.version() != kVersion) {
    throw CheckpointError(file + ": format version " + std::to_string(message.version()) + "; this program reads " +
                          std::to_string(kVersion));
  }
  if (static_cast<std::size_t>(message.state().left_out_batch_size()) > LeftOutBatches{}.newest.size())
    throw CheckpointError(file + ": leaves out more batches than there can be");
  CheckpointManifest manifest = from_message(message);
  check(manifest, file);
  return manifest;
}

}  // namespace kangpt::io
