#include "base/terminal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/progress_line.hpp"
#include "base/text_columns.hpp"

namespace kangpt::base {
namespace {

using ::testing::HasSubstr;

using Variables = std::map<std::string, std::string>;

void forget_variables() {
  for (const char* const name : {"NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI", "TERM"}) {
    ::unsetenv(name);
  }
}

// With these of the variables that count, and no others.
TerminalUse use_with(const Variables& variables, Destination destination) {
  forget_variables();
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  const TerminalUse use = terminal_use(destination);
  forget_variables();
  return use;
}

TEST(TerminalUse, FollowsTheEnvironment) {
  struct Case {
    Variables variables;
    bool colours_on_terminal, redraws, colours_elsewhere;
  };
  const std::vector<Case> cases = {
      {{}, true, true, false},
      {{{"TERM", "xterm"}}, true, true, false},
      {{{"TERM", "dumb"}}, false, false, false},
      {{{"TERM", "dumb"}, {"FORCE_COLOR", "1"}}, true, false, true},
      {{{"CI", "true"}}, false, false, false},
      {{{"CI", "false"}}, true, true, false},
      {{{"NO_COLOR", "1"}}, false, true, false},
      {{{"NO_COLOR", ""}}, true, true, false},
      {{{"NO_COLOR", "1"}, {"FORCE_COLOR", "1"}}, false, true, false},
      {{{"FORCE_COLOR", "3"}}, true, true, true},
      {{{"FORCE_COLOR", "0"}}, false, true, false},
      {{{"CLICOLOR_FORCE", "1"}}, true, true, true},
      {{{"CLICOLOR_FORCE", "0"}}, true, true, false},
      {{{"CLICOLOR", "0"}}, false, true, false},
      {{{"CLICOLOR", "0"}, {"CLICOLOR_FORCE", "1"}}, true, true, true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::PrintToString(c.variables));
    const TerminalUse terminal = use_with(c.variables, Destination::kTerminal);
    EXPECT_EQ(terminal.colours, c.colours_on_terminal);
    EXPECT_EQ(terminal.redraws, c.redraws);
    const TerminalUse elsewhere = use_with(c.variables, Destination::kElsewhere);
    EXPECT_EQ(elsewhere.colours, c.colours_elsewhere);
    EXPECT_FALSE(elsewhere.redraws);
  }
}

TEST(TerminalUse, TheFirstVariableOfTheLocaleThatIsSetCounts) {
  for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) ::unsetenv(name);
  EXPECT_FALSE(is_utf8_locale());
  ::setenv("LANG", "en_GB.utf8", 1);
  EXPECT_TRUE(is_utf8_locale());
  ::setenv("LC_ALL", "", 1);
  EXPECT_TRUE(is_utf8_locale());
  ::setenv("LC_CTYPE", "C", 1);
  EXPECT_FALSE(is_utf8_locale());
  ::setenv("LC_ALL", "C.UTF-8", 1);
  EXPECT_TRUE(is_utf8_locale());
  for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) ::unsetenv(name);
}

TEST(TextColumns, CountsWhatATerminalShows) {
  EXPECT_EQ(columns_of(""), 0);
  EXPECT_EQ(columns_of("loss 2.5"), 8);
  EXPECT_EQ(columns_of("Grüße"), 5);
  EXPECT_EQ(columns_of("火の用心"), 8);
  EXPECT_EQ(columns_of("e\xcc\x81"), 1) << "a combining accent";
  EXPECT_EQ(columns_of("\x1b[1;32mgreen\x1b[0m"), 5);
  EXPECT_EQ(columns_of("\x1b["), 0);
  EXPECT_EQ(columns_of("\xff\xe7\x81"), 3) << "no UTF-8: at least so many";
}

TEST(TextColumns, CutsBetweenCharactersAndEndsColours) {
  EXPECT_EQ(cut_to_columns("12345678", 8), "12345678");
  EXPECT_EQ(cut_to_columns("123456789", 8), "12345...");
  EXPECT_EQ(cut_to_columns("123456789", 3), "123");
  EXPECT_EQ(cut_to_columns("火の用心", 7), "火の...");
  EXPECT_EQ(cut_to_columns("火の用心火", 8), "火の...");
  EXPECT_EQ(cut_to_columns("\x1b[32m123456789", 8), "\x1b[32m12345...\x1b[0m");
  const std::string text = "a火\x1b[32mé\x1b[0mの-" + std::string(300, 'x');
  for (int columns = 0; columns <= 200; ++columns) EXPECT_LE(columns_of(cut_to_columns(text, columns)), columns);
}

const Progress kProgress = {
    0.43,
    {{"step 129/300", 5}, {" ( 43 %)", 1}, {"  loss 2.1234", 4}, {"  火 12345 tokens/s", 2}, {"  ETA 1 min 20 s", 3}}};

TEST(FitProgress, FitsEveryWidthAndDropsTheLeastImportantFirst) {
  int most_parts = 0;
  for (int columns = 20; columns <= 200; ++columns) {
    for (const LineStyle& style : {LineStyle{columns, false, false}, LineStyle{columns, true, true}}) {
      const std::string line = fit_progress(kProgress, style);
      EXPECT_LE(columns_of(line), columns) << line;
      EXPECT_THAT(line, HasSubstr("step 129/300"));
      EXPECT_EQ(line.find('\x1b') != std::string::npos, style.colours && line.find('[') != std::string::npos) << line;
      // Nobody is there whose better is not.
      int parts = 1;
      bool is_missing = false;
      for (const char* const part : {"loss", "ETA", "tokens/s", "%"}) {
        const bool is_there = line.find(part) != std::string::npos;
        EXPECT_FALSE(is_there && is_missing) << line;
        is_missing = is_missing || !is_there;
        parts += is_there ? 1 : 0;
      }
      EXPECT_GE(parts, most_parts) << "a wider line says no less: " << line;
      most_parts = parts;
    }
  }
  EXPECT_EQ(most_parts, 5);
}

TEST(FitProgress, LinesAsTheyAre) {
  EXPECT_EQ(fit_progress(kProgress, {.columns = 100}),
            "[############.................] step 129/300 ( 43 %)  loss 2.1234  火 12345 tokens/s  ETA 1 min 20 s");
  EXPECT_EQ(fit_progress(kProgress, {.columns = 30}), "step 129/300  loss 2.1234");
  EXPECT_EQ(fit_progress(kProgress, {.columns = 10}), "step 12...");
  EXPECT_EQ(fit_progress({-1, {{", 12 kB read", 0}}}, {.columns = 80}), "12 kB read") << "no bar without an end";
}

TEST(Sparkline, ShowsTheCourseOfWhatIsFinite) {
  const LineStyle utf8{.utf8 = true}, ascii{};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(sparkline(std::vector<double>{}, 10, utf8), "");
  EXPECT_EQ(sparkline(std::vector<double>{nan}, 10, utf8), "");
  EXPECT_EQ(sparkline(std::vector<double>{3, 3}, 10, utf8), "▁▁");
  EXPECT_EQ(sparkline(std::vector<double>{8, 7, 6, nan, 5, 4, 3, 2, 1}, 10, utf8), "█▇▆▅▄▃▂▁");
  EXPECT_EQ(sparkline(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}, 10, ascii), "_.-:=+*#");
  EXPECT_EQ(sparkline(std::vector<double>{1, 3, 9, 11}, 2, utf8), "▁█");
  for (int count = 1; count < 300; ++count) {
    EXPECT_EQ(columns_of(sparkline(std::vector<double>(static_cast<std::size_t>(count), count), 60, utf8)),
              std::min(count, 60));
  }
}

}  // namespace
}  // namespace kangpt::base
