#include "io/content_digest.hpp"

#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/digest.hpp"
#include "base/error.hpp"

namespace kangpt::io {

ContentDigest digest_content(const base::UniqueFd& fd, const std::filesystem::path& path) {
  constexpr std::size_t kBufferBytes = 1 << 18;  // stays in the second-level cache between the two digests
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> xxh3(XXH3_createState(), XXH3_freeState);
  if (xxh3 == nullptr || XXH3_64bits_reset(xxh3.get()) != XXH_OK) throw InternalError("XXH3 is not available");
  base::Sha256 sha256;
  ContentDigest digest;
  std::vector<std::byte> buffer(kBufferBytes);
  for (;;) {
    const ssize_t count = ::read(fd.value(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_io_error("cannot read", path.string(), errno);
    if (count == 0) break;
    const auto bytes = std::span(buffer).first(static_cast<std::size_t>(count));
    XXH3_64bits_update(xxh3.get(), bytes.data(), bytes.size());
    sha256.update(bytes);
    digest.size_bytes += bytes.size();
  }
  digest.xxh3 = XXH3_64bits_digest(xxh3.get());
  digest.sha256 = sha256.hex();
  return digest;
}

}  // namespace kangpt::io
