// Line charts as SVG: several curves over the steps of a run, with marks for what happened.
#pragma once

#include <string>
#include <vector>

#include "launcher/report/curve.hpp"

namespace kangpt::report {

struct Series {
  enum class Line { kSolid, kSolidWithDots, kDots };  // a dot for each value, for curves of few values
  std::string name;
  int colour = 0;  // of the palette of the page, 0 to 7; what is above begins again with another pattern of dashes
  Line line = Line::kSolid;
  std::vector<Bucket> buckets;
  std::vector<double> breaks;  // ascending: no line is drawn across these
};

struct Mark {
  enum class Kind { kCrash, kResume, kCheckpoint, kNotFinite, kBest };
  Kind kind = Kind::kCrash;
  double x = 0;
  double y = 0;  // kBest alone is at a value
  std::string text;
};

struct Chart {
  enum class Size { kWide, kSmall };
  std::string id;  // of the element; letters, digits and "-"
  std::string title;
  std::string description;  // for those who can't see it
  Size size = Size::kSmall;
  double logarithmic_from = 0;  // ratio of the highest to the lowest value from which the axis is logarithmic; 0: never
  bool bands = true;            // from minima to maxima, where a point of the line stands for several values
  std::vector<Series> series;
  std::vector<Mark> marks;  // in the order of their steps
};

// True where a chart would have nothing to show.
bool is_empty(const Chart& chart);

// An <svg> element, well-formed XML. Its colours are the classes of the page's style.
std::string to_svg(const Chart& chart);

}  // namespace kangpt::report
