#include "base/paths.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "base/error.hpp"
#include "base/file_lock.hpp"
#include "tests/support/files.hpp"

namespace kangpt::base {
namespace {

TEST(CheckCanMake, SaysBeforehandWhetherAFolderCanBeMade) {
  const test::TemporaryDirectory folder;
  EXPECT_NO_THROW(check_can_make(folder / "a" / "b"));
  EXPECT_NO_THROW(check_can_make(folder.path()));
  EXPECT_NO_THROW(check_can_make("a_relative_folder/b"));
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  test::write_text(folder / "file", "x");
  EXPECT_THROW(check_can_make(folder / "file"), IoError);
  EXPECT_THROW(check_can_make(folder / "file" / "folder"), IoError);
}

TEST(TryLock, IsHeldByOne) {
  const test::TemporaryDirectory folder;
  const auto open = [&] { return UniqueFd(::open(folder.path().c_str(), O_RDONLY | O_CLOEXEC)); };
  UniqueFd first = open();
  const UniqueFd second = open();
  EXPECT_TRUE(try_lock(first, folder.path()));
  EXPECT_FALSE(try_lock(second, folder.path()));
  first.reset();
  EXPECT_TRUE(try_lock(second, folder.path()));
}

// A variable for the time of a test.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
  }
  ~Environment() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(ExpandHome, TakesATildeForTheHomeOfTheUser) {
  const Environment home("HOME", "/home/somebody");
  EXPECT_EQ(expand_home("~/runs/x"), "/home/somebody/runs/x");
  EXPECT_EQ(expand_home("~"), "/home/somebody");
  for (const std::string path : {"", "a/~/b", "~name", "./~", "/x"}) EXPECT_EQ(expand_home(path), path);
}

TEST(ExpandHome, NamesTheVariableThatIsMissing) {
  const Environment cache("KANGPT_CACHE", nullptr);
  for (const char* const value : {static_cast<const char*>(nullptr), ""}) {
    const Environment home("HOME", value);
    EXPECT_THROW(expand_home("~/x"), ConfigError);
    EXPECT_EQ(expand_home("x"), "x");
    try {
      cache_directory();
      ADD_FAILURE() << "found a cache without a home";
    } catch (const MissingInputError& error) {
      EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr("HOME"), ::testing::HasSubstr("KANGPT_CACHE")));
    }
  }
}

}  // namespace
}  // namespace kangpt::base
