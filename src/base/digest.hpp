// Digests and checksums: SHA-256 (files, manifests), XXH3 (fast content checks), CRC-32C (blocks of tokens).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace kangpt::base {

// Streaming SHA-256 (OpenSSL). Move-only; not thread-safe.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  // 64 lower-case hexadecimal digits. The object can't be used afterwards.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::span<const std::byte> bytes);
// Of the whole file, which is mapped. Throws MissingInputError or IoError.
std::string sha256_file(const std::filesystem::path& path);

std::uint64_t xxh3(std::span<const std::byte> bytes) noexcept;
// Of the pieces as if they were one.
std::uint64_t xxh3(std::initializer_list<std::span<const std::byte>> pieces);
// Reads the file as a stream. Throws MissingInputError or IoError.
std::uint64_t xxh3_file(const std::filesystem::path& path);
// The 128-bit variant: {low, high}.
std::array<std::uint64_t, 2> xxh3_128(std::span<const std::byte> bytes) noexcept;

// CRC-32C (Castagnoli), as in iSCSI and RFC 3720; crc32c("123456789") = 0xE3069283. `seed` continues an earlier value.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed = 0) noexcept;

}  // namespace kangpt::base
