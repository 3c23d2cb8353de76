// --help-config against the text of configs/run_config.proto itself.
#include "config/help_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <regex>
#include <sstream>

#include "base/error.hpp"
#include "config/configuration.hpp"
#include "config/field_values.hpp"
#include "tests/support/files.hpp"

namespace kangpt::config {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string in_one_line(const std::string& text) {
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) line += (line.empty() ? "" : " ") + word;
  return line;
}

// Every comment of the schema that stands before or behind a field, an enumerator or a section, in one line.
std::vector<std::string> comments_of_schema() {
  std::istringstream schema(test::read_text(test::source_directory() / "configs/run_config.proto"));
  const std::regex comment(R"(^\s*// ?(.*)$)"),
      item(R"(^\s*(optional|repeated|message|[A-Z0-9_]+ = ).*?(?:// (.*))?$)");
  std::vector<std::string> comments;
  std::string before;
  for (std::string line; std::getline(schema, line) && !line.starts_with("// ----");) {  // the form of ranges
    std::smatch found;
    if (std::regex_match(line, found, comment)) {
      before += " " + found[1].str();
    } else {
      if (std::regex_match(line, found, item)) {
        // protoc takes the second line of a comment behind an enumerator for one before the next.
        const std::string start = in_one_line(before).substr(0, 5);
        EXPECT_TRUE(start.empty() || std::islower(start[0]) == 0 || start == "true:") << "cut off: " << before;
        for (const std::string& text : {in_one_line(before), in_one_line(found[2])}) {
          if (!text.empty()) comments.push_back(text);
        }
      }
      before.clear();
    }
  }
  return comments;
}

TEST(HelpText, HasEveryCommentOfTheSchemaWhole) {
  const std::vector<std::string> comments = comments_of_schema();
  ASSERT_GT(comments.size(), 80U);
  const std::string help = in_one_line(help_text("", {}));
  for (const std::string& comment : comments) EXPECT_THAT(help, HasSubstr(comment));
}

TEST(HelpText, HasTypeAndDefaultOfEveryField) {
  std::map<std::string, std::string> values;
  for (const auto& [field, value] : field_values(parse_configuration("").values)) values[field] = value;
  for (const SettingChoices& setting : setting_choices()) {
    const std::string help = in_one_line(help_text(setting.field, {}));
    const bool is_list = help.find(" a list, ") != std::string::npos;
    EXPECT_THAT(help, HasSubstr(is_list ? "each" : "; default " + values.at(setting.field))) << setting.field;
    for (const std::string& choice : setting.choices) EXPECT_THAT(help, HasSubstr(choice)) << setting.field;
  }
  EXPECT_EQ(setting_choices().size(), values.size());
  EXPECT_THAT(help_text("optimizer.schedule", {}),
              HasSubstr("\n      one of CONSTANT, COSINE, LINEAR, WSD; default COSINE\n"));
}

TEST(HelpText, FitsTheTerminal) {
  for (const int columns : {40, 80, 200}) {
    std::size_t widest = 0;
    std::istringstream help(help_text("", {.columns = columns}));
    for (std::string line; std::getline(help, line);) {
      const bool is_one_word = line.find(' ', line.find_first_not_of(' ')) == std::string::npos;
      if (!is_one_word) widest = std::max(widest, line.size());
    }
    EXPECT_LE(widest, static_cast<std::size_t>(columns));
    EXPECT_GT(widest, static_cast<std::size_t>(columns) - 15) << "room is used";
  }
  EXPECT_EQ(help_text("", {.columns = 1}), help_text("", {.columns = 40}));
}

TEST(HelpText, OfOneSectionOrFieldAndOfWrongNames) {
  EXPECT_THAT(help_text("data", {}), HasSubstr("data.source.weight"));
  EXPECT_THAT(help_text("data", {}), Not(HasSubstr("optimizer.")));
  EXPECT_THAT(help_text("data.mode", {}), Not(HasSubstr("data.shuffle")));
  EXPECT_THAT(help_text("data", {}), Not(HasSubstr("\x1b")));
  EXPECT_THAT(help_text("data", {.colours = true}), HasSubstr("\x1b[1mdata.mode\x1b[0m"));
  const auto message = [](const std::string& name) -> std::string {
    try {
      return help_text(name, {});
    } catch (const UsageError& error) {
      return error.what();
    }
  };
  EXPECT_THAT(message("optimiser"),
              HasSubstr("unknown section 'optimiser'; did you mean 'optimizer'? Valid: run, data"));
  EXPECT_THAT(message("train.step"), HasSubstr("unknown field 'step' in train; did you mean 'steps'?"));
}

}  // namespace
}  // namespace kangpt::config
