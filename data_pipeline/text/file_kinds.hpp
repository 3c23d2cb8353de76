// Tells UTF-8 text from files of other kinds by their first bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace kangpt::data {

inline constexpr std::size_t kHeadBytes = 8192;

// `head` is the first kHeadBytes of a source, decompressed, or all of it. Throws DataError with what it is: a known
// kind of file, text in UTF-16 or UTF-32 with or without a byte order mark, or another binary file. Zero bytes in what
// is UTF-8 otherwise are no reason to refuse it.
void check_is_text(std::string_view head, const std::string& name);

// True where the first line is an object of JSON, or the text begins as an array of them.
bool looks_like_json(std::string_view head) noexcept;

}  // namespace kangpt::data
