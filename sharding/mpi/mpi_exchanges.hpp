// The collectives on an MpiGroup's data lane. Each borrows its buffers until it is complete.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "sharding/mpi/exchange.hpp"
#include "sharding/mpi/mpi_requests.hpp"

namespace kangpt::sharding {

// See the functions of MpiGroup with these names.
std::unique_ptr<Exchange> tree_reduce_scatter(const DataLane& lane, std::span<float> flat);
std::unique_ptr<Exchange> fast_reduce_scatter(const DataLane& lane, std::span<float> flat);
std::unique_ptr<Exchange> all_gather(const DataLane& lane, std::span<const float> mine, std::span<float> flat);
std::unique_ptr<Exchange> all_gather_bytes(const DataLane& lane, std::span<const std::byte> mine,
                                           std::span<std::byte> gathered);

}  // namespace kangpt::sharding
