// Work that a worker's threads share.
#pragma once

#include <ATen/Parallel.h>

#include <cstddef>
#include <functional>

namespace kangpt::sharding {

// A ForEach.
inline void for_each_in_parallel(std::size_t count, const std::function<void(std::size_t)>& body) {
  at::parallel_for(0, static_cast<std::int64_t>(count), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) body(static_cast<std::size_t>(i));
  });
}

}  // namespace kangpt::sharding
