#include "launcher/record/tensorboard_writer.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "launcher/record/tensorboard.pb.h"

namespace kangpt::launcher {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint32_t kCrcOffset = 0xa282ead8U;
constexpr const char* kFilePrefix = "events.out.tfevents.";

template <typename T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(base::crc32c(std::as_bytes(std::span(bytes))), 15) + kCrcOffset;
}

std::string record(std::string_view event) {
  const std::string length = bytes_of<std::uint64_t>(event.size());
  return length + bytes_of(masked_crc(length)) + std::string(event) + bytes_of(masked_crc(event));
}

// TensorBoard reads the files of a folder in the order of their names: time first, to the microsecond.
std::string file_name() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const long long microseconds = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  std::array<char, 64> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host = {"host"};
  std::array<char, 160> name{};
  std::snprintf(name.data(), name.size(), "%s%010lld.%06lld.%s.%d", kFilePrefix, microseconds / 1000000,
                microseconds % 1000000, host.data(), static_cast<int>(::getpid()));
  return name.data();
}

// The length of the whole records at the beginning of `file`.
std::size_t whole_records(std::string_view file) {
  constexpr std::size_t kFrameBytes = 16;  // length and two CRCs
  std::size_t end = 0;
  while (file.size() - end >= kFrameBytes) {
    std::uint64_t length = 0;
    std::memcpy(&length, file.data() + end, sizeof length);
    if (length > file.size() - end - kFrameBytes) break;
    end += kFrameBytes + length;
  }
  return end;
}

// Only the file of the last start can be torn: the one before was looked at by that start.
void repair_newest_file(const std::filesystem::path& directory) {
  std::filesystem::path newest;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const bool is_events = entry.path().filename().string().starts_with(kFilePrefix) && entry.is_regular_file();
    if (is_events) newest = std::max(newest, entry.path());
  }
  if (newest.empty()) return;
  const std::string content = base::read_file(newest);
  const std::size_t whole = whole_records(content);
  if (whole < content.size()) std::filesystem::resize_file(newest, whole);
}

// The path of this start's file.
std::filesystem::path prepare(const std::filesystem::path& directory) {
  base::make_directories(directory);
  try {
    repair_newest_file(directory);
  } catch (const std::filesystem::filesystem_error& error) {
    throw_io_error("cannot repair the event files in", directory.string(), error.code().value());
  }
  return directory / file_name();
}

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

tensorboard::Summary::Value& add_value(tensorboard::Event& event, std::string_view tag) {
  tensorboard::Summary::Value& value = *event.mutable_summary()->add_value();
  value.set_tag(std::string(tag));
  return value;
}

tensorboard::Tensor& add_tensor(tensorboard::Summary::Value& value, const char* plugin,
                                tensorboard::Tensor::Type type) {
  value.mutable_metadata()->mutable_plugin_data()->set_plugin_name(plugin);
  value.mutable_metadata()->set_data_class(tensorboard::Metadata::DATA_CLASS_TENSOR);
  tensorboard::Tensor& tensor = *value.mutable_tensor();
  tensor.set_dtype(type);
  tensor.mutable_tensor_shape();
  return tensor;
}

// Numbers and truth values as such, so that TensorBoard sorts and draws them; all else as text.
google::protobuf::Value to_value(const std::string& setting) {
  google::protobuf::Value value;
  char* end = nullptr;
  const double number = std::strtod(setting.c_str(), &end);
  const bool is_quoted = setting.size() >= 2 && setting.front() == '"' && setting.back() == '"';
  if (end != setting.c_str() && *end == '\0') {
    value.set_number_value(number);
  } else if (setting == "true" || setting == "false") {
    value.set_bool_value(setting == "true");
  } else {
    value.set_string_value(is_quoted ? setting.substr(1, setting.size() - 2) : setting);
  }
  return value;
}

}  // namespace

TensorboardWriter::TensorboardWriter(const std::filesystem::path& directory, std::uint64_t next_step,
                                     AppendFile::Warn warn)
    : file_(prepare(directory), std::move(warn)) {
  tensorboard::Event version;
  version.set_file_version("brain.Event:2");
  write(0, version);
  restart(next_step);
  flush();
}

void TensorboardWriter::restart(std::uint64_t next_step) {
  tensorboard::Event event;
  event.mutable_session_log()->set_status(tensorboard::SessionLog::START);
  write(next_step, event);
}

void TensorboardWriter::scalar(std::string_view tag, std::uint64_t step, double value) {
  tensorboard::Event event;
  add_value(event, tag).set_simple_value(static_cast<float>(value));
  write(step, event);
}

void TensorboardWriter::text(std::string_view tag, std::uint64_t step, std::string_view markdown) {
  tensorboard::Event event;
  add_tensor(add_value(event, tag), "text", tensorboard::Tensor::DT_STRING).add_string_val(std::string(markdown));
  write(step, event);
}

void TensorboardWriter::hyperparameters(const NamedSettings& settings) {
  tensorboard::Hyperparameters content;
  tensorboard::SessionStart& start = *content.mutable_session_start();
  for (const auto& [name, setting] : settings) (*start.mutable_settings())[name] = to_value(setting);
  start.set_start_time(unix_time());
  write_hyperparameters("_hparams_/session_start_info", content);
}

void TensorboardWriter::finished() {
  tensorboard::Hyperparameters content;
  content.mutable_session_end()->set_status(tensorboard::SessionEnd::STATUS_SUCCESS);
  content.mutable_session_end()->set_end_time(unix_time());
  write_hyperparameters("_hparams_/session_end_info", content);
}

void TensorboardWriter::write_hyperparameters(std::string_view tag, const tensorboard::Hyperparameters& content) {
  tensorboard::Event event;
  tensorboard::Summary::Value& value = add_value(event, tag);
  add_tensor(value, "hparams", tensorboard::Tensor::DT_FLOAT).add_float_val(0);  // no reader wants the number
  value.mutable_metadata()->mutable_plugin_data()->set_content(content.SerializeAsString());
  write(0, event);
}

void TensorboardWriter::write(std::uint64_t step, tensorboard::Event& event) {
  event.set_wall_time(unix_time());
  event.set_step(static_cast<std::int64_t>(step));
  file_.add(record(event.SerializeAsString()));
}

std::string as_markdown(std::string_view text) {
  constexpr std::string_view kMarks = "\\`*_{}[]()#+-.!|>";
  std::string markdown;
  for (const char character : text) {
    if (character == '<' || character == '&') {
      markdown += character == '<' ? "&lt;" : "&amp;";
    } else if (character == '\n') {
      markdown += "  \n";  // a line's end, not a blank
    } else {
      if (kMarks.find(character) != std::string_view::npos) markdown += '\\';
      markdown += character;
    }
  }
  return markdown;
}

}  // namespace kangpt::launcher
