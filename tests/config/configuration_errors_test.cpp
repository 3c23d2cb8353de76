// What users read when a configuration is wrong.
#include <gmock/gmock.h>

#include <functional>
#include <random>

#include "base/error.hpp"
#include "base/format.hpp"
#include "config/configuration.hpp"
#include "tests/support/files.hpp"

namespace kangpt::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

std::string errors_of_text(const std::string& text) {
  return message_of([&] { parse_configuration(text, "a"); });
}

std::string errors_of_override(const std::string& argument) {
  return message_of([&] { load_configuration("", {argument}); });
}

struct Case {
  std::string input;
  std::string message;
};

constexpr const char* kSections = "run, data, model, optimizer, train, checkpoint, fault, log";

TEST(ConfigurationErrors, NameThePlaceAndWhatIsValid) {
  const std::vector<Case> cases = {
      {"run { sead: 3 }",
       "a:1:7: unknown field 'sead' in run; did you mean 'seed'? Valid: directory, seed, device, threads"},
      {"run {\n  quality: 3\n}", "a:2:3: unknown field 'quality' in run; valid: directory, seed, device, threads"},
      {"run { learning_rate { x: [1, {2}] } }",
       "a:1:7: unknown field 'learning_rate' in run; it belongs to section 'optimizer'"},
      {"optimiser { learning_rate: 1 }",
       std::string("a:1:1: unknown section 'optimiser'; did you mean 'optimizer'? Valid: ") + kSections},
      {"learning_rate: 1", "a:1:1: 'learning_rate' is a field of section 'optimizer': optimizer { ... }"},
      {"run { device: GPU }", "a:1:15: unknown value 'GPU' for run.device; did you mean 'CPU'? Valid: AUTO, CPU, CUDA"},
      {"run { device: cuda }",
       "a:1:15: unknown value 'cuda' for run.device; did you mean 'CUDA'? Valid: AUTO, CPU, CUDA"},
      {"run { device: \"CPU\" }", "a:1:15: run.device needs one of AUTO, CPU, CUDA, found \"CPU\""},
      {"run { seed: -3 }", "a:1:13: run.seed needs a whole number of 0 or more, found '-3'"},
      {"run { seed: 18446744073709551616 }",
       "a:1:13: run.seed needs a whole number from 0 to 18446744073709551615, found '18446744073709551616'"},
      {"run { directory: runs }", "a:1:18: run.directory needs a text in quotes, found 'runs'"},
      {"model { layers: \"2\" }", "a:1:17: model.layers needs a whole number, found \"2\""},
      {"model { layers: 2.5 }", "a:1:17: model.layers needs a whole number, found '2.5'"},
      {"model { layers: 99999999999 }",
       "a:1:17: model.layers needs a whole number from -2147483648 to 2147483647, found '99999999999'"},
      {"model { layers: -1 }", "a:1:9: model.layers is -1: must be from 1 to 1024"},
      {"model { final_norm: yes }", "a:1:21: model.final_norm needs true or false, found 'yes'"},
      {"optimizer { learning_rate: high }", "a:1:28: optimizer.learning_rate needs a number, found 'high'"},
      {"optimizer { learning_rate: nan }", "a:1:28: optimizer.learning_rate needs a number, found 'nan'"},
      {"run { seed: 1 seed: 2 }", "a:1:15: run.seed is set twice, first in line 1"},
      {"run { seed = 1 }", "a:1:12: expected ':' after run.seed, found '='"},
      {"run { seed: }", "a:1:13: run.seed has no value"},
      {"run { seed:\n threads: 1 }", "a:2:2: run.seed has no value"},
      {"run: 5", "a:1:6: section 'run' needs fields in braces: run { ... }"},
      {"run { seed: 1", "a:1:14: expected '}', the end of section 'run' of line 1, found the end of the text"},
      {"run { seed: 1\ndata { mode: STORY }", "a:2:1: expected '}', the end of section 'run' of line 1, found 'data'"},
      {"run { seed: 1 } }", "a:1:17: expected the name of a section, found '}'"},
      {"run { 7 seed: 1 }", "a:1:7: expected the name of a field of run, found '7'"},
      {"data { source: \"a\" }", "a:1:16: data.source needs fields in braces: source { ... }"},
      {"data { source { directory: \"a\" folder: \"b\" } }",
       "a:1:32: unknown field 'folder' in data.source; valid: directory, weight"},
      {"data { source { directory: \"a\" directory: \"b\" } }",
       "a:1:32: data.source.directory is set twice, first in line 1"},
      {"data { source { directory: \"a\" weight: x } }", "a:1:40: data.source.weight needs a number, found 'x'"},
      {"data { source: [{directory: \"a\"}, \"b\"] }", "a:1:35: data.source needs fields in braces: source { ... }"},
      {"data { source: [{directory: \"a\"} }", "a:1:34: expected ']', the end of the list of data.source, found '}'"},
      {"data { source: [directory: \"a\"] }", "a:1:17: data.source needs fields in braces: source { ... }"},
      {"data { source: [{directory: \"a\"}, {folder: \"b\"}] }",
       "a:1:36: unknown field 'folder' in data.source; valid: directory, weight"},
      {"data { source { weight: 1 } }",
       "a:1:8: data.source is { directory: \"\" weight: 1 }: has a source without a directory"},
      {"data { source { directory: \"a\" weight: 0 } }",
       "a:1:8: data.source is { directory: \"a\" weight: 0 }: has a weight that is not a number above 0 (1e9 at most)"},
      {"model { dilation: [1, 2 }", "a:1:25: expected ']', the end of the list of model.dilation, found '}'"},
      {"run { directory: \"a\n }", "a:1:20: String literals cannot cross line boundaries."},
  };
  for (const Case& each : cases) EXPECT_EQ(errors_of_text(each.input), each.message) << each.input;
}

TEST(ConfigurationErrors, OfOverridesNameTheArgument) {
  const std::vector<Case> cases = {
      {"train.stepps=3",
       "unknown field 'stepps' in train; did you mean 'steps'? Valid: batch_size, steps, epochs, logical_shards, "
       "precision, reduction, patience, recompute"},
      {"trains.steps=3", std::string("unknown section 'trains'; did you mean 'train'? Valid: ") + kSections},
      {"learning_rate=2", "expected section.field=value; did you mean 'optimizer.learning_rate'?"},
      {"train.steps", "expected section.field=value; did you mean 'train.steps'?"},
      {"", "expected section.field=value"},
      {"model.layers=", "model.layers has no value"},
      {"model.layers=8x", "model.layers needs a whole number, found '8x'"},
      {"model.layers=8 4", "model.layers needs a whole number, found '8 4'"},
      {"data.source=a", "data.source needs fields in braces: source { ... }"},
      {"data.source=[{directory: \"a\"}, b]",
       "column 20 of the value: data.source needs fields in braces: source { ... }"},
      {"data.source.directory=a", "data.source can only be set as a whole: [{ directory: ... weight: ... }, { ... }]"},
      {"data.source={folder: \"a\"}",
       "column 2 of the value: unknown field 'folder' in data.source; valid: directory, weight"},
      {"data.source=[{directory: \"a\"}",
       "column 18 of the value: expected ']', the end of the list of data.source, found the end of the text"},
      {"data.source=[{directory: \"a\"}] } model { layers: 3 }", "column 20 of the value: unexpected '}'"},
      {"data.source={directory: \"a\"} mode: STORY",
       "column 18 of the value: data.source needs fields in braces: source { ... }"},
      {"model.dilation=1,,2", "model.dilation needs a whole number, found ','"},
      {"model.dilation=[1,2", "model.dilation needs a whole number, found '[1,2'"},
      {"model.dilation=1,2]", "model.dilation needs a whole number, found '1,2]'"},
      {"model.dilation=[1,]", "model.dilation needs a whole number, found ']'"},
      {"model.layers=[8]", "model.layers needs a whole number, found '['"},
      {"data.mode=story", "unknown value 'story' for data.mode; did you mean 'STORY'? Valid: PACKED, STORY, PADDED"},
      {"run.seed=-1", "run.seed needs a whole number of 0 or more, found '-1'"},
  };
  for (const Case& each : cases) {
    EXPECT_EQ(errors_of_override(each.input), "--set " + each.input + ": " + each.message);
  }
}

TEST(ConfigurationErrors, ValuesThatCanNotWork) {
  const std::string needs_shards =
      "must be a power of two (1, 2, 4, 8...), or 0 for the number of ranks of the first start";
  const std::string fp32 = "from 1.2e-38 to 3.4e38, the range of fp32";
  const std::string decay = "must be from 0 to 0.9999999, so that it is below 1 in fp32 too";
  const std::vector<Case> cases = {
      {"model.heads=7", "model.heads is 7: must divide model.d_model (128); valid: 1, 2, 4, 8, 16, 32, 64, 128"},
      {"model.heads=0", "model.heads is 0: must be from 1 to 1024"},
      {"model.kan_degree=17", "model.kan_degree is 17: must be from 1 to 16"},
      {"model.dilation=1,0", "model.dilation is 1, 0: each must be from 1 to 65536"},
      {"data.sequence_length=1", "data.sequence_length is 1: must be from 2 to 65536"},
      {"data.directory=", "data.directory is \"\": must name a folder"},
      {"optimizer.learning_rate=-1", "optimizer.learning_rate is -1: must be " + fp32},
      {"optimizer.learning_rate=1e999", "optimizer.learning_rate is inf: must be " + fp32},
      {"optimizer.learning_rate=1e-39", "optimizer.learning_rate is 1e-39: must be " + fp32},
      {"optimizer.learning_rate=1e38",
       "optimizer.learning_rate is 1e38: must be lower: with its factors, optimizer.beta1 and optimizer.weight_decay "
       "it "
       "gives steps beyond the range of fp32 (3.4e38)"},
      {"optimizer.epsilon=1e-38", "optimizer.epsilon is 1e-38: must be " + fp32 +
                                      ": where it is 0 there, every parameter without a gradient becomes 0/0"},
      {"optimizer.weight_decay=1e-40", "optimizer.weight_decay is 1e-40: must be 0, or " + fp32},
      {"optimizer.gradient_clip_norm=1e-300", "optimizer.gradient_clip_norm is 1e-300: must be 0, or " + fp32},
      {"optimizer.minimum_learning_rate=1e-320", "optimizer.minimum_learning_rate is 1e-320: must be 0, or " + fp32},
      {"optimizer.beta2=0.99999999", "optimizer.beta2 is 0.99999999: " + decay},
      {"optimizer.kan_learning_rate_factor=-1", "optimizer.kan_learning_rate_factor is -1: must be " + fp32},
      {"optimizer.offset_learning_rate_factor=0", "optimizer.offset_learning_rate_factor is 0: must be " + fp32},
      {"optimizer.kan_constant_rate_factor=0", "optimizer.kan_constant_rate_factor is 0: must be " + fp32},
      {"optimizer.embedding_learning_rate_factor=0", "optimizer.embedding_learning_rate_factor is 0: must be " + fp32},
      {"optimizer.muon_learning_rate=-1", "optimizer.muon_learning_rate is -1: must be 0, or " + fp32},
      {"optimizer.muon_momentum=1", "optimizer.muon_momentum is 1: " + decay},
      {"optimizer.layer_learning_rate_factor=0", "optimizer.layer_learning_rate_factor is 0: must be " + fp32},
      {"optimizer.weight_decay=-1e-3", "optimizer.weight_decay is -0.001: must be 0, or " + fp32},
      {"optimizer.beta1=1", "optimizer.beta1 is 1: " + decay},
      {"optimizer.minimum_learning_rate=0.1",
       "optimizer.minimum_learning_rate is 0.1: must not be above optimizer.learning_rate (0.008) with schedule "
       "COSINE"},
      {"optimizer.learning_rate=1e-5",
       "optimizer.minimum_learning_rate is 8e-5: must not be above optimizer.learning_rate (1e-5) with schedule "
       "COSINE"},
      {"train.batch_size=0", "train.batch_size is 0: must be from 1 to 16777216"},
      {"train.logical_shards=3", "train.logical_shards is 3: " + needs_shards},
      {"train.logical_shards=-4", "train.logical_shards is -4: " + needs_shards},
      {"train.logical_shards=32", "train.batch_size is 16: must be a multiple of train.logical_shards (32)"},
      {"train.epochs=0", "train.epochs is 0: must be above 0 where train.steps is 0, or nothing would be trained"},
      {"checkpoint.keep_last=1",
       "checkpoint.keep_last is 1: must be 2 or more, so that one damaged checkpoint does not cost the run"},
      {"fault.no_progress_limit=0", "fault.no_progress_limit is 0: must be 1 or more"},
      {"fault.inject=kill", "fault.inject is \"kill\": step=S is missing, as in segv@rank=1,step=40,phase=reduce"},
      {"log.interval_steps=0", "log.interval_steps is 0: must be 1 or more"},
  };
  for (const Case& each : cases) EXPECT_EQ(errors_of_override(each.input), "--set: " + each.message) << each.input;
}

TEST(ConfigurationErrors, CombinationsThatCanNotWork) {
  EXPECT_EQ(
      errors_of_text("model {\n  feed_forward: HYBRID layers: 3 }"),
      "a:2:24: model.layers is 3: must be even with model.feed_forward HYBRID, whose layers alternate between MLP "
      "and KAN");
  EXPECT_EQ(
      errors_of_text("log { sample_interval_steps: 9 sample_prompt: \"\" }"),
      "a:1:32: log.sample_prompt is \"\": must not be empty where log.sample_interval_steps (9) asks for samples");
  RunConfig config = load_configuration("", {}).values;
  config.model.mixers = {Mixer::kDeformableConv};
  config.model.offset_groups = 3;
  config.model.max_offset = 19;
  config.model.dilation = {1, 2};
  EXPECT_THAT(
      problems(config),
      ElementsAre("model.offset_groups is 3: must divide model.d_model (128); valid: 1, 2, 4, 8, 16, 32, 64, 128",
                  "model.max_offset is 19: must be at least (kernel_size - 1) * dilation, 20"));
}

TEST(ConfigurationErrors, GroupsMustDivideBothWidthsOfTheirFunctions) {
  const auto problems_with = [](const std::string& part, int groups) {
    RunConfig config = load_configuration("", {"model.mlp_hidden=12", "model.feed_forward=" + part}).values;
    config.model.kan_groups = groups;
    return problems(config);
  };
  for (const char* const part : {"GROUPED_KAN", "RATIONAL_KAN"}) {
    EXPECT_THAT(problems_with(part, 0), ElementsAre());
    EXPECT_THAT(problems_with(part, 4), ElementsAre());
    EXPECT_THAT(
        problems_with(part, 8),
        ElementsAre("model.kan_groups is 8: must divide model.d_model (128) and model.mlp_hidden (12); valid: 0 "
                    "for up to 8, 1, 2, 4"));
  }
  EXPECT_THAT(problems_with("MLP", 8), ElementsAre()) << "it has no such functions";
}

TEST(ConfigurationErrors, EachMixerOfAListIsChecked) {
  RunConfig config = load_configuration("", {"model.mixer=[CONV, DEFORMABLE_CONV]", "model.layers=4"}).values;
  config.model.dilation = {9, 1, 9, 2};  // the deformable ones are in layers 1 and 3
  config.model.max_offset = 19;
  EXPECT_THAT(problems(config), ElementsAre(HasSubstr("(kernel_size - 1) * dilation, 20")));
  config.model.max_offset = 20;
  EXPECT_THAT(problems(config), ElementsAre());
  config.model.mixers = {Mixer::kConv, Mixer::kAttention};
  config.model.heads = 7;
  EXPECT_THAT(problems(config), ElementsAre(HasSubstr("model.heads is 7")));
  config.model.layers = 1;
  EXPECT_THAT(problems(config), ElementsAre()) << "no layer attends";
  EXPECT_THAT(warnings(config), ::testing::Contains(HasSubstr("model.mixer names 2 mixers, model.layers is 1")));
}

TEST(ConfigurationErrors, TheFirstTapsMustBeWithinTheLargestOffset) {
  RunConfig config = load_configuration("", {"model.mixer=DEFORMABLE_CONV"}).values;
  EXPECT_THAT(problems(config), ElementsAre());
  config.model.max_offset = 9.5;  // no dilation named: 1
  EXPECT_THAT(problems(config),
              ElementsAre("model.max_offset is 9.5: must be at least (kernel_size - 1) * dilation, 10"));
}

TEST(ConfigurationWarnings, NameSettingsOfAMixerThatDoNothing) {
  const auto warnings_with = [](const std::vector<std::string>& overrides) {
    return warnings(load_configuration("", overrides).values);
  };
  EXPECT_THAT(warnings_with({"model.mixer=ATTENTION", "model.kernel_size=900"}), ElementsAre());
  EXPECT_THAT(warnings_with({"model.mixer=CONV", "model.dilation=2"}),
              ElementsAre("model.dilation is ignored: only the mixers DILATED_CONV and DEFORMABLE_CONV have one"));
  EXPECT_THAT(warnings_with({"model.mixer=DILATED_CONV"}), ElementsAre(HasSubstr("the same as CONV")));
  EXPECT_THAT(warnings_with({"model.mixer=DILATED_CONV", "model.dilation=1,8", "model.kernel_size=9"}),
              ElementsAre("model.kernel_size is 9: the farthest tap lies 64 positions back, where a row of 64 tokens "
                          "(data.sequence_length) has none; its weights never change"));
  EXPECT_THAT(warnings_with({"model.mixer=DILATED_CONV", "model.dilation=1,8", "model.kernel_size=8"}), ElementsAre());
  EXPECT_THAT(warnings_with({"model.mixer=CONV", "optimizer.muon_learning_rate=0.01"}),
              ElementsAre(HasSubstr("optimizer.muon_learning_rate is ignored")));
  EXPECT_THAT(warnings_with({"model.mixer=CONV"}), ElementsAre()) << "nobody asked for Muon";
  EXPECT_THAT(warnings_with({"model.mixer=CONV,CONVMOD", "optimizer.muon_learning_rate=0.01"}), ElementsAre());
  EXPECT_THAT(warnings_with({"optimizer.epsilon=1e-19"}), ElementsAre(HasSubstr("optimizer.epsilon is below 1e-18")));
  EXPECT_THAT(warnings_with({"model.mixer=CONV", "model.feed_forward=MLP", "optimizer.muon_learning_rate=0.01"}),
              ElementsAre());
}

TEST(ConfigurationErrors, MoreFaultsThanCanBeRemembered) {
  std::string text = "fault {";
  for (int step = 1; step <= 65; ++step) text += " inject: \"kill@step=" + std::to_string(step) + "\"";
  EXPECT_THAT(errors_of_text(text + " }"), HasSubstr("fault.inject stands 65 times: must stand 64 times at most"));
}

TEST(ConfigurationErrors, AreReportedAllAtOnce) {
  const test::TemporaryDirectory folder;
  const std::string file = (folder / "b.textproto").string();
  test::write_text(file, "run { sead: 1 }\nmodel {\n  layers: x\n  heads: 7\n  feed_forward: HYBRID\n}\n");
  const std::string expected = base::join(
      {file + ":1:7: unknown field 'sead' in run; did you mean 'seed'? Valid: directory, seed, device, threads",
       file + ":3:11: model.layers needs a whole number, found 'x'",
       "--set train.steps=-1: train.steps needs a whole number of 0 or more, found '-1'",
       file + ":4:3: model.heads is 7: must divide model.d_model (128); valid: 1, 2, 4, 8, 16, 32, 64, 128",
       "--set: checkpoint.keep_last is 0: must be 2 or more, so that one damaged checkpoint does not cost the run"},
      "\n");
  EXPECT_EQ(message_of([&] { load_configuration(file, {"train.steps=-1", "checkpoint.keep_last=0"}); }), expected);
}

TEST(ConfigurationErrors, FilesThatAreNone) {
  const test::TemporaryDirectory folder;
  test::write_text(folder / "tiny_cpu.textproto", "");
  try {
    load_configuration((folder / "tinycpu.textproto").string(), {});
    ADD_FAILURE() << "accepted a missing file";
  } catch (const MissingInputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean " + (folder / "tiny_cpu.textproto").string() + "?"));
  }
  EXPECT_THAT(message_of([&] { load_configuration(folder.path().string(), {}); }), HasSubstr("is no file"));
  EXPECT_THAT(message_of([] { load_configuration("/dev/zero", {}); }), HasSubstr("is no file"));
  test::write_text(folder / "binary", std::string("\x7f"
                                                  "ELF\0\0",
                                                  6));
  EXPECT_THAT(message_of([&] { load_configuration((folder / "binary").string(), {}); }), HasSubstr("is no text"));
  test::write_text(folder / "large", std::string(2 << 20, ' '));
  EXPECT_THAT(message_of([&] { load_configuration((folder / "large").string(), {}); }), HasSubstr("larger than 1 MB"));
}

TEST(ConfigurationErrors, AByteOrderMarkIsNone) {
  EXPECT_EQ(errors_of_text("\xEF\xBB\xBFrun { sead: 1 }"),
            "a:1:7: unknown field 'sead' in run; did you mean 'seed'? Valid: directory, seed, device, threads");
}

// Whatever the bytes, the answer is a configuration or a ConfigError of bounded length, soon.
// protobuf's tokenizer ended the program here.
TEST(ConfigurationErrors, ANumberThatIsCutOffIsAnError) {
  EXPECT_NE(errors_of_text("optimizer { learning_rate: 0x }").find("optimizer.learning_rate needs"), std::string::npos);
}

TEST(ConfigurationErrors, DamagedTextNeverDoesHarm) {
  const std::string good = to_text(load_configuration("", {"fault.inject=kill@step=1"}).values) +
                           "data { source: [{directory: 'a' weight: 2}, <directory: 'b'>] }\n";
  const std::string alphabet = "{}[]<>:;,-\"'\\#\n 09ex_aA\x80\xff";
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (int change = 0; change < 1 + round % 7; ++change) {
      const std::size_t place = random() % text.size();
      const char letter = alphabet[random() % alphabet.size()];
      if (random() % 2 == 0)
        text[place] = letter;
      else
        text.erase(place, random() % 9);
    }
    EXPECT_LT(errors_of_text(text).size(), 20000u);
  }
  for (const char* nested :
       {"{", "run {", "run { x: [", "<", "model { dilation: [", "- ", "data { source: [", "data { source: [{ x: ["}) {
    std::string text;
    while (text.size() < 500000) text += nested;
    EXPECT_LT(errors_of_text(text).size(), 20000u) << nested;
  }
}

}  // namespace
}  // namespace kangpt::config
