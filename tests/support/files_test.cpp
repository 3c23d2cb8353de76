#include "tests/support/files.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace kangpt::test {
namespace {

TEST(TemporaryDirectory, RemovesItselfAndItsContent) {
  fs::path path;
  {
    const TemporaryDirectory folder;
    path = folder.path();
    write_text(folder / "a/b/c.txt", "text");
    EXPECT_TRUE(fs::exists(path / "a/b/c.txt"));
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(Files, DamageIsWhereItShouldBe) {
  const TemporaryDirectory folder;
  const fs::path file = folder / "file";
  write_text(file, std::string("ab\0c", 4));
  flip_byte(file, 1);
  EXPECT_EQ(read_text(file), std::string("a\x9d\0c", 4));
  flip_byte(file, 1);
  truncate_file(file, 3);
  EXPECT_EQ(read_text(file), std::string("ab\0", 3));
  EXPECT_THROW(flip_byte(file, 3), std::runtime_error);
  EXPECT_THROW(truncate_file(file, 4), std::runtime_error);
  EXPECT_THROW(read_text(folder / "missing"), std::runtime_error);
}

TEST(Files, ReadsAnEmptyFile) {
  const TemporaryDirectory folder;
  write_text(folder / "empty", "");
  EXPECT_EQ(read_text(folder / "empty"), "");
}

}  // namespace
}  // namespace kangpt::test
