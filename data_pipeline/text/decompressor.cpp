#include <zlib.h>
#include <zstd.h>

#include "base/error.hpp"
#include "data_pipeline/text/byte_source.hpp"

namespace kangpt::data {
namespace {

constexpr std::string_view kGzipMagic = "\x1F\x8B";
constexpr std::string_view kZstdMagic = "\x28\xB5\x2F\xFD";

[[noreturn]] void fail_damaged(const std::string& name, const std::string& reason) {
  throw DataError("input " + name + " is damaged: its compressed data can't be read (" + reason + ")");
}

// Several gzip members one after the other are one stream, as gunzip has it.
class GzipDecompressor : public Decompressor {
 public:
  explicit GzipDecompressor(std::string name) : name_(std::move(name)) {
    if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw InternalError("zlib does not start");
  }
  GzipDecompressor(const GzipDecompressor&) = delete;
  GzipDecompressor& operator=(const GzipDecompressor&) = delete;
  ~GzipDecompressor() override { inflateEnd(&stream_); }

  Progress run(std::span<const char> input, std::span<char> output) override {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = static_cast<uInt>(input.size());
    stream_.next_out = reinterpret_cast<Bytef*>(output.data());
    stream_.avail_out = static_cast<uInt>(output.size());
    const int status = inflate(&stream_, Z_NO_FLUSH);
    const Progress progress{input.size() - stream_.avail_in, output.size() - stream_.avail_out};
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      fail_damaged(name_, stream_.msg != nullptr ? stream_.msg : "zlib error");
    if (progress.consumed + progress.produced > 0) between_ = status == Z_STREAM_END;
    if (status == Z_STREAM_END) inflateReset(&stream_);
    return progress;
  }

  bool may_end() const noexcept override { return between_; }

 private:
  std::string name_;
  z_stream stream_{};
  bool between_ = false;
};

class ZstdDecompressor : public Decompressor {
 public:
  explicit ZstdDecompressor(std::string name) : name_(std::move(name)), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) throw InternalError("zstd does not start");
  }
  ZstdDecompressor(const ZstdDecompressor&) = delete;
  ZstdDecompressor& operator=(const ZstdDecompressor&) = delete;
  ~ZstdDecompressor() override { ZSTD_freeDStream(stream_); }

  Progress run(std::span<const char> input, std::span<char> output) override {
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer out{output.data(), output.size(), 0};
    const std::size_t status = ZSTD_decompressStream(stream_, &out, &in);
    if (ZSTD_isError(status) != 0) fail_damaged(name_, ZSTD_getErrorName(status));
    if (in.pos + out.pos > 0) between_ = status == 0;
    return {in.pos, out.pos};
  }

  bool may_end() const noexcept override { return between_; }

 private:
  std::string name_;
  ZSTD_DStream* stream_;
  bool between_ = false;
};

}  // namespace

std::unique_ptr<Decompressor> make_decompressor(std::string_view head, const std::string& name) {
  if (head.starts_with(kGzipMagic)) return std::make_unique<GzipDecompressor>(name);
  if (head.starts_with(kZstdMagic)) return std::make_unique<ZstdDecompressor>(name);
  return nullptr;
}

}  // namespace kangpt::data
