// A disk that is soon full, or read-only, for tests of what happens then.
#pragma once

#include <string>

#include "tests/support/files.hpp"

namespace kangpt::test {

// Mounts a tmpfs of `size` ("4m") on a folder, made if it is missing. Only this process and those it starts see it; it
// goes away with them or with unmount(). False where the user may not: neither root nor user namespaces.
// REQUIRES: this process has one thread.
bool mount_small_disk(const fs::path& folder, const std::string& size);
// Throw std::runtime_error.
void resize_disk(const fs::path& folder, const std::string& size);
void make_read_only(const fs::path& folder);

// Writes `ballast` until there is no room left, whatever others write meanwhile.
void fill_disk(const fs::path& ballast);

void unmount(const fs::path& folder);

}  // namespace kangpt::test
