// Text and numbers as they stand in a page.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kangpt::report {

// For the content of an element and for an attribute in quotes, of HTML and of XML: whatever bytes `text` has, nothing
// in it is markup. What is no UTF-8, and what XML does not allow, becomes U+FFFD; control characters but tab and line
// feed become their pictures (U+2400 and following).
std::string escaped(std::string_view text);

// <TAG ATTRIBUTES>MARKUP</TAG>; `opening` is "TAG ATTRIBUTES".
std::string element(std::string_view opening, std::string_view markup);
// The same around text that is to be escaped.
std::string text_element(std::string_view opening, std::string_view text);

std::string fixed(double value, int decimals);  // "2.4785"; "not finite"
std::string number(double value);               // four digits, whole from 1,000 on: "0.03125", "3e-5"; "not finite"
std::string short_number(double value);         // for axes: "0.25", "1.5k", "20M", "3e-5"
std::string time_text(double unix_seconds);     // "2026-03-01 12:03:04 UTC"

// For a data: URI.
std::string percent_encoded(std::string_view text);

}  // namespace kangpt::report
