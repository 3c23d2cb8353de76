#include "data_pipeline/preprocess/split_notes.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/format.hpp"
#include "base/log.hpp"
#include "data_pipeline/text/input_files.hpp"

namespace kangpt::data {
namespace {

constexpr std::size_t kMostLogged = 5;
constexpr std::uint64_t kLongStoryBytes = 1000000;  // more than most stories, and less than most books

}  // namespace

std::string SplitNotes::text(const std::optional<Place>& place) {
  if (!place) return "";
  return " (the first in the story at byte " + std::to_string(place->offset_bytes) + " of " + place->source + ")";
}

void SplitNotes::see_story(const EncodedStory& story, const std::string& source) {
  const auto keep_first = [&](std::uint64_t count, std::optional<Place>& place) {
    if (count > 0 && !place) place = Place{source, story.offset_bytes};
  };
  keep_first(story.odd.separators_in_text, separator_);
  keep_first(story.odd.zero_bytes, zero_byte_);
  keep_first(story.odd.byte_order_marks, byte_order_mark_);
}

void SplitNotes::see_skipped(const std::vector<std::string>& problems, const std::string& source) {
  for (const std::string& problem : problems) {
    if (logged_ > kMostLogged) return;
    ++logged_;
    base::log_warning(logged_ > kMostLogged ? "more records are left out, which are only counted from here on"
                                            : "left out: input " + source + ", " + problem);
  }
}

void SplitNotes::warn(const SplitRecord& split) const {
  const auto count = [](std::uint64_t value) { return base::format_count(value); };
  const Oddities& odd = split.odd;
  const bool separated = split.stories + split.empty_stories + split.duplicate_stories > sources_;
  if (!separated && odd.separators_in_text == 0 && split.text_bytes > sources_ * kLongStoryBytes) {
    base::log_warning(split.name + ": each input is one story, of " +
                      base::format_bytes(static_cast<double>(split.text_bytes) /
                                         static_cast<double>(std::max<std::uint64_t>(sources_, 1))) +
                      " on average, since no line is only <|endoftext|>");
  }
  if (odd.separators_in_text > 0) {
    base::log_warning(split.name + ": <|endoftext|> stands " + count(odd.separators_in_text) +
                      " times within a line or a JSON string, where it is text and ends no story" + text(separator_) +
                      (separated ? "" : ". NOTHING IS SEPARATED: each input is one story") +
                      ". Put it on a line of its own, or let --separator anywhere make it end stories there too");
  }
  if (odd.zero_bytes > 0) {
    base::log_warning(split.name + ": " + count(odd.zero_bytes) + " zero bytes (NUL) are taken for text" +
                      text(zero_byte_) +
                      ". Was the file not written to its end, or is it no text? tr -d '\\000' removes them");
  }
  if (odd.byte_order_marks > 0) {
    base::log_warning(split.name + ": " + count(odd.byte_order_marks) +
                      " stories begin with a byte order mark, which is taken for text" + text(byte_order_mark_) +
                      ". Were files joined that begin with one?");
  }
  if (!without_story_.empty()) base::log_warning(split.name + ": no story in " + few_of(without_story_));
}

std::string text_of(const Oddities& odd) {
  std::vector<std::string> parts;
  const auto add = [&parts](std::uint64_t count, const char* what) {
    if (count > 0) parts.push_back(base::format_count(count) + what);
  };
  add(odd.separators_in_text, " <|endoftext|> within the text");
  add(odd.zero_bytes, " zero bytes");
  add(odd.byte_order_marks, " byte order marks");
  add(odd.skipped_records, " records skipped");
  return base::join(parts, ", ");
}

void print_counts(const SplitRecord& split, const SplitEffort& effort) {
  const auto count = [](std::uint64_t value) { return base::format_count(value); };
  std::string text = split.name + ": " + count(split.stories) + " stories, " + count(split.tokens) + " tokens in " +
                     count(split.shards.size()) + " shards; ";
  std::array<char, 32> ratio{};
  std::snprintf(ratio.data(), ratio.size(), "%.3f bytes a token", split.bytes_per_token());
  text += ratio.data();
  text += "; " + count(split.empty_stories) + " empty stories, " + count(split.duplicate_stories) + " duplicates, " +
          count(split.replaced_bytes) + " bytes replaced; ";
  if (const std::string odd = text_of(split.odd); !odd.empty()) text += odd + "; ";
  const auto bytes = static_cast<double>(effort.bytes_read);
  text += base::format_bytes(bytes) + " in " + base::format_duration(effort.seconds) + ", " +
          base::format_bytes(bytes / std::max(effort.seconds, 1e-6)) + "/s";
  std::printf("%s\n", text.c_str());
}

}  // namespace kangpt::data
