#include "config/configuration.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <sstream>

#include "base/error.hpp"
#include "config/field_changes.hpp"
#include "config/layers.hpp"
#include "tests/support/files.hpp"

namespace kangpt::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Configuration, TheBuiltInDefaultIsTheTinyStoriesKanRun) {
  const RunConfig config = load_configuration("", {}).values;
  EXPECT_EQ(config.run.directory, "runs/tinystories_kan");
  EXPECT_EQ(config.data.directory, "data/tinystories");
  EXPECT_EQ(config.data.mode, DataMode::kPacked);
  EXPECT_EQ(config.model.vocabulary_size, 0) << "as in the data";
  EXPECT_EQ(config.model.sequence_length, 64);
  EXPECT_EQ(config.model.d_model, 128);
  EXPECT_EQ(config.model.layers, 16);
  EXPECT_EQ(config.model.heads, 8);
  EXPECT_EQ(config.model.feed_forward, FeedForward::kKan);
  EXPECT_THAT(config.model.mixers, ElementsAre(Mixer::kAttention));
  EXPECT_THAT(config.model.dilation, ElementsAre(1));
  EXPECT_EQ(config.model.head_dim, 16);
  EXPECT_EQ(config.model.kan_degree, 4);
  EXPECT_TRUE(config.model.final_norm);
  EXPECT_EQ(config.optimizer.learning_rate, 8e-3);
  EXPECT_EQ(config.optimizer.minimum_learning_rate, 8e-5);
  EXPECT_EQ(config.optimizer.schedule, Schedule::kCosine);
  EXPECT_EQ(config.optimizer.warmup_steps, 60U);
  EXPECT_EQ(config.optimizer.beta2, 0.99);
  EXPECT_EQ(config.optimizer.gradient_clip_norm, 1);
  EXPECT_EQ(config.optimizer.embedding_learning_rate_factor, 15);
  EXPECT_EQ(config.optimizer.kan_learning_rate_factor, 0.025);
  EXPECT_EQ(config.optimizer.kan_constant_rate_factor, 0.01);
  EXPECT_EQ(config.optimizer.muon_learning_rate, 0.02);
  EXPECT_EQ(config.checkpoint.resume, Resume::kAuto);
  EXPECT_THAT(config.fault.inject, IsEmpty());
  EXPECT_THAT(problems(config), IsEmpty());
}

TEST(Configuration, TheNamedRunOfTheDefaultHasItsValues) {
  const auto file = test::source_directory() / "configs" / "tinystories_kan.textproto";
  EXPECT_EQ(to_text(load_configuration(file.string(), {}).values), to_text(load_configuration("", {}).values));
}

TEST(Configuration, TheRateOfMuonFollowsTheLearningRateUnlessItIsSet) {
  const auto rate = [](const std::vector<std::string>& overrides) {
    return load_configuration("", overrides).values.optimizer.muon_learning_rate;
  };
  EXPECT_DOUBLE_EQ(rate({"optimizer.learning_rate=4e-3"}), 0.01);
  EXPECT_EQ(rate({"optimizer.learning_rate=4e-3", "optimizer.muon_learning_rate=0.02"}), 0.02);
  EXPECT_EQ(rate({"optimizer.learning_rate=4e-3", "optimizer.muon_learning_rate=0"}), 0);
  EXPECT_THAT(warnings(load_configuration("", {"model.mixer=CONV", "optimizer.learning_rate=3e-3"}).values), IsEmpty());
}

// It must stay what it is, whatever the built-in settings become.
TEST(Configuration, TheReferenceStatesAllThatItsBitsDependOn) {
  const auto file = test::source_directory() / "configs" / "upstream_parity.textproto";
  const Configuration reference = load_configuration(file.string(), {});
  const std::vector<std::string> others = {// of parts that it does not have
                                           "model.kernel_size", "model.dilation",        "model.offset_groups",
                                           "model.max_offset",  "model.initial_weights", "model.kan_groups"};
  for (const auto& [field, origin] : reference.origins) {
    const bool decides = field.starts_with("model.") || field.starts_with("optimizer.");
    if (!decides || std::ranges::find(others, field) != others.end()) continue;
    EXPECT_NE(origin, "default") << field;
  }
}

TEST(Configuration, EveryNamedRunIsValid) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_directory() / "configs")) {
    if (entry.path().extension() != ".textproto") continue;
    ++count;
    EXPECT_EQ(test::read_text(entry.path()).front(), '#') << entry.path() << " does not say what it is for";
    const RunConfig config = load_configuration(entry.path().string(), {}).values;
    EXPECT_EQ(config.run.directory, "runs/" + entry.path().stem().string());
    EXPECT_THAT(warnings(config), IsEmpty()) << entry.path();
  }
  EXPECT_GE(count, 5);
}

TEST(Configuration, AcceptsWhatTextFormatAccepts) {
  const RunConfig config = parse_configuration(R"(# a comment
      run: { directory: 'runs/' "caf\303\251"; seed: 0xff, threads: 010 }
      model < d_model: 256; dilation: [1, 2] dilation: 4 >
      model { final_norm: false }
      optimizer { learning_rate: .5e-2 minimum_learning_rate: 0 }
      data { mode:
        STORY })")
                               .values;
  EXPECT_EQ(config.run.directory, "runs/caf\u00e9");
  EXPECT_EQ(config.run.seed, 255u);
  EXPECT_EQ(config.run.threads, 8);
  EXPECT_EQ(config.model.d_model, 256);
  EXPECT_THAT(config.model.dilation, ElementsAre(1, 2, 4));
  EXPECT_FALSE(config.model.final_norm);
  EXPECT_EQ(config.optimizer.learning_rate, 0.005);
  EXPECT_EQ(config.data.mode, DataMode::kStory);
}

TEST(Configuration, OverridesComeAfterTheFile) {
  const test::TemporaryDirectory folder;
  test::write_text(folder / "a.textproto",
                   "run { seed: 1 }\nmodel { dilation: 7 }\nfault { inject: \"kill@step=1\" }\n");
  const RunConfig config =
      load_configuration((folder / "a.textproto").string(),
                         {"run.seed=2", "run.seed=3", "model.dilation=1,2,4", "fault.inject=stop@rank=1,step=2",
                          "run.directory=runs/a b", "log.sample_prompt=\"Tom \\\"the cat\\\"\"", "data.mode=STORY"})
          .values;
  EXPECT_EQ(config.run.seed, 3u);
  EXPECT_THAT(config.model.dilation, ElementsAre(1, 2, 4));
  EXPECT_THAT(config.fault.inject, ElementsAre("kill@step=1", "stop@rank=1,step=2"));
  EXPECT_EQ(config.run.directory, "runs/a b");
  EXPECT_EQ(config.log.sample_prompt, "Tom \"the cat\"");
  EXPECT_EQ(config.data.mode, DataMode::kStory);
  const auto with = [&](const std::string& change) {
    return load_configuration((folder / "a.textproto").string(), {change}).values;
  };
  EXPECT_THAT(with("fault.inject=").fault.inject, IsEmpty());
  EXPECT_THAT(with("model.dilation=[4, 2]").model.dilation, ElementsAre(4, 2));
  EXPECT_THAT(with("model.dilation=[]").model.dilation, ElementsAre(1));
}

TEST(Configuration, AMixerIsOneOrAListThatIsCycledOverTheLayers) {
  const auto mixers = [](const std::string& text) { return parse_configuration(text).values.model.mixers; };
  EXPECT_THAT(mixers(""), ElementsAre(Mixer::kAttention));
  EXPECT_THAT(mixers("model { mixer: CONV }"), ElementsAre(Mixer::kConv));
  EXPECT_THAT(mixers("model { mixer: [ATTENTION, CONVMOD, CONVMOD] }"),
              ElementsAre(Mixer::kAttention, Mixer::kConvMod, Mixer::kConvMod));
  const auto with = [](const std::string& value) {
    return load_configuration("", {"model.mixer=CONV", "model.mixer=" + value}).values;
  };
  EXPECT_THAT(with("CONVMOD").model.mixers, ElementsAre(Mixer::kConvMod)) << "in place of the one before";
  const RunConfig config = with("[ATTENTION, CONVMOD]");
  EXPECT_THAT(config.model.mixers, ElementsAre(Mixer::kAttention, Mixer::kConvMod));
  EXPECT_EQ(layer_mixer(config.model, 5), Mixer::kConvMod);
  EXPECT_EQ(layer_mixer(config.model, 6), Mixer::kAttention);
  EXPECT_THAT(with("ATTENTION,CONV").model.mixers, ElementsAre(Mixer::kAttention, Mixer::kConv));
  EXPECT_EQ(parse_configuration(to_text(config)).values.model.mixers, config.model.mixers);
  EXPECT_THAT(to_text(with("CONVMOD")), HasSubstr("\n  mixer: CONVMOD\n")) << "as older programs wrote and read it";
}

TEST(Configuration, EveryFieldHasAnOrigin) {
  const test::TemporaryDirectory folder;
  const std::string file = (folder / "a.textproto").string();
  test::write_text(file, "run {\n  seed: 1\n}\nmodel { layers: 2 }\n");
  const Configuration configuration = load_configuration(file, {"model.layers=4", "train.steps=7"});
  EXPECT_EQ(configuration.origins.at("run.seed"), file + ":2");
  EXPECT_EQ(configuration.origins.at("model.layers"), "--set");
  EXPECT_EQ(configuration.origins.at("train.steps"), "--set");
  EXPECT_EQ(configuration.origins.at("optimizer.beta1"), "default");
  EXPECT_EQ(configuration.origins.at("fault.inject"), "default");
}

TEST(Configuration, TheAnnotatedTextNamesOriginsAndCanBeReadAgain) {
  const Configuration configuration = load_configuration("", {"optimizer.learning_rate=0.0003"});
  const std::string text = to_annotated_text(configuration);
  EXPECT_EQ(to_text(parse_configuration(text).values), to_text(configuration.values));
  std::istringstream lines(text);
  std::size_t column = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with("{") || line == "}") continue;
    const std::size_t comment = line.find("  # ");
    ASSERT_NE(comment, std::string::npos) << line;
    const std::size_t start = comment + 2;
    if (column == 0) column = start;
    EXPECT_EQ(start, column) << line;
    const bool is_changed = line.starts_with("  learning_rate: 3e-4 ");
    EXPECT_TRUE(line.ends_with(is_changed ? "# --set" : "# default")) << line;
  }
  EXPECT_GT(column, 0u);
}

// A valid configuration with every field drawn at random.
class RandomConfiguration {
 public:
  explicit RandomConfiguration(unsigned seed) : random_(seed) {}

  RunConfig draw() {
    RunConfig config;
    config.run = {text(), random_(), choice<Device>(2), whole(0, 1024)};
    config.data = {text(), choice<DataMode>(3), choice<Shuffle>(3), whole(2, 65536), fraction() / 2, flag()};
    draw_model(config);
    const double rate = factor();
    config.optimizer = {rate,      fraction(),        fraction(), factor(), factor(), choice<Schedule>(4),
                        random_(), rate * fraction(), factor(),   factor(), factor()};
    config.optimizer.decay_steps = random_();
    config.train = {
        whole(1, 1000) * 8, random_(),           number(), 1 << whole(0, 3), choice<Precision>(1), choice<Reduction>(2),
        random_(),          choice<Recompute>(2)};
    config.checkpoint = {random_(), number(), whole(2, 100), random_(), choice<Resume>(3), random_() / 2 + 1, flag()};
    config.fault = {whole(0, 1000),       whole(1, 9), number(),
                    choice<NonFinite>(3), number(),    {"kill@step=1", "nan@step=2"}};
    config.log = {random_() / 2 + 1, flag(), random_(), random_(), text(), flag()};
    return config;
  }

 private:
  void draw_model(RunConfig& config) {
    ModelConfig& model = config.model;
    const int heads = whole(1, 16);
    model = {whole(2, 100000),
             config.data.sequence_length,
             heads * whole(1, 64),
             2 * whole(1, 512),
             heads,
             whole(1, 1024),
             {Mixer::kAttention, Mixer::kConv},
             whole(1, 1024),
             {whole(1, 9), whole(1, 9)},
             whole(1, 64),
             65536 * fraction(),
             choice<FeedForward>(6),
             whole(1, 16),
             whole(1, 4096),
             whole(0, 1),
             flag(),
             text()};
  }
  int whole(int minimum, int maximum) { return std::uniform_int_distribution<int>(minimum, maximum)(random_); }
  bool flag() { return whole(0, 1) == 1; }
  double fraction() { return std::uniform_real_distribution<double>(0, 0.999)(random_); }
  double number() { return std::ldexp(fraction() + 0.001, whole(-900, 900)); }
  double factor() { return std::ldexp(fraction() + 0.001, whole(-20, 20)); }
  template <typename Enum>
  Enum choice(int count) {
    return static_cast<Enum>(whole(0, count - 1));
  }
  std::string text() {
    std::string result = "x";
    for (int i = whole(0, 12); i > 0; --i) result += static_cast<char>(whole(1, 255));
    return result;
  }

  std::mt19937_64 random_;
};

TEST(Configuration, TextReadsBackToTheSameBits) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    const RunConfig config = RandomConfiguration(seed).draw();
    const std::string text = to_text(config);
    const RunConfig again = parse_configuration(text).values;
    ASSERT_EQ(to_text(again), text);
    EXPECT_EQ(again.run.directory, config.run.directory);
    EXPECT_EQ(again.run.seed, config.run.seed);
    EXPECT_EQ(again.data.mode, config.data.mode);
    EXPECT_EQ(again.data.accept_changed, config.data.accept_changed);
    EXPECT_EQ(again.model.mixers, config.model.mixers);
    EXPECT_EQ(again.model.dilation, config.model.dilation);
    EXPECT_EQ(again.model.max_offset, config.model.max_offset);
    EXPECT_EQ(again.model.feed_forward, config.model.feed_forward);
    EXPECT_EQ(again.optimizer.learning_rate, config.optimizer.learning_rate);
    EXPECT_EQ(again.optimizer.minimum_learning_rate, config.optimizer.minimum_learning_rate);
    EXPECT_EQ(again.optimizer.embedding_learning_rate_factor, config.optimizer.embedding_learning_rate_factor);
    EXPECT_EQ(again.optimizer.layer_learning_rate_factor, config.optimizer.layer_learning_rate_factor);
    EXPECT_EQ(again.optimizer.kan_learning_rate_factor, config.optimizer.kan_learning_rate_factor);
    EXPECT_EQ(again.optimizer.offset_learning_rate_factor, config.optimizer.offset_learning_rate_factor);
    EXPECT_EQ(again.optimizer.kan_constant_rate_factor, config.optimizer.kan_constant_rate_factor);
    EXPECT_EQ(again.optimizer.muon_learning_rate, config.optimizer.muon_learning_rate);
    EXPECT_EQ(again.optimizer.muon_momentum, config.optimizer.muon_momentum);
    EXPECT_EQ(again.train.epochs, config.train.epochs);
    EXPECT_EQ(again.checkpoint.resume, config.checkpoint.resume);
    EXPECT_EQ(again.fault.inject, config.fault.inject);
    EXPECT_EQ(again.log.sample_prompt, config.log.sample_prompt);
  }
}

TEST(Configuration, NumbersAreWrittenInTheirShortestForm) {
  RunConfig config = load_configuration("", {}).values;
  const std::vector<std::pair<double, std::string>> cases = {
      {0.1, "0.1"},   {1e-5, "1e-5"},       {3e-4, "3e-4"},    {1, "1"}, {1.0 / 3, "0.3333333333333333"},
      {1e22, "1e22"}, {1.5e300, "1.5e300"}, {5e-324, "5e-324"}};
  for (const auto& [value, text] : cases) {
    config.fault.loss_spike_sigma = value;
    EXPECT_THAT(to_text(config), HasSubstr("  loss_spike_sigma: " + text + "\n"));
    EXPECT_EQ(parse_configuration(to_text(config)).values.fault.loss_spike_sigma, value);
  }
}

TEST(Configuration, AShortRunWithTheDefaultWarmUpIsAWarningOnly) {
  const RunConfig config = load_configuration("", {"train.steps=20"}).values;
  EXPECT_THAT(warnings(config), ElementsAre("optimizer.warmup_steps is 60, train.steps 20: the run ends before the "
                                            "learning rate is at its full value"));
}

TEST(Configuration, ChangedFieldsAreNamedWithBothValues) {
  const RunConfig before =
      load_configuration("", {"model.dilation=1,2", "data.source={directory: \"a\"}", "fault.inject=kill@step=3"})
          .values;
  RunConfig now = before;
  EXPECT_TRUE(field_changes(before, now).empty());
  now.model.dilation = {1, 4};
  now.data.mode = DataMode::kStory;
  now.data.sources.push_back({"b", 2});
  now.optimizer.learning_rate = 3e-4;
  now.fault.inject.clear();
  std::vector<std::string> changes;
  for (const FieldChange& change : field_changes(before, now))
    changes.push_back(change.field + ": " + change.before + " -> " + change.now);
  EXPECT_THAT(
      changes,
      ElementsAre("data.mode: PACKED -> STORY",
                  "data.source: { directory: \"a\" weight: 1 } -> [{ directory: \"a\" weight: 1 }, { directory: "
                  "\"b\" weight: 2 }]",
                  "model.dilation: [1, 2] -> [1, 4]", "optimizer.learning_rate: 0.008 -> 3e-4",
                  "fault.inject: \"kill@step=3\" -> []"));
  EXPECT_EQ(differing_network_fields(now.model, before.model), "model.dilation is [1, 4], not [1, 2]");
  now.model.initial_weights = "w";
  now.model.sequence_length = 32;
  EXPECT_EQ(differing_network_fields(now.model, before.model),
            "data.sequence_length is 32, not 64; model.dilation is [1, 4], not [1, 2]");
}

TEST(Configuration, GroupsAndValuesMayStandInOneList) {
  const std::string expected =
      to_text(parse_configuration("data { source { directory: \"a\" weight: 3 } source { directory: \"b\" } }").values);
  for (const std::string text : {"source: [{directory: 'a' weight: 3}, {directory: 'b'}]",
                                 "source [ <directory: 'a', weight: 3>, { directory: 'b' } ]",
                                 "source: [{directory: 'a' weight: 3}] source: [] source { directory: 'b' }"}) {
    EXPECT_EQ(to_text(parse_configuration("data { " + text + " }").values), expected) << text;
  }
  for (const std::string value :
       {"[{directory: 'a' weight: 3}, {directory: 'b'}]", "{directory: 'a' weight: 3}, {directory: 'b'}",
        "<directory: \"a\" weight: 3> {directory: \"b\"}"}) {
    EXPECT_EQ(to_text(load_configuration("", {"data.source={directory: 'x'}", "data.source=" + value}).values),
              expected)
        << "in place of what was there: " << value;
  }
  EXPECT_TRUE(load_configuration("", {"data.source={directory: 'x'}", "data.source="}).values.data.sources.empty());
}

TEST(Configuration, DataSourcesStandInBracesAndKeepTheirOrder) {
  const std::string text = "data { source { directory: \"a\" weight: 0.25 } source: < directory: 'b' > }";
  const Configuration configuration = parse_configuration(text, "f");
  const std::vector<DataSource>& sources = configuration.values.data.sources;
  ASSERT_EQ(sources.size(), 2U);
  EXPECT_EQ(sources[0].directory, "a");
  EXPECT_EQ(sources[0].weight, 0.25);
  EXPECT_EQ(sources[1].directory, "b");
  EXPECT_EQ(sources[1].weight, 1);
  EXPECT_THAT(to_text(configuration.values), HasSubstr("  source { directory: \"a\" weight: 0.25 }\n"));
  EXPECT_EQ(to_text(parse_configuration(to_text(configuration.values)).values), to_text(configuration.values));
  EXPECT_THAT(to_annotated_text(configuration), HasSubstr("# f:1"));
  EXPECT_TRUE(parse_configuration("data { }").values.data.sources.empty());
}

}  // namespace
}  // namespace kangpt::config
