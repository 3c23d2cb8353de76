// Reads the next micro-batches of one rank ahead on a thread.
#pragma once

#include <cstdint>
#include <memory>

#include "training/batch_source.hpp"

namespace kangpt::data {

// The requests that one rank makes: for each batch from `first_batch` on, logical shards [shards_begin, shards_end) in
// rising order.
struct PrefetchPlan {
  std::uint64_t first_batch = 0;
  int shards_begin = 0;
  int shards_end = 1;
  int depth = 4;  // micro-batches kept ready
};

// A source that gives what `source` gives. Requests in the order of the plan are ready or under way when they are made;
// any other request restarts the plan there. An error of `source` is thrown by the request it belongs to. The thread
// ends with the object.
std::unique_ptr<training::BatchSource> prefetch(std::unique_ptr<training::BatchSource> source,
                                                const PrefetchPlan& plan);

}  // namespace kangpt::data
