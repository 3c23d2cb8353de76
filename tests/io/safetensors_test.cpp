#include "io/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "tests/support/files.hpp"

namespace kangpt::io {

namespace fs = std::filesystem;

namespace {

using ::testing::HasSubstr;

class SafetensorsTest : public ::testing::Test {
 protected:
  // A file of any header text and data.
  fs::path write_raw(const std::string& header, const std::string& data) const {
    std::uint64_t length = header.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    test::write_text(path_, bytes + header + data);
    return path_;
  }
  // The message of the error, "" if the file is taken.
  std::string problem(const std::string& header, const std::string& data = "") const {
    try {
      const SafetensorsFile file(write_raw(header, data));
      return "";
    } catch (const DataError& error) {
      return error.what();
    }
  }

  test::TemporaryDirectory directory_;
  fs::path path_ = directory_ / "x.safetensors";
};

const std::string kTwo =
    R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[],"data_offsets":[8,12]}})";

TEST_F(SafetensorsTest, RoundTripKeepsBitsShapesAndMetadata) {
  const std::vector<float> matrix = {1, -0.0F, INFINITY, 1e-42F, std::bit_cast<float>(0x7fc12345U), 6};
  const std::vector<float> scalar = {7};
  write_safetensors(path_, {{"z", {}, scalar}, {"a.weight", {2, 3}, matrix}, {"empty", {0, 3}, {}}}, {{"k", "v\"\n"}});
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.metadata().at("k"), "v\"\n");
  std::vector<float> values(6);
  file.read("a.weight", {2, 3}, values);
  EXPECT_EQ(std::memcmp(values.data(), matrix.data(), 24), 0);
  file.read("z", {}, std::span(values).first(1));
  EXPECT_EQ(values[0], 7);
}

TEST_F(SafetensorsTest, BytesAreThoseOfTheReferenceImplementation) {
  const std::vector<float> a = {1, 2};
  const std::vector<float> b = {3};
  write_safetensors(path_, {{"b", {}, b}, {"a", {2}, a}}, {});
  const std::string text = test::read_text(path_);
  std::uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_EQ(text.size(), 8 + length + 12);
  EXPECT_EQ(text.substr(8, kTwo.size()), kTwo);
  EXPECT_EQ(text.substr(8 + kTwo.size(), length - kTwo.size()), std::string(length - kTwo.size(), ' '));
}

TEST_F(SafetensorsTest, ConvertsHalfBfloatAndDouble) {
  const std::uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x8000};
  const float expected[] = {1, -2, 5.9604645e-8F, 65504, INFINITY, -INFINITY, NAN, -0.0F};
  const std::string bytes(reinterpret_cast<const char*>(half), sizeof(half));
  const SafetensorsFile file(write_raw(R"({"h":{"dtype":"F16","shape":[8],"data_offsets":[0,16]}})", bytes));
  std::vector<float> values(8);
  file.read("h", {8}, values);
  for (std::size_t i = 0; i < 8; ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(values[i]));
    } else {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(expected[i])) << i;
    }
  }
  const std::string pi("\x49\x40", 2);
  const double e = 2.718281828459045;
  const std::string data = std::string(reinterpret_cast<const char*>(&e), 8) + pi;
  const SafetensorsFile mixed(write_raw(
      R"({"e":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"p":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]}})",
      data));
  mixed.read("e", {1}, std::span(values).first(1));
  EXPECT_EQ(values[0], 2.7182817F);
  mixed.read("p", {1}, std::span(values).first(1));
  EXPECT_EQ(values[0], 3.140625F);
}

TEST_F(SafetensorsTest, WrongNameOrShapeIsExplained) {
  const SafetensorsFile file(write_raw(kTwo, std::string(12, '\0')));
  std::vector<float> values(2);
  const auto message = [&](const std::string& name, const std::vector<std::int64_t>& shape) -> std::string {
    try {
      file.read(name, shape, values);
      return "";
    } catch (const DataError& error) {
      return error.what();
    }
  };
  EXPECT_EQ(message("a", {2}), "");
  EXPECT_THAT(message("a", {1, 2}), HasSubstr("shape [2], expected [1, 2]"));
  EXPECT_THAT(message("aa", {2}), HasSubstr("nearest name is 'a'"));
}

TEST_F(SafetensorsTest, OtherTypesAreListedButNotRead) {
  const SafetensorsFile file(
      write_raw(R"({"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", std::string(8, 'x')));
  float value = 0;
  EXPECT_THROW(file.read("i", {1}, {&value, 1}), DataError);
}

TEST_F(SafetensorsTest, BadHeadersAreRefusedWithTheReason) {
  const std::string twelve(12, '\0');
  EXPECT_EQ(problem(kTwo, twelve), "");
  EXPECT_EQ(problem(kTwo + "   ", twelve), "");
  EXPECT_THAT(problem(kTwo, twelve + "x"), HasSubstr("1 bytes follow"));
  EXPECT_THAT(problem(kTwo, twelve.substr(1)), HasSubstr("cut off"));
  EXPECT_THAT(problem(kTwo + "}", twelve), HasSubstr("not JSON"));
  EXPECT_THAT(problem(" " + kTwo, twelve), HasSubstr("does not begin"));
  EXPECT_THAT(problem("[]"), HasSubstr("does not begin"));
  EXPECT_EQ(problem("{}"), "");
  const auto one = [&](const std::string& fields) { return problem("{\"a\":{" + fields + "}}", twelve); };
  EXPECT_EQ(one(R"("dtype":"F32","shape":[3],"data_offsets":[0,12])"), "");
  EXPECT_THAT(one(R"("dtype":"F32","shape":[3])"), HasSubstr("lacks"));
  EXPECT_THAT(one(R"("dtype":"F33","shape":[3],"data_offsets":[0,12])"), HasSubstr("unknown type 'F33'"));
  EXPECT_THAT(one(R"("dtype":"F32","shape":[4],"data_offsets":[0,12])"), HasSubstr("takes 16 bytes"));
  EXPECT_THAT(one(R"("dtype":"F32","shape":[-3],"data_offsets":[0,12])"), HasSubstr("negative"));
  EXPECT_THAT(one(R"("dtype":"F32","shape":[3.0],"data_offsets":[0,12])"), HasSubstr("fraction"));
  EXPECT_THAT(one(R"("dtype":"F32","shape":[4294967296,4294967296,3],"data_offsets":[0,12])"), HasSubstr("impossible"));
  EXPECT_THAT(one(R"("dtype":"F32","shape":[3],"data_offsets":[12,0])"), HasSubstr("lies at"));
  EXPECT_THAT(one(R"("dtype":"F32","shape":[3],"data_offsets":[0,12,13])"), HasSubstr("two numbers"));
  EXPECT_THAT(one(R"("dtype":"F32","dtype":"F32","shape":[3],"data_offsets":[0,12])"), HasSubstr("twice"));
  EXPECT_THAT(one(R"("dtype":"F32","shape":[[3]],"data_offsets":[0,12])"), HasSubstr("an array"));
  EXPECT_THAT(one(R"("dtype":{},"shape":[3],"data_offsets":[0,12])"), HasSubstr("an object"));
  EXPECT_THAT(one(R"("dtype":"F32","shape":[3],"data_offsets":[0,12],"x":1)"), HasSubstr("unknown field 'x'"));
  EXPECT_THAT(problem(R"({"__metadata__":{"a":1}})"), HasSubstr("a number"));
}

TEST_F(SafetensorsTest, OverlapsGapsAndDuplicatesAreRefused) {
  const auto two = [&](const std::string& b, const std::string& name = "b") {
    return problem(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},")" + name +
                       R"(":{"dtype":"F32","shape":[1],"data_offsets":)" + b + "}}",
                   std::string(16, '\0'));
  };
  EXPECT_THAT(two("[4,8]"), HasSubstr("overlap"));
  EXPECT_THAT(two("[12,16]"), HasSubstr("gap"));
  EXPECT_THAT(two("[8,12]", "a"), HasSubstr("'a' stands twice"));
}

TEST_F(SafetensorsTest, LengthsBeyondTheFileAllocateNothing) {
  for (const std::uint64_t length : {std::uint64_t{1}, std::uint64_t{100'000'001}, ~std::uint64_t{0}}) {
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    test::write_text(path_, bytes);
    EXPECT_THROW(SafetensorsFile{path_}, DataError);
  }
  test::write_text(path_, "short");
  EXPECT_THROW(SafetensorsFile{path_}, DataError);
  EXPECT_THROW(SafetensorsFile{directory_ / "none"}, MissingInputError);
}

TEST_F(SafetensorsTest, OtherFilesAreCalledByTheirNames) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"run { seed: 1 }\nmodel { layers: 2 }", "but text"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"},
      {std::string("PK\x03\x04\0\0\x08\x08\0\0", 10) + "archive/data.pkl", "safetensors.torch.save_file"},
      {std::string("\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j", 11), "safetensors.torch.save_file"},
      {std::string("\x89HDF\r\n\x1a\n\0\0", 10), "an HDF5 file"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9), "or cut off"}};
  for (const auto& [bytes, says] : cases) {
    test::write_text(path_, bytes);
    try {
      const SafetensorsFile file(path_);
      ADD_FAILURE() << "accepted: " << says;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr("not a safetensors file"), HasSubstr(says)));
    }
  }
}

TEST_F(SafetensorsTest, DeepNestingIsRefusedAtOnce) {
  EXPECT_THAT(problem("{\"a\":" + std::string(1'000'000, '[')), HasSubstr("an array"));
  std::string objects = "{\"a\":{";
  for (int i = 0; i < 100'000; ++i) objects += "\"shape\":{";
  EXPECT_THAT(problem(objects), HasSubstr("an object"));
}

}  // namespace
}  // namespace kangpt::io
