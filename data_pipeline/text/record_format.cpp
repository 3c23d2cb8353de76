#include "data_pipeline/text/record_format.hpp"

#include <algorithm>
#include <utility>

#include "data_pipeline/text/json_scanner.hpp"

namespace kangpt::data {
namespace {

bool is_blank(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

// In lower case, without what says that it is compressed.
std::string plain_name(std::string_view name) {
  std::string plain = lower_case(name);
  for (const std::string_view compressed : {".gz", ".zst"}) {
    if (plain.ends_with(compressed)) plain.resize(plain.size() - compressed.size());
  }
  return plain;
}

class TextCutter : public RecordCutter {
 public:
  explicit TextCutter(SeparatorPlace place) : place_(place) {}

  std::size_t cut(std::string_view pending) override {
    const std::string_view unseen = pending.substr(decided_);
    for (std::size_t found = unseen.rfind(kSeparator); found != std::string_view::npos;
         found = found == 0 ? std::string_view::npos : unseen.rfind(kSeparator, found - 1)) {
      if (const auto separator = separator_at(pending, decided_ + found, place_, MoreText::kFollows)) {
        decided_ = 0;
        return separator->end;
      }
    }
    std::size_t end = pending.size();  // of what is more than white space on the last line
    while (end > 0 && pending[end - 1] != '\n' && is_blank(pending[end - 1])) --end;
    decided_ = end - std::min(end, kSeparator.size());
    return 0;
  }

 private:
  SeparatorPlace place_;
  std::size_t decided_ = 0;  // no separator begins before it
};

class LineCutter : public RecordCutter {
 public:
  std::size_t cut(std::string_view pending) override {
    const std::size_t found = pending.substr(seen_).rfind('\n');
    const std::size_t end = found == std::string_view::npos ? 0 : seen_ + found + 1;
    seen_ = pending.size() - end;
    return end;
  }

 private:
  std::size_t seen_ = 0;  // characters of `pending` without a line feed
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

bool is_compressed_name(std::string_view name) {
  const std::string lower = lower_case(name);
  return lower.ends_with(".gz") || lower.ends_with(".zst");
}

bool is_text_name(std::string_view name) {
  return format_of(std::string(name)) != TextFormat::kText || plain_name(name).ends_with(".txt");
}

TextFormat format_of(const std::string& path) {
  const std::string name = plain_name(path);
  if (name.ends_with(".jsonl") || name.ends_with(".ndjson")) return TextFormat::kJsonLines;
  return name.ends_with(".json") ? TextFormat::kJson : TextFormat::kText;
}

std::optional<Separator> separator_at(std::string_view text, std::size_t found, SeparatorPlace place, MoreText more) {
  std::size_t begin = found;
  while (begin > 0 && text[begin - 1] != '\n' && is_blank(text[begin - 1])) --begin;
  if (text.substr(0, begin).ends_with(kByteOrderMark)) begin -= kByteOrderMark.size();
  std::size_t end = found + kSeparator.size();
  while (end < text.size() && text[end] != '\n' && is_blank(text[end])) ++end;
  const bool line_ends = end < text.size() ? text[end] == '\n' : more == MoreText::kNone;
  if (line_ends && (begin == 0 || text[begin - 1] == '\n')) return Separator{begin, std::min(end + 1, text.size())};
  if (place == SeparatorPlace::kAnywhere) return Separator{found, found + kSeparator.size()};
  return std::nullopt;
}

std::unique_ptr<RecordCutter> make_cutter(TextFormat format, SeparatorPlace place) {
  if (format == TextFormat::kJsonLines) return std::make_unique<LineCutter>();
  if (format == TextFormat::kJson) return std::make_unique<JsonCutter>();
  return std::make_unique<TextCutter>(place);
}

}  // namespace kangpt::data
