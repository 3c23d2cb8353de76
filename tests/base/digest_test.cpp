#include "base/digest.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "base/error.hpp"
#include "tests/support/files.hpp"

namespace kangpt::base {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// FIPS 180-2, appendix B.
TEST(Sha256, GivesThePublishedValues) {
  EXPECT_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex(bytes_of("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 digest;
  for (int i = 0; i < 1000; ++i) digest.update(std::string(1000, 'a'));
  EXPECT_EQ(digest.hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheSameAsTheWhole) {
  const std::string text = "the quick brown fox jumps over the lazy dog";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Sha256 digest;
    digest.update(std::string_view(text).substr(0, cut));
    Sha256 moved = std::move(digest);
    moved.update(std::string_view(text).substr(cut));
    EXPECT_EQ(moved.hex(), sha256_hex(bytes_of(text)));
  }
}

TEST(Sha256, OfAFile) {
  const test::TemporaryDirectory directory;
  test::write_text(directory / "abc", "abc");
  test::write_text(directory / "empty", "");
  EXPECT_EQ(sha256_file(directory / "abc"), sha256_hex(bytes_of("abc")));
  EXPECT_EQ(sha256_file(directory / "empty"), sha256_hex({}));
  EXPECT_THROW(sha256_file(directory / "none"), MissingInputError);
}

// The bit-by-bit definition.
std::uint32_t slow_crc32c(std::string_view text) {
  std::uint32_t crc = ~0U;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
  }
  return ~crc;
}

// RFC 3720, B.4.
TEST(Crc32c, GivesThePublishedValues) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283U);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8A9136AAU);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\xff'))), 0x62A8AB43U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32c, EqualsTheDefinitionForAllLengthsAndCuts) {
  std::string text;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(crc32c(bytes_of(text)), slow_crc32c(text));
    const std::string_view whole = text;
    const std::size_t cut = text.size() / 3;
    EXPECT_EQ(crc32c(bytes_of(whole.substr(cut)), crc32c(bytes_of(whole.substr(0, cut)))), slow_crc32c(text));
    text += static_cast<char>(i * 37 + 11);
  }
}

// The values of the reference implementation for an empty input and seed 0.
TEST(Xxh3, GivesThePublishedValue) {
  EXPECT_EQ(xxh3({}), 0x2D06800538D394C2U);
  EXPECT_NE(xxh3(bytes_of("a")), xxh3(bytes_of("b")));
  EXPECT_EQ(xxh3({bytes_of("in "), bytes_of(""), bytes_of("pieces")}), xxh3(bytes_of("in pieces")));
  EXPECT_EQ(xxh3_128({}), (std::array<std::uint64_t, 2>{0x6001C324468D497FU, 0x99AA06D3014798D8U}));
}

TEST(Digests, OfAFileAreThoseOfItsContent) {
  const test::TemporaryDirectory folder;
  for (const std::size_t size : {std::size_t{0}, std::size_t{100}, std::size_t{1} << 18, std::size_t{700001}}) {
    std::string content(size, 'x');
    for (std::size_t i = 0; i < size; i += 1000) content[i] = static_cast<char>(i / 1000);
    test::write_text(folder / "file", content);
    EXPECT_EQ(sha256_file(folder / "file"), sha256_hex(bytes_of(content))) << size;
    EXPECT_EQ(xxh3_file(folder / "file"), xxh3(bytes_of(content))) << size;
  }
  EXPECT_THROW(xxh3_file(folder / "absent"), MissingInputError);
}

}  // namespace
}  // namespace kangpt::base
