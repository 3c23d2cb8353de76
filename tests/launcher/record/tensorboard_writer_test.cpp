#include "launcher/record/tensorboard_writer.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "base/digest.hpp"
#include "tests/support/files.hpp"
#include "tests/support/small_disk.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;

// --- A reader of its own: what the format's grammar says, nothing that the writer uses ---

std::uint64_t little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

bool checks(std::string_view bytes, std::uint64_t stored) {
  const std::uint32_t crc = base::crc32c(std::as_bytes(std::span(bytes)));
  return stored == static_cast<std::uint32_t>((crc >> 15 | crc << 17) + 0xa282ead8U);
}

std::vector<std::string> records_of(std::string_view file) {
  std::vector<std::string> records;
  while (!file.empty()) {
    if (file.size() < 16) throw std::runtime_error("a record is cut off");
    const std::uint64_t length = little_endian(file.substr(0, 8));
    if (!checks(file.substr(0, 8), little_endian(file.substr(8, 4)))) throw std::runtime_error("wrong CRC of a length");
    const std::string_view event = file.substr(12, length);
    if (!checks(event, little_endian(file.substr(12 + length, 4)))) throw std::runtime_error("wrong CRC of an event");
    records.emplace_back(event);
    file.remove_prefix(16 + length);
  }
  return records;
}

// The fields of a protobuf message: their raw bytes, or those of a varint's value.
using Fields = std::map<unsigned, std::string>;

std::uint64_t take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at(0));
    bytes.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
}

Fields fields_of(std::string_view message) {
  Fields fields;
  while (!message.empty()) {
    const std::uint64_t key = take_varint(message);
    std::string& value = fields[static_cast<unsigned>(key >> 3)];
    if ((key & 7) == 0) {
      value = std::to_string(take_varint(message));
      continue;
    }
    const std::size_t size = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : take_varint(message);
    value = message.substr(0, size);
    message.remove_prefix(size);
  }
  return fields;
}

template <typename T>
T number(const std::string& bytes) {
  T value{};
  if (bytes.size() != sizeof value) throw std::runtime_error("a number of another size");
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// Tag -> step -> value as TensorBoard would show them: files by name, a START drops later steps.
using Curves = std::map<std::string, std::map<std::uint64_t, float>>;

Curves read_curves(const fs::path& directory) {
  std::set<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) files.insert(entry.path());
  Curves curves;
  for (const fs::path& file : files) {
    bool first = true;
    for (const std::string& record : records_of(test::read_text(file))) {
      Fields event = fields_of(record);
      EXPECT_GT(number<double>(event[1]), 1.6e9) << "seconds since 1970";
      EXPECT_EQ(event[3], std::exchange(first, false) ? "brain.Event:2" : "");
      const std::uint64_t step = std::stoull(event[2]);
      if (event.contains(7) && fields_of(event[7])[1] == "1") {
        for (auto& [tag, curve] : curves) curve.erase(curve.lower_bound(step), curve.end());
      }
      if (!event.contains(5)) continue;
      Fields value = fields_of(fields_of(event[5])[1]);
      curves[value[1]][step] = number<float>(value[2]);
    }
  }
  return curves;
}

TEST(TensorboardWriterTest, ScalarsComeBack) {
  const test::TemporaryDirectory folder;
  TensorboardWriter writer(folder / "tensorboard", 1);
  writer.scalar("loss", 1, 3.5);
  writer.scalar("loss", 300, 2.25);
  writer.scalar("learning_rate", std::uint64_t{1} << 40, 1e-4);
  EXPECT_TRUE(writer.flush());
  const Curves expected = {{"loss", {{1, 3.5F}, {300, 2.25F}}}, {"learning_rate", {{std::uint64_t{1} << 40, 1e-4F}}}};
  EXPECT_EQ(read_curves(folder / "tensorboard"), expected);
}

TEST(TensorboardWriterTest, EachStepStandsOnceAfterARestartAndAnotherStart) {
  const test::TemporaryDirectory folder;
  {
    TensorboardWriter first(folder.path(), 1);
    for (std::uint64_t step = 1; step <= 6; ++step) first.scalar("loss", step, 1);
    first.restart(5);
    first.scalar("loss", 5, 2);
  }
  TensorboardWriter second(folder.path(), 3);
  second.scalar("loss", 3, 3);
  second.flush();
  const Curves expected = {{"loss", {{1, 1.0F}, {2, 1.0F}, {3, 3.0F}}}};
  EXPECT_EQ(read_curves(folder.path()), expected);
}

TEST(TensorboardWriterTest, ARecordThatAKilledStartLeftTornIsCutOff) {
  const test::TemporaryDirectory folder;
  const auto write = [&](std::uint64_t step) {
    TensorboardWriter writer(folder.path(), step);
    writer.scalar("loss", step, 1);
    writer.flush();
  };
  write(1);
  const fs::path first = fs::directory_iterator(folder.path())->path();
  test::truncate_file(first, fs::file_size(first) - 3);
  write(2);
  const Curves expected = {{"loss", {{2, 1.0F}}}};
  EXPECT_EQ(read_curves(folder.path()), expected);
}

TEST(TensorboardWriterTest, CurvesAreWholeAfterADiskThatWasFullForAWhile) {
  const test::TemporaryDirectory folder;
  const fs::path disk = folder / "disk";
  if (!test::mount_small_disk(disk, "256k")) GTEST_SKIP() << "no right to mount a tmpfs here";
  TensorboardWriter writer(disk / "tensorboard", 1);
  test::write_text(disk / "ballast", std::string(fs::space(disk).free, 'x'));
  std::map<std::uint64_t, float> curve;
  bool was_full = false;
  for (std::uint64_t step = 1; step <= 500; ++step) {
    if (step == 400) fs::remove(disk / "ballast");
    writer.scalar("loss", step, static_cast<double>(step));
    curve[step] = static_cast<float>(step);
    was_full |= !writer.flush();
    if (step % 50 == 0) read_curves(disk / "tensorboard");  // throws where a record is torn
  }
  EXPECT_TRUE(was_full);
  EXPECT_EQ(read_curves(disk / "tensorboard"), (Curves{{"loss", curve}}));
  test::unmount(disk);
}

TEST(TensorboardWriterTest, AFolderThatCannotBeMadeIsAnError) {
  const test::TemporaryDirectory folder;
  test::write_text(folder / "file", "");
  EXPECT_ANY_THROW(TensorboardWriter(folder / "file" / "tensorboard", 1));
}

}  // namespace
}  // namespace kangpt::launcher
