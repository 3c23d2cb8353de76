#include "data_pipeline/record_format.hpp"

#include <algorithm>
#include <utility>

#include "data_pipeline/json_scanner.hpp"

namespace kangpt::data {
namespace {

bool is_blank(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

class TextCutter : public RecordCutter {
 public:
  std::size_t cut(std::string_view pending) override { return after_last_separator(pending, MoreText::kFollows); }
};

class LineCutter : public RecordCutter {
 public:
  std::size_t cut(std::string_view pending) override { return pending.rfind('\n') + 1; }  // npos + 1 = 0
};

class JsonCutter : public RecordCutter {
 public:
  std::size_t cut(std::string_view pending) override {
    for (; seen_ < pending.size(); ++seen_) {
      if (scanner_.ends_value(pending[seen_])) last_end_ = seen_ + 1;
    }
    const std::size_t end = std::exchange(last_end_, 0);
    seen_ -= end;
    return end;
  }
  bool may_end() const noexcept override { return scanner_.complete(); }
  JsonPlace json_place() const noexcept override {
    return scanner_.began_with_array() ? JsonPlace::kInArray : JsonPlace::kInSequence;
  }

 private:
  JsonScanner scanner_;
  std::size_t seen_ = 0;      // characters of `pending` that went through the scanner
  std::size_t last_end_ = 0;  // of a value in them
};

}  // namespace

TextFormat format_of(const std::string& path) {
  std::string_view name = path;
  for (const std::string_view compressed : {".gz", ".zst"}) {
    if (name.ends_with(compressed)) name.remove_suffix(compressed.size());
  }
  if (name.ends_with(".jsonl") || name.ends_with(".ndjson")) return TextFormat::kJsonLines;
  return name.ends_with(".json") ? TextFormat::kJson : TextFormat::kText;
}

std::size_t after_last_separator(std::string_view text, MoreText more) noexcept {
  std::size_t found = text.rfind(kSeparator);
  while (found != std::string_view::npos) {
    std::size_t begin = found;
    while (begin > 0 && text[begin - 1] != '\n' && is_blank(text[begin - 1])) --begin;
    std::size_t end = found + kSeparator.size();
    while (end < text.size() && text[end] != '\n' && is_blank(text[end])) ++end;
    const bool line_ends = end < text.size() ? text[end] == '\n' : more == MoreText::kNone;
    if (line_ends && (begin == 0 || text[begin - 1] == '\n')) return std::min(end + 1, text.size());
    found = found == 0 ? std::string_view::npos : text.rfind(kSeparator, found - 1);
  }
  return 0;
}

std::unique_ptr<RecordCutter> make_cutter(TextFormat format) {
  if (format == TextFormat::kJsonLines) return std::make_unique<LineCutter>();
  if (format == TextFormat::kJson) return std::make_unique<JsonCutter>();
  return std::make_unique<TextCutter>();
}

}  // namespace kangpt::data
