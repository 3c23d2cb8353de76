#include "launcher/record/tensorboard_writer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/launcher/record/event_files.hpp"
#include "tests/support/small_disk.hpp"

namespace kangpt::launcher {
namespace {

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

TEST(TensorboardWriterTest, TextsAndHyperparametersComeBack) {
  const test::TemporaryDirectory folder;
  TensorboardWriter writer(folder.path(), 1);
  const std::string text = "Once upon a time, a caf\xc3\xa9 ...";
  writer.text("sample", 7, text);
  writer.hyperparameters({{"optimizer.learning_rate", "0.0003"},
                          {"optimizer.weight_decay", "0"},
                          {"model.final_norm", "true"},
                          {"optimizer.schedule", "COSINE"},
                          {"data.directory", "\"data/demo\""},
                          {"model.dilation", "[1, 2]"}});
  writer.finished();
  writer.flush();
  const Content content = read_content(folder.path());
  EXPECT_EQ(content.texts, (ByTag<std::string>{{"sample", {{7, text}}}}));
  Fields start = fields_of(content.hyperparameters.at("_hparams_/session_start_info"));
  EXPECT_GT(number<double>(fields_of(start[3])[5]), 1.6e9);
  std::map<std::string, Fields> values;
  for (const auto& [field, entry] : all_fields_of(start[3])) {
    if (field == 1) values[fields_of(entry)[1]] = fields_of(fields_of(entry)[2]);
  }
  EXPECT_EQ(values.size(), 6U);
  EXPECT_EQ(number<double>(values["optimizer.learning_rate"][2]), 0.0003);
  EXPECT_EQ(number<double>(values["optimizer.weight_decay"].at(2)), 0);
  EXPECT_EQ(values["model.final_norm"], (Fields{{4, "1"}}));
  EXPECT_EQ(values["optimizer.schedule"], (Fields{{3, "COSINE"}}));
  EXPECT_EQ(values["data.directory"], (Fields{{3, "data/demo"}}));
  EXPECT_EQ(values["model.dilation"], (Fields{{3, "[1, 2]"}}));
  Fields end = fields_of(fields_of(content.hyperparameters.at("_hparams_/session_end_info"))[4]);
  EXPECT_EQ(end[1], "1") << "success";
  EXPECT_GT(number<double>(end[2]), 1.6e9);
}

TEST(TensorboardWriterTest, MarkdownShowsTextAsItIs) {
  EXPECT_EQ(as_markdown("a *b* _c_ <|x|>\n# d &amp; e"), "a \\*b\\* \\_c\\_ &lt;\\|x\\|\\>  \n\\# d &amp;amp; e");
}

}  // namespace
}  // namespace kangpt::launcher
