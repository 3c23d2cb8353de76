#include "launcher/report/chart.hpp"

#include <algorithm>
#include <limits>

#include "launcher/report/markup.hpp"
#include "launcher/report/scale.hpp"

namespace kangpt::report {
namespace {

constexpr double kNearestMarks = 4;    // units of the drawing: of several marks of a kind that are nearer, one is drawn
constexpr std::size_t kMostDots = 40;  // on a line, which hides behind more
constexpr int kColours = 8;

// Units of the drawing: a wide one fills the page, two small ones stand beside each other.
struct Frame {
  double width, height, left, right, top, bottom;
  int x_ticks, y_ticks;
};

Frame frame_of(Chart::Size size) {
  if (size == Chart::Size::kWide) return {720, 320, 58, 16, 22, 38, 9, 7};
  return {360, 190, 54, 12, 12, 26, 5, 5};
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

std::string coordinate(double value) {
  std::string text = fixed(value, 1);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

// Draws into a string.
class Drawing {
 public:
  explicit Drawing(const Chart& chart);
  std::string text() const;

 private:
  double x_at(double x) const { return frame_.left + x_.at(x) * (frame_.width - frame_.left - frame_.right); }
  double y_at(double y) const { return bottom() - y_.at(y) * (bottom() - frame_.top); }
  double bottom() const { return frame_.height - frame_.bottom; }
  static Range x_range(const Chart& chart);
  static Axis y_axis(const Chart& chart);

  std::string point(double x, double y) const { return coordinate(x_at(x)) + ' ' + coordinate(y_at(y)); }
  std::string grid() const;
  std::string band(const Series& series) const;
  std::string line(const Series& series) const;
  std::string dots(const Series& series) const;
  std::string mark(const Mark& mark) const;
  std::string marks(Mark::Kind kind) const;

  const Chart& chart_;
  Frame frame_;
  Axis x_;
  Axis y_;
};

Range Drawing::x_range(const Chart& chart) {
  Range range;
  for (const Series& series : chart.series) {
    if (series.buckets.empty()) continue;
    range.include(series.buckets.front().first_x);
    range.include(series.buckets.back().last_x);
  }
  for (const Mark& mark : chart.marks) range.include(mark.x);
  if (range.low > 0 && range.low < 0.1 * range.high) range.low = 0;
  return range;
}

Axis Drawing::y_axis(const Chart& chart) {
  Range range;
  for (const Series& series : chart.series) {
    for (const Bucket& bucket : series.buckets) {
      range.include(chart.bands ? bucket.lowest : bucket.mean());
      range.include(chart.bands ? bucket.highest : bucket.mean());
    }
  }
  const bool is_wide_range = range.low > 0 && range.high >= chart.logarithmic_from * range.low;
  if (chart.logarithmic_from > 0 && is_wide_range)
    return {range.low * 0.95, range.high * 1.05, Axis::Kind::kLogarithmic};
  const double margin = (range.high - range.low) * 0.04;
  const bool touches_zero = range.low >= 0 && range.low < 0.3 * range.high;  // then 0 itself tells more than a margin
  return {touches_zero ? 0 : range.low - margin, range.high + margin};
}

Drawing::Drawing(const Chart& chart)
    : chart_(chart), frame_(frame_of(chart.size)), x_(x_range(chart).low, x_range(chart).high), y_(y_axis(chart)) {}

std::string Drawing::grid() const {
  std::string lines, texts;
  const std::vector<double> y_ticks = y_.ticks(frame_.y_ticks), x_ticks = x_.ticks(frame_.x_ticks);
  const std::vector<std::string> y_texts = tick_texts(y_ticks), x_texts = tick_texts(x_ticks);
  for (std::size_t i = 0; i < y_ticks.size(); ++i) {
    const std::string y = coordinate(y_at(y_ticks[i]));
    lines += 'M' + coordinate(frame_.left) + ' ' + y + 'H' + coordinate(frame_.width - frame_.right);
    texts += text_element("text class=\"end\" x=\"" + coordinate(frame_.left - 6) + "\" y=\"" + y + "\" dy=\".32em\"",
                          y_texts[i]);
  }
  std::string ticks;
  for (std::size_t i = 0; i < x_ticks.size(); ++i) {
    const std::string x = coordinate(x_at(x_ticks[i]));
    ticks += 'M' + x + ' ' + coordinate(bottom()) + "v4";
    texts += text_element("text class=\"middle\" x=\"" + x + "\" y=\"" + coordinate(bottom() + 5) + "\" dy=\".95em\"",
                          x_texts[i]);
  }
  texts += text_element("text class=\"end\" x=\"" + coordinate(frame_.left - 14) + "\" y=\"" +
                            coordinate(bottom() + 5) + "\" dy=\".95em\"",
                        "step");
  return "<path class=\"grid\" d=\"" + lines + "\"/><path class=\"axis\" d=\"M" + coordinate(frame_.left) + ' ' +
         coordinate(bottom()) + 'H' + coordinate(frame_.width - frame_.right) + ticks + "\"/>" + texts;
}

std::string classes(const Series& series) {
  return "c" + std::to_string(series.colour % kColours) + " d" + std::to_string(series.colour / kColours % 3);
}

bool is_broken(const Series& series, const Bucket& before, const Bucket& next) {
  const auto found = std::ranges::lower_bound(series.breaks, before.last_x);
  return found != series.breaks.end() && *found < next.first_x;
}

// From minima to maxima.
std::string Drawing::band(const Series& series) const {
  std::string path;
  const auto& buckets = series.buckets;
  for (std::size_t begin = 0, end = 0; begin < buckets.size(); begin = end) {
    for (end = begin + 1; end < buckets.size() && !is_broken(series, buckets[end - 1], buckets[end]);) ++end;
    for (std::size_t i = begin; i < end; ++i)
      path += (i == begin ? 'M' : 'L') + point(buckets[i].x(), buckets[i].highest);
    for (std::size_t i = end; i-- > begin;) path += 'L' + point(buckets[i].x(), buckets[i].lowest);
    path += 'Z';
  }
  return "<path class=\"band " + classes(series) + "\" d=\"" + path + "\"/>";
}

std::string Drawing::line(const Series& series) const {
  std::string path;
  const Bucket* before = nullptr;
  for (const Bucket& bucket : series.buckets) {
    const bool begins = before == nullptr || is_broken(series, *before, bucket);
    path += (begins ? 'M' : 'L') + point(bucket.x(), bucket.mean());
    if (begins) path += "h0";  // a value that stands alone is a dot
    before = &bucket;
  }
  return "<path class=\"line " + classes(series) + "\" d=\"" + path + "\"/>";
}

std::string Drawing::dots(const Series& series) const {
  std::string path;
  for (const Bucket& bucket : series.buckets) path += 'M' + point(bucket.x(), bucket.mean()) + "h0";
  return "<path class=\"dots " + classes(series) + "\" d=\"" + path + "\"/>";
}

std::string Drawing::mark(const Mark& mark) const {
  const std::string x = coordinate(x_at(mark.x)), top = coordinate(frame_.top), base = coordinate(bottom());
  const std::string title = text_element("title", mark.text);
  switch (mark.kind) {
    case Mark::Kind::kCrash:
      return element("g class=\"crash\"", title + "<path class=\"at\" d=\"M" + x + ' ' + top + 'V' + base +
                                              "\"/><path d=\"M" + x + ' ' + coordinate(frame_.top - 6) +
                                              "m-4 -4l8 8m0 -8l-8 8\"/>");
    case Mark::Kind::kResume:
      return element("g class=\"resume\"", title + "<path class=\"at\" d=\"M" + x + ' ' + top + 'V' + base +
                                               "\"/><path class=\"filled\" d=\"M" + x + ' ' +
                                               coordinate(frame_.top - 6) + "m-4 -5l9 5l-9 5z\"/>");
    case Mark::Kind::kCheckpoint:
      return element("g class=\"checkpoint\"", title + "<path d=\"M" + x + ' ' + base + "m0 -5l4 5l-4 5l-4 -5z\"/>");
    case Mark::Kind::kNotFinite:
      return element("g class=\"not-finite\"", title + "<path d=\"M" + x + ' ' + base + "m-4 -3l4 -8l4 8z\"/>");
    case Mark::Kind::kBest:
      return element("g class=\"best\"",
                     title + "<circle cx=\"" + x + "\" cy=\"" + coordinate(y_at(mark.y)) + "\" r=\"6\"/>");
  }
  return "";
}

std::string Drawing::marks(Mark::Kind kind) const {
  std::string text;
  double last = -std::numeric_limits<double>::infinity();
  for (const Mark& each : chart_.marks) {
    const bool is_near = kind != Mark::Kind::kBest && x_at(each.x) - last < kNearestMarks;
    if (each.kind != kind || is_near) continue;
    text += mark(each);
    last = x_at(each.x);
  }
  return text;
}

std::string Drawing::text() const {
  const bool is_wide = chart_.size == Chart::Size::kWide;
  std::string content = text_element("title id=\"" + chart_.id + "-title\"", chart_.title) +
                        text_element("desc id=\"" + chart_.id + "-text\"", chart_.description) + grid();
  for (const Mark::Kind kind : {Mark::Kind::kResume, Mark::Kind::kCrash}) content += marks(kind);
  for (const Series& series : chart_.series) {
    const bool has_band = chart_.bands && !series.buckets.empty() && series.buckets.front().count > 1;
    if (has_band) content += band(series);
  }
  for (const Series& series : chart_.series) {
    if (series.buckets.empty()) continue;
    if (series.line != Series::Line::kDots) content += line(series);
    const bool has_room = series.line == Series::Line::kDots || series.buckets.size() <= kMostDots;
    if (series.line != Series::Line::kSolid && has_room) content += dots(series);
  }
  for (const Mark::Kind kind : {Mark::Kind::kCheckpoint, Mark::Kind::kNotFinite, Mark::Kind::kBest})
    content += marks(kind);
  return element("svg xmlns=\"http://www.w3.org/2000/svg\" class=\"" + std::string(is_wide ? "wide" : "small") +
                     "\" viewBox=\"0 0 " + coordinate(frame_.width) + ' ' + coordinate(frame_.height) +
                     "\" role=\"img\" aria-labelledby=\"" + chart_.id + "-title " + chart_.id + "-text\"",
                 content);
}

}  // namespace

bool is_empty(const Chart& chart) {
  return std::ranges::all_of(chart.series, [](const Series& series) { return series.buckets.empty(); });
}

std::string to_svg(const Chart& chart) {
  return Drawing(chart).text();
}

}  // namespace kangpt::report
