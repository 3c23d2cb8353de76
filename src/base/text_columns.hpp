// Text measured in columns of a terminal: UTF-8 characters take none, one or two, escape codes none.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/terminal.hpp"

namespace kangpt::base {

int columns_of(std::string_view text);

// `text` where it has at most so many columns; else its beginning, with "..." at the end where there is room for it,
// and colours switched off.
std::string cut_to_columns(std::string_view text, int columns);

// The course of `values` in one line of at most `columns` characters, each the mean of an equal share of them; what is
// not finite is left out. Low to high: "▁▂▃▄▅▆▇█", or "_.-:=+*#" where that can't be shown. Empty without values.
std::string sparkline(std::span<const double> values, int columns, const LineStyle& style);

// With the escape code of a colour (of "1;32m") where `style` has colours.
std::string coloured(std::string_view text, std::string_view code, const LineStyle& style);

}  // namespace kangpt::base
