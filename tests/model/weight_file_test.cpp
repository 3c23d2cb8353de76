#include "model/weight_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/error.hpp"
#include "io/safetensors.hpp"
#include "tests/support/files.hpp"

namespace kangpt::model {
namespace {

base::ParameterTable table() {
  base::ParameterTable table;
  table.entries = {{"a.weight", {2, 3}, 0, 6}, {"a.bias", {2}, 16, 2}};
  table.flat_size = 18;
  table.parameter_count = 8;
  return table;
}

class WeightFileTest : public ::testing::Test {
 protected:
  std::string message_of_loading(const std::vector<io::TensorToWrite>& tensors) {
    io::write_safetensors(path_, tensors, {});
    std::vector<float> flat(table().flat_size);
    try {
      load_weights(path_, table(), flat);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  }

  test::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "weights.safetensors";
  std::vector<float> weight_ = {1, 2, 3, 4, 5, 6};
  std::vector<float> bias_ = {7, 8};
};

TEST_F(WeightFileTest, FillsTheFlatBufferAndClearsItsGaps) {
  io::write_safetensors(path_, {{"a.bias", {2}, bias_}, {"a.weight", {2, 3}, weight_}}, {});
  std::vector<float> flat(18, -1);
  load_weights(path_, table(), flat);
  EXPECT_THAT(flat, ::testing::ElementsAre(1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 8));
}

TEST_F(WeightFileTest, ListsEveryTensorThatDoesNotFit) {
  const std::string message = message_of_loading({{"a.weight", {3, 2}, weight_}, {"other", {2}, bias_}});
  EXPECT_THAT(message, ::testing::HasSubstr(path_.string()));
  EXPECT_THAT(message, ::testing::HasSubstr("a.weight has shape [3, 2], the model needs [2, 3]"));
  EXPECT_THAT(message, ::testing::HasSubstr("a.bias is missing"));
  EXPECT_THAT(message, ::testing::HasSubstr("other is not of this model"));
}

TEST_F(WeightFileTest, AFileThatIsNotThereIsAMissingInput) {
  std::vector<float> flat(18);
  EXPECT_THROW(load_weights(path_, table(), flat), MissingInputError);
}

}  // namespace
}  // namespace kangpt::model
