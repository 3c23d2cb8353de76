#include "io/hdf5_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <numeric>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"

namespace kangpt::io {
namespace {

namespace fs = std::filesystem;

class Hdf5FileTest : public ::testing::Test {
 protected:
  Hdf5FileTest() {
    const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / ("kangpt-hdf5-" + std::to_string(::getpid()) + "-" + test->name());
    fs::create_directories(folder_);
  }
  ~Hdf5FileTest() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name) const {
    const fs::path path = folder_ / name;
    Hdf5File file = Hdf5File::create(path);
    file.create_dataset("tokens", ElementType::kU16, tokens_.size());
    file.create_dataset("weights", ElementType::kF32, 3);
    file.create_dataset("none", ElementType::kU64, 0);
    const std::span<const std::uint16_t> tokens(tokens_);
    file.write("tokens", 0, tokens.first(1000));
    file.write("tokens", 1000, tokens.subspan(1000));
    file.write("weights", 1, std::span<const float>(std::vector<float>{2.5F}));
    file.write_attribute("count", std::uint64_t{1} << 63);
    file.write_attribute("name", std::string("h\xC3\xA9llo"));
    file.close();
    return path;
  }

  fs::path folder_;
  std::vector<std::uint16_t> tokens_ = [] {
    std::vector<std::uint16_t> values(5000);
    std::iota(values.begin(), values.end(), std::uint16_t{60000});
    return values;
  }();
};

TEST_F(Hdf5FileTest, ReadsBackRangesAndAttributes) {
  const Hdf5File file = Hdf5File::open(write("a.h5"));
  std::vector<std::uint16_t> part(700);
  file.read("tokens", 900, std::span(part));
  EXPECT_TRUE(std::equal(part.begin(), part.end(), tokens_.begin() + 900));
  std::vector<float> weights(3, -1.0F);
  file.read("weights", 0, std::span(weights));
  EXPECT_THAT(weights, ::testing::ElementsAre(0.0F, 2.5F, 0.0F));
  EXPECT_EQ(file.dataset("none").size, 0U);
  EXPECT_EQ(file.integer_attribute("count"), std::uint64_t{1} << 63);
  EXPECT_EQ(file.string_attribute("name"), "h\xC3\xA9llo");
}

TEST_F(Hdf5FileTest, RawValuesLieAlignedAtTheirOffset) {
  const fs::path path = write("a.h5");
  const DatasetInfo info = Hdf5File::open(path).dataset("tokens");
  ASSERT_TRUE(info.file_offset.has_value());
  EXPECT_EQ(*info.file_offset % 4096, 0U);
  const std::string bytes = base::read_file(path);
  EXPECT_EQ(std::memcmp(bytes.data() + *info.file_offset, tokens_.data(), tokens_.size() * 2), 0);
}

TEST_F(Hdf5FileTest, TheSameCallsMakeTheSameBytes) {
  EXPECT_EQ(base::read_file(write("a.h5")), base::read_file(write("b.h5")));
}

TEST_F(Hdf5FileTest, RefusesWhatIsNotThere) {
  EXPECT_THROW(Hdf5File::open(folder_ / "absent.h5"), MissingInputError);
  EXPECT_THROW(Hdf5File::create(folder_ / "absent" / "a.h5"), IoError);
  const Hdf5File file = Hdf5File::open(write("a.h5"));
  std::vector<float> floats(1);
  std::vector<std::uint16_t> tokens(10);
  EXPECT_THROW(file.read("absent", 0, std::span(floats)), DataError);
  EXPECT_THROW(file.read("tokens", 0, std::span(floats)), DataError);
  EXPECT_THROW(file.read("tokens", tokens_.size() - 9, std::span(tokens)), DataError);
  EXPECT_THROW(file.integer_attribute("absent"), DataError);
  EXPECT_THROW(file.integer_attribute("name"), DataError);
  EXPECT_THROW(file.string_attribute("count"), DataError);
}

TEST_F(Hdf5FileTest, RefusesDamagedFilesNamingThem) {
  std::ofstream(folder_ / "text.h5") << "not HDF5 at all";
  EXPECT_THROW(Hdf5File::open(folder_ / "text.h5"), DataError);
  const fs::path path = write("cut.h5");
  fs::resize_file(path, fs::file_size(path) - 1);
  try {
    Hdf5File::open(path);
    FAIL() << "a cut-off file was opened";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr("cut.h5"), ::testing::HasSubstr("truncated file")));
  }
}

TEST_F(Hdf5FileTest, AFullDiskIsAnIoErrorAndTheProgramGoesOn) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  EXPECT_THROW(
      {
        Hdf5File file = Hdf5File::create("/dev/full");
        file.create_dataset("tokens", ElementType::kU16, tokens_.size());
        file.write("tokens", 0, std::span<const std::uint16_t>(tokens_));
        file.close();
      },
      Error);
  EXPECT_NO_THROW(write("after.h5"));
}

}  // namespace
}  // namespace kangpt::io
