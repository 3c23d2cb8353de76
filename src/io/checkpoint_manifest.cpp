#include "io/checkpoint_manifest.hpp"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/seal.hpp"
#include "checkpoint_manifest.pb.h"
#include "io/state_file.hpp"

namespace kangpt::io {
namespace {

constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 48;  // far above any model, far below any overflow

// ---- Checks of values; "" where all is well ----

std::string file_problem(const CheckpointManifest& manifest) {
  std::uint64_t position = 0;
  for (std::size_t rank = 0; rank < manifest.files.size(); ++rank) {
    const FileDigest& file = manifest.files[rank];
    const std::string name = state_file_name(rank, manifest.files.size());
    if (file.name != name) return "names the file '" + file.name + "' where " + name + " is expected";
    if (file.begin != position || file.end < file.begin || file.end > kMaxElements) {
      return name + " does not begin where the file before it ends";
    }
    position = file.end;
    if (file.size_bytes / sizeof(float) / kStateArrays.size() < file.end - file.begin) return name + " is too small";
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

// ---- To and from the message ----

void copy_state(const TrainingState& from, proto::State& to) {
  to.set_step(from.step);
  to.set_updates(from.updates);
  to.set_batches(from.batches);
  to.set_tokens(from.tokens);
  to.set_skipped_steps(from.skipped_steps);
  to.set_seed(from.seed);
  to.set_dataset_fingerprint(from.dataset_fingerprint);
  to.set_batch_size(from.batch_size);
  to.set_logical_shards(from.logical_shards);
  to.set_threads(from.threads);
  to.set_loss_mean(from.loss_mean);
  to.set_loss_variance(from.loss_variance);
  to.set_loss_count(from.loss_count);
  to.set_last_loss(from.last_loss);
  for (std::uint32_t i = 0; i < from.left_out.count; ++i) to.add_left_out_batch(from.left_out.newest[i]);
  to.set_skipped_in_a_row(from.skipped_in_a_row);
}

LeftOutBatches left_out_of(const proto::State& from) {
  LeftOutBatches left_out;
  for (int i = from.left_out_batch_size() - 1; i >= 0; --i) left_out.add(from.left_out_batch(i));
  return left_out;
}

TrainingState state_of(const proto::State& from) {
  return {from.step(),
          from.updates(),
          from.batches(),
          from.tokens(),
          from.skipped_steps(),
          from.seed(),
          from.dataset_fingerprint(),
          from.batch_size(),
          from.logical_shards(),
          from.threads(),
          from.loss_mean(),
          from.loss_variance(),
          from.loss_count(),
          from.last_loss(),
          left_out_of(from),
          from.skipped_in_a_row()};
}

proto::Manifest to_message(const CheckpointManifest& manifest) {
  proto::Manifest message;
  message.set_version(kVersion);
  message.set_program_version(manifest.program_version);
  copy_state(manifest.state, *message.mutable_state());
  message.set_flat_size(manifest.flat_size);
  message.set_table_size(manifest.parameters.flat_size);
  message.set_parameter_count(manifest.parameters.parameter_count);
  for (const FileDigest& from : manifest.files) {
    proto::File& to = *message.add_file();
    to.set_name(from.name);
    to.set_size_bytes(from.size_bytes);
    to.set_begin(from.begin);
    to.set_end(from.end);
    to.set_xxh3(from.xxh3);
    to.set_sha256(from.sha256);
  }
  for (const base::ParameterEntry& from : manifest.parameters.entries) {
    proto::Parameter& to = *message.add_parameter();
    to.set_name(from.name);
    for (const std::int64_t extent : from.shape) to.add_shape(extent);
    to.set_offset(from.offset);
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
  manifest.program_version = message.program_version();
  manifest.state = state_of(message.state());
  manifest.flat_size = message.flat_size();
  manifest.parameters.flat_size = message.table_size();
  manifest.parameters.parameter_count = message.parameter_count();
  for (const proto::File& from : message.file()) {
    manifest.files.push_back({from.name(), from.size_bytes(), from.begin(), from.end(), from.xxh3(), from.sha256()});
  }
  for (const proto::Parameter& from : message.parameter()) {
    const std::vector<std::int64_t> shape(from.shape().begin(), from.shape().end());
    manifest.parameters.entries.push_back({from.name(), shape, from.offset(), element_count(shape)});
  }
  for (int line = 0; line < message.configuration_line_size(); ++line) {
    manifest.configuration += (line > 0 ? "\n" : "") + message.configuration_line(line);
  }
  return manifest;
}

// ---- Text ----

class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text_.empty()) text_ = std::to_string(line + 1) + ":" + std::to_string(column + 1) + ": " + message;
  }
  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

}  // namespace

std::string manifest_to_text(const CheckpointManifest& manifest) {
  check(manifest, "manifest of step " + std::to_string(manifest.state.step));
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseShortRepeatedPrimitives(true);
  std::string body;
  if (!printer.PrintToString(to_message(manifest), &body)) {
    throw InternalError("the checkpoint manifest could not be printed");
  }
  return base::sealed(body);
}

CheckpointManifest parse_manifest(std::string_view text, const std::string& file) {
  const std::optional<std::string_view> body = base::unseal(text);
  if (!body) throw CheckpointError(file + ": the last line is not the digest of those before it: cut off or changed");
  FirstError errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.SetRecursionLimit(4);
  proto::Manifest message;
  if (!parser.ParseFromString(std::string(*body), &message)) throw CheckpointError(file + ":" + errors.text());
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
