#include "model/parameters/weight_file.hpp"

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

// torch.compile, DistributedDataParallel, both around each other, FSDP, a layer compiled by itself, and Lightning.
TEST_F(WeightFileTest, NamesAreReadWithoutWhatWrappersPutIntoThem) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"_orig_mod.a.weight", "_orig_mod.a.bias"},
      {"module.a.weight", "module.a.bias"},
      {"module._orig_mod.a.weight", "module._orig_mod.a.bias"},
      {"_orig_mod.module.a.weight", "_orig_mod.module.a.bias"},
      {"_fsdp_wrapped_module.a._checkpoint_wrapped_module.weight", "_fsdp_wrapped_module.a.bias"},
      {"a._orig_mod.weight", "a.bias"},
      {"model.a.weight", "model.a.bias"},
      {"module.network.model.a.weight", "module.network.model.a.bias"}};
  for (const auto& [weight, bias] : cases) {
    io::write_safetensors(path_, {{weight, {2, 3}, weight_}, {bias, {2}, bias_}}, {});
    std::vector<float> flat(18, -1);
    check_weights(path_, table());
    load_weights(path_, table(), flat);
    EXPECT_THAT(flat, ::testing::ElementsAre(1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 8)) << weight;
  }
}

TEST_F(WeightFileTest, SaysWhatIsWrongWithNamesThatCanNotBeRead) {
  EXPECT_THAT(message_of_loading({{"model.a.weight", {2, 3}, weight_}, {"a.bias", {2}, bias_}}),
              ::testing::HasSubstr("model.a.weight is not of this model"))
      << "not all names begin with it";
  EXPECT_THAT(message_of_loading({{"a.weight", {2, 3}, weight_}, {"module.a.weight", {2, 3}, weight_}}),
              ::testing::HasSubstr("has a.weight twice: as a.weight and as module.a.weight"));
  EXPECT_THAT(message_of_loading({{"x.w", {2, 3}, weight_}, {"x.b", {2}, bias_}}),
              ::testing::HasSubstr("other names than this project's: x.b and the like, not a.weight"));
  EXPECT_THAT(message_of_loading({{"a.weight", {3, 2}, weight_}, {"a.bias", {2}, bias_}}),
              ::testing::HasSubstr("[3, 2], the model needs [2, 3]: is it transposed?"));
  EXPECT_THAT(message_of_loading({}), ::testing::HasSubstr("other names than this project's: none"));
}

TEST_F(WeightFileTest, AFileThatIsNotThereIsAMissingInput) {
  std::vector<float> flat(18);
  EXPECT_THROW(load_weights(path_, table(), flat), MissingInputError);
}

}  // namespace
}  // namespace kangpt::model
