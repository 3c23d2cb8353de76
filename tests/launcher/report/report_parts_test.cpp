// The report's arithmetic and escaping, against brute force.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "launcher/report/chart.hpp"
#include "launcher/report/curve.hpp"
#include "launcher/report/markup.hpp"
#include "launcher/report/scale.hpp"

namespace kangpt::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<double> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(3, 1);
  std::vector<double> values(count);
  for (double& value : values) value = normal(random);
  return values;
}

TEST(Curve, KeepsEachValueWhereThereIsRoom) {
  Curve curve(10);
  for (int i = 1; i <= 10; ++i) curve.add(i, i * i);
  ASSERT_EQ(curve.buckets().size(), 10U);
  for (int i = 1; i <= 10; ++i) {
    const Bucket& bucket = curve.buckets()[static_cast<std::size_t>(i - 1)];
    EXPECT_EQ(bucket.x(), i);
    EXPECT_EQ(bucket.mean(), i * i);
  }
}

// Each bucket says of its stretch what a pass over all values says.
TEST(Curve, LosesNoMinimumNoMaximumAndNoValue) {
  for (const std::size_t most : {2U, 7U, 100U, 400U}) {
    for (const std::size_t count : {1U, 2U, 99U, 401U, 12'345U, 100'000U}) {
      const std::vector<double> values = random_values(count, static_cast<unsigned>(count));
      Curve curve(most);
      for (std::size_t i = 0; i < count; ++i) curve.add(static_cast<double>(3 * i), values[i]);
      const std::vector<Bucket>& buckets = curve.buckets();
      ASSERT_LE(buckets.size(), most);
      EXPECT_GE(buckets.size(), std::min(count, most / 2));
      std::size_t next = 0;
      for (const Bucket& bucket : buckets) {
        const auto first = values.begin() + static_cast<std::ptrdiff_t>(next),
                   last = first + static_cast<std::ptrdiff_t>(bucket.count);
        EXPECT_EQ(bucket.first_x, static_cast<double>(3 * next));
        next += bucket.count;
        EXPECT_EQ(bucket.last_x, static_cast<double>(3 * (next - 1)));
        EXPECT_EQ(bucket.lowest, *std::min_element(first, last));
        EXPECT_EQ(bucket.highest, *std::max_element(first, last));
        EXPECT_NEAR(bucket.mean(), std::accumulate(first, last, 0.0) / static_cast<double>(bucket.count), 1e-9);
        EXPECT_TRUE(&bucket == &buckets.back() || bucket.count == buckets.front().count);
      }
      EXPECT_EQ(next, count);
    }
  }
}

TEST(Curve, RemembersApartWhatIsNotFinite) {
  Curve curve(4);
  curve.add(1, 2);
  for (const double value : {std::nan(""), std::numeric_limits<double>::infinity(), -1e300}) curve.add(2, value);
  curve.add(3, 4);
  EXPECT_EQ(curve.buckets().size(), 2U);
  EXPECT_THAT(curve.not_finite(), ElementsAre(2, 2, 2));
}

double significand(double value) {
  const double digits = std::abs(value) / std::pow(10, std::floor(std::log10(std::abs(value)) + 1e-9));
  return std::round(digits * 1e6) / 1e6;
}

// Against a search over all steps of the form {1, 2, 5} * 10^k.
TEST(Ticks, AreTheFinestMultiplesOfOneTwoOrFive) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> exponent(-12, 12), sign(-1, 1);
  for (int round = 0; round < 2000; ++round) {
    double low = std::copysign(std::pow(10, exponent(random)), sign(random)), high = std::pow(10, exponent(random));
    if (low > high) std::swap(low, high);
    if (high - low < 1e-6 * std::max(std::abs(low), std::abs(high))) continue;
    const std::vector<double> ticks = linear_ticks(low, high, 6);
    ASSERT_LE(ticks.size(), 6U);
    ASSERT_GE(ticks.size(), 1U) << low << ' ' << high;
    const double tolerance = 1e-8 * (high - low);
    for (const double tick : ticks) EXPECT_TRUE(tick >= low - tolerance && tick <= high + tolerance) << tick;
    if (ticks.size() < 2) continue;
    const double step = ticks[1] - ticks[0];
    EXPECT_THAT(significand(step), ::testing::AnyOf(1, 2, 5)) << low << ' ' << high;
    EXPECT_NEAR(ticks[0] / step, std::round(ticks[0] / step), 1e-4) << "a multiple of the step";
    const double finer = step / (significand(step) == 5 ? 2.5 : 2);
    EXPECT_GT(std::floor(high / finer) - std::ceil(low / finer) + 1, 6 - 1e-6) << low << ' ' << high;
    const std::vector<std::string> texts = tick_texts(ticks);
    EXPECT_EQ(std::set<std::string>(texts.begin(), texts.end()).size(), ticks.size()) << texts[0];
  }
}

TEST(Ticks, HaveShortTexts) {
  EXPECT_THAT(tick_texts({0, 0.00005, 0.001, 0.25, 10}), ElementsAre("0", "5e-5", "0.001", "0.25", "10"));
  EXPECT_THAT(tick_texts({-500, 1000, 1500, 20e6, 3e9}), ElementsAre("-500", "1k", "1.5k", "20M", "3G"));
  EXPECT_THAT(logarithmic_ticks(1.5, 30, 8), ElementsAre(2, 5, 10, 20));
  EXPECT_THAT(logarithmic_ticks(0.9, 2000, 5), ElementsAre(1, 10, 100, 1000));
}

TEST(Ticks, EndWhateverTheRange) {
  const double largest = Curve::kLargest, smallest = std::numeric_limits<double>::denorm_min();
  for (const auto& [low, high] : std::vector<std::pair<double, double>>{
           {0, 0}, {5, 5}, {-largest, largest}, {smallest, largest}, {1e15, 1e15 + 0.25}, {0, smallest}, {-3, -3}}) {
    for (const Axis::Kind kind : {Axis::Kind::kLinear, Axis::Kind::kLogarithmic}) {
      const Axis axis(low, high, kind);
      EXPECT_LE(axis.ticks(6).size(), 1000U);
      EXPECT_TRUE(std::isfinite(axis.at(low)) && std::isfinite(axis.at(high))) << low << ' ' << high;
    }
  }
}

TEST(Axis, MapsItsEndsAndWhatLiesBetween) {
  const Axis linear(2, 10), logarithmic(1, 100, Axis::Kind::kLogarithmic), negative(-1, 100, Axis::Kind::kLogarithmic);
  EXPECT_EQ(linear.at(2), 0);
  EXPECT_EQ(linear.at(10), 1);
  EXPECT_EQ(linear.at(4), 0.25);
  EXPECT_NEAR(logarithmic.at(10), 0.5, 1e-12);
  EXPECT_EQ(negative.kind(), Axis::Kind::kLinear) << "there is no logarithm of what is below 0";
}

TEST(Escaping, LeavesNoMarkupAndNoByteThatXmlForbids) {
  EXPECT_EQ(escaped("<script>\"a\" & 'b'</script>"), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;");
  EXPECT_EQ(escaped("caf\xC3\xA9 \xF0\x9F\x98\x80\n\t"), "caf\xC3\xA9 \xF0\x9F\x98\x80\n\t");
  EXPECT_EQ(escaped(std::string_view("\0\x1B\x7F\r", 4)), "\xE2\x90\x80\xE2\x90\x9B\xE2\x90\xA1\xE2\x90\x8D");
  const std::string replaced = "\xEF\xBF\xBD";
  EXPECT_EQ(escaped("\xC3"), replaced) << "cut off";
  EXPECT_EQ(escaped("\xC3<"), replaced + "&lt;") << "what follows is not swallowed";
  EXPECT_EQ(escaped("\xC0\xBC"), replaced + replaced) << "an overlong '<'";
  EXPECT_EQ(escaped("\xED\xA0\x80"), replaced + replaced + replaced) << "half a surrogate pair";
  EXPECT_EQ(escaped("\xEF\xBF\xBE"), replaced + replaced + replaced) << "U+FFFE";
  EXPECT_EQ(escaped("\xF5\x80\x80\x80"), replaced + replaced + replaced + replaced) << "above U+10FFFF";
}

TEST(Numbers, AreShort) {
  EXPECT_EQ(number(0.03125), "0.03125");
  EXPECT_EQ(number(12345.4), "12,345");
  EXPECT_EQ(number(-1234), "-1,234");
  EXPECT_EQ(number(0.00003), "3e-5");
  EXPECT_EQ(number(1e20), "1.000e20");
  EXPECT_EQ(number(std::nan("")), "not finite");
  EXPECT_EQ(time_text(1772366584), "2026-03-01 12:03:04 UTC");
  EXPECT_EQ(time_text(-1), "an unknown time");
  EXPECT_EQ(percent_encoded("a,1\n#\"<\xFF"), "a,1%0A%23%22%3C%FF");
}

Chart chart_of(const std::vector<double>& values, const std::vector<double>& breaks) {
  Curve curve(100);
  for (std::size_t i = 0; i < values.size(); ++i) curve.add(static_cast<double>(i + 1), values[i]);
  return {.id = "a", .title = "t", .series = {{.name = "s", .buckets = curve.buckets(), .breaks = breaks}}};
}

std::size_t pieces_of_line(const Chart& chart) {
  const std::string svg = to_svg(chart);
  const std::size_t begin = svg.find("class=\"line");
  const std::string path = svg.substr(begin, svg.find("/>", begin) - begin);
  return static_cast<std::size_t>(std::ranges::count(path, 'M'));
}

TEST(Chart, BreaksItsLineWhereSomethingWentOn) {
  EXPECT_EQ(pieces_of_line(chart_of({5, 4, 3, 2, 1}, {})), 1U);
  EXPECT_EQ(pieces_of_line(chart_of({5, 4, 3, 2, 1}, {2})), 2U) << "between step 2 and 3";
  EXPECT_EQ(pieces_of_line(chart_of({5, 4, 3, 2, 1}, {0, 2, 2, 4, 9})), 3U) << "once each, and only within";
}

TEST(Chart, DrawsWhatIsHigherHigher) {
  Chart chart = chart_of({8, 2}, {});
  chart.marks = {{Mark::Kind::kBest, 1, 8, "<best>"}, {Mark::Kind::kBest, 2, 2, "lower"}};
  const std::string svg = to_svg(chart);
  const auto y_behind = [&](const std::string& text) {
    const std::size_t at = svg.find("cy=\"", svg.find(text));
    return std::stod(svg.substr(at + 4));
  };
  EXPECT_LT(y_behind("&lt;best&gt;"), y_behind("lower")) << "y grows downwards";
  EXPECT_THAT(svg, Not(HasSubstr("<best>")));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace kangpt::report
