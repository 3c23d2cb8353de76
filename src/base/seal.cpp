#include "base/seal.hpp"

#include <span>

#include "base/digest.hpp"

namespace kangpt::base {
namespace {

constexpr std::string_view kPrefix = "# sha256 ";
constexpr std::size_t kSealBytes = kPrefix.size() + 64 + 1;

std::string seal(std::string_view body) {
  return std::string(kPrefix) + sha256_hex(std::as_bytes(std::span(body))) + "\n";
}

}  // namespace

std::string sealed(const std::string& body) {
  return body + seal(body);
}

std::optional<std::string_view> unseal(std::string_view text) {
  if (text.size() < kSealBytes) return std::nullopt;
  const std::string_view body = text.substr(0, text.size() - kSealBytes);
  if (text.substr(body.size()) != seal(body)) return std::nullopt;
  return body;
}

}  // namespace kangpt::base
