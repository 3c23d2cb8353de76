#include "data_pipeline/text_blocks.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <string_view>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/format.hpp"
#include "base/unique_fd.hpp"
#include "data_pipeline/unicode.hpp"

namespace kangpt::data {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
constexpr std::size_t kMaximumStoryBytes = std::size_t{16} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

base::UniqueFd open_source(const std::string& path) {
  if (path == "-") return base::UniqueFd(::dup(STDIN_FILENO));
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) throw MissingInputError("input " + path + " does not exist");
  if (!fd) throw_io_error("cannot open input", path, errno);
  return fd;
}

struct FileKind {
  std::string_view magic;
  std::string_view name;
};
constexpr std::array<FileKind, 6> kNotText = {{{"PK\x03\x04", "a zip archive"},
                                               {"PAR1", "a Parquet file"},
                                               {"\x89HDF", "an HDF5 file"},
                                               {"\x7F"
                                                "ELF",
                                                "a program"},
                                               {"%PDF", "a PDF document"},
                                               {"\x89PNG", "a picture"}}};

// Judges the first bytes of a source: names known kinds of files, and takes zero bytes together with invalid UTF-8 for
// a binary file of another kind.
void check_is_text(std::string_view head, const std::string& path) {
  for (const FileKind& kind : kNotText) {
    if (head.starts_with(kind.magic)) throw DataError("input " + path + " is " + std::string(kind.name) + ", not text");
  }
  const std::size_t zero = head.find('\0');
  const std::size_t bad = valid_utf8_prefix(head);
  if (zero == std::string_view::npos || bad + 4 > head.size()) return;
  throw DataError("input " + path + " is a binary file, not text (zero byte at byte " + std::to_string(zero) +
                  ", invalid UTF-8 at byte " + std::to_string(bad) + ")");
}

bool is_blank(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

}  // namespace

std::size_t after_last_separator(std::string_view text, MoreText more) noexcept {
  constexpr std::string_view separator = kSeparator;
  for (std::size_t found = text.rfind(separator); found != std::string_view::npos;
       found = text.rfind(separator, found - 1)) {
    std::size_t begin = found;
    while (begin > 0 && text[begin - 1] != '\n' && is_blank(text[begin - 1])) --begin;
    std::size_t end = found + separator.size();
    while (end < text.size() && text[end] != '\n' && is_blank(text[end])) ++end;
    const bool line_ends = end < text.size() ? text[end] == '\n' : more == MoreText::kNone;
    if (line_ends && (begin == 0 || text[begin - 1] == '\n')) return std::min(end + 1, text.size());
    if (found == 0) break;
  }
  return 0;
}

struct TextBlocks::State {
  std::string path;
  base::UniqueFd fd;
  base::Sha256 digest;
  std::atomic<std::uint64_t> bytes_read = 0;
  std::string pending;               // read, not yet given out
  std::uint64_t pending_offset = 0;  // of `pending` in the source
  bool at_end = false;

  // Appends up to `size` bytes to `pending`; sets `at_end`.
  void fill(std::size_t size) {
    const std::size_t old = pending.size();
    pending.resize(old + size);
    std::size_t done = 0;
    while (done < size && !at_end) {
      const ssize_t count = ::read(fd.value(), pending.data() + old + done, size - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw_io_error("cannot read input", path, errno);
      at_end = count == 0;
      done += static_cast<std::size_t>(count);
    }
    pending.resize(old + done);
    digest.update(std::string_view(pending).substr(old));
    const bool first = bytes_read.fetch_add(done) == 0;
    if (!first) return;
    check_is_text(std::string_view(pending).substr(0, 8192), path);
    if (!pending.starts_with(kByteOrderMark)) return;
    pending.erase(0, kByteOrderMark.size());
    pending_offset = kByteOrderMark.size();
  }

  TextBlock take(std::size_t size) {
    TextBlock block{pending_offset, pending.substr(0, size)};
    pending.erase(0, size);
    pending_offset += size;
    return block;
  }
};

TextBlocks::TextBlocks(const std::string& path) : state_(std::make_unique<State>()) {
  state_->path = path == "-" ? "(standard input)" : path;
  state_->fd = open_source(path);
}

TextBlocks::~TextBlocks() = default;

std::optional<TextBlock> TextBlocks::next() {
  State& state = *state_;
  for (std::size_t wanted = kBlockBytes; !state.at_end; wanted = state.pending.size() + kBlockBytes) {
    if (state.pending.size() < wanted) state.fill(wanted - state.pending.size());
    if (state.at_end) break;
    const std::size_t cut = after_last_separator(state.pending, MoreText::kFollows);
    if (cut > 0) return state.take(cut);
    if (state.pending.size() <= kMaximumStoryBytes) continue;
    throw DataError("input " + state.path + ": the story at byte " + std::to_string(state.pending_offset) +
                    " is longer than " + base::format_bytes(kMaximumStoryBytes) +
                    ". Separate stories with lines that are only " + kSeparator);
  }
  if (state.pending.empty()) return std::nullopt;
  return state.take(state.pending.size());
}

std::uint64_t TextBlocks::bytes_read() const noexcept {
  return state_->bytes_read;
}
std::string TextBlocks::sha256() {
  return state_->digest.hex();
}

}  // namespace kangpt::data
