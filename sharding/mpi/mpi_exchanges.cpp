#include "sharding/mpi/mpi_exchanges.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/tree_sum.hpp"
#include "sharding/partition.hpp"

namespace kangpt::sharding {
namespace {

constexpr std::uint64_t kReduceChunkElements = 256 * 1024;  // a chunk of every rank stays in cache while it is summed
constexpr std::uint64_t kGatherChunkElements = 64 * 1024 * 1024;  // MPI counts are int

// The part that all exchanges share: wait until everyone has joined, then move data. A worker may come long after the
// others, whose agents have to know what they wait for: for it, asleep, since it computes on the same cores, or for
// data, which move only while MPI is polled.
class JoinedExchange : public Exchange {
 public:
  explicit JoinedExchange(const DataLane& lane) : lane_(lane), joining_(lane) { joining_.barrier(); }

  bool progress() final {
    if (!joined_) {
      if (!joining_.complete()) return false;
      joined_ = true;
      begin();
    }
    return advance();
  }
  bool everyone_joined() const noexcept final { return joined_; }

 protected:
  virtual void begin() = 0;
  virtual bool advance() = 0;

  const DataLane& lane() const noexcept { return lane_; }
  int rank() const noexcept { return lane_.rank; }
  int size() const noexcept { return lane_.size; }

 private:
  DataLane lane_;
  bool joined_ = false;
  MpiRequests joining_;
};

// All-to-all of chunks of the ranges, each summed in rank order as soon as it is here, with the next one on its way.
// The sum over ranks is this project's own, since that of an MPI library may depend on the number of ranks, on the
// length and on how they are placed: here it is the upper part of the tree over logical shards, whatever ranks hold
// them.
class TreeReduceScatter final : public JoinedExchange {
 public:
  TreeReduceScatter(const DataLane& lane, std::span<float> flat)
      : JoinedExchange(lane),
        flat_(flat),
        range_size_(flat.size() / static_cast<std::uint64_t>(size())),
        chunk_count_((range_size_ + kReduceChunkElements - 1) / kReduceChunkElements),
        in_flight_{Chunk{{}, MpiRequests(lane)}, Chunk{{}, MpiRequests(lane)}} {
    const std::uint64_t chunk_elements = std::min(range_size_, kReduceChunkElements);
    for (Chunk& chunk : in_flight_) chunk.received.resize(chunk_elements * static_cast<std::uint64_t>(size()));
  }

 private:
  struct Chunk {
    std::vector<float> received;  // [rank, chunk elements]
    MpiRequests requests;
  };

  void begin() override {
    for (std::uint64_t index = 0; index < std::min<std::uint64_t>(in_flight_.size(), chunk_count_); ++index)
      start(index);
  }

  bool advance() override {
    while (next_ < chunk_count_) {
      if (!chunk(next_).requests.complete()) return false;
      sum(next_);
      if (next_ + in_flight_.size() < chunk_count_) start(next_ + in_flight_.size());
      ++next_;
    }
    return true;
  }

  Chunk& chunk(std::uint64_t index) { return in_flight_[index % in_flight_.size()]; }
  std::uint64_t elements(std::uint64_t index) const {
    return std::min(kReduceChunkElements, range_size_ - index * kReduceChunkElements);
  }
  std::span<float> place(int owner, std::uint64_t index) {
    const std::uint64_t begin = static_cast<std::uint64_t>(owner) * range_size_ + index * kReduceChunkElements;
    return flat_.subspan(begin, elements(index));
  }
  std::span<float> term(int source, std::uint64_t index) {
    if (source == rank()) return place(rank(), index);
    const std::uint64_t begin = static_cast<std::uint64_t>(source) * std::min(range_size_, kReduceChunkElements);
    return std::span(chunk(index).received).subspan(begin, elements(index));
  }

  void start(std::uint64_t index) {
    MpiRequests& requests = chunk(index).requests;
    for (int other = 0; other < size(); ++other) {
      if (other == rank()) continue;
      requests.receive(term(other, index), other);
      requests.send(place(other, index), other);
    }
  }

  void sum(std::uint64_t index) {
    std::vector<float*> terms;
    for (int source = 0; source < size(); ++source) terms.push_back(term(source, index).data());
    base::tree_sum(std::span<float* const>(terms), elements(index));
    float* const mine = place(rank(), index).data();
    if (terms[0] != mine) std::copy_n(terms[0], elements(index), mine);
  }

  std::span<float> flat_;
  std::uint64_t range_size_;
  std::uint64_t chunk_count_;
  std::uint64_t next_ = 0;
  std::array<Chunk, 2> in_flight_;
};

class FastReduceScatter final : public JoinedExchange {
 public:
  FastReduceScatter(const DataLane& lane, std::span<float> flat) : JoinedExchange(lane), flat_(flat), requests_(lane) {}

 private:
  void begin() override { requests_.reduce_scatter(flat_); }
  bool advance() override {
    if (!requests_.complete()) return false;
    const std::size_t range_size = flat_.size() / static_cast<std::size_t>(size());
    float* const mine = flat_.data() + static_cast<std::size_t>(rank()) * range_size;
    std::memmove(mine, flat_.data(), range_size * sizeof(float));
    return true;
  }

  std::span<float> flat_;
  MpiRequests requests_;
};

class AllGather final : public JoinedExchange {
 public:
  AllGather(const DataLane& lane, std::span<const float> mine, std::span<float> flat)
      : JoinedExchange(lane), mine_(mine), flat_(flat), requests_(lane) {}

 private:
  void begin() override {
    for (int other = 0; other < size(); ++other) {
      if (other != rank()) start(other);
    }
    std::ranges::copy(mine_, range_of(rank()).begin());
  }
  bool advance() override { return requests_.complete(); }

  std::span<float> range_of(int owner) {
    return flat_.subspan(static_cast<std::size_t>(owner) * mine_.size(), mine_.size());
  }
  void start(int other) {
    for (const FlatInterval& piece : cut({0, mine_.size()}, kGatherChunkElements)) {
      requests_.receive(range_of(other).subspan(piece.begin, piece.size()), other);
      requests_.send(mine_.subspan(piece.begin, piece.size()), other);
    }
  }

  std::span<const float> mine_;
  std::span<float> flat_;
  MpiRequests requests_;
};

class AllGatherBytes final : public JoinedExchange {
 public:
  AllGatherBytes(const DataLane& lane, std::span<const std::byte> mine, std::span<std::byte> gathered)
      : JoinedExchange(lane), mine_(mine), gathered_(gathered), requests_(lane) {}

 private:
  void begin() override { requests_.all_gather(mine_, gathered_); }
  bool advance() override { return requests_.complete(); }

  std::span<const std::byte> mine_;
  std::span<std::byte> gathered_;
  MpiRequests requests_;
};

}  // namespace

std::unique_ptr<Exchange> tree_reduce_scatter(const DataLane& lane, std::span<float> flat) {
  return std::make_unique<TreeReduceScatter>(lane, flat);
}
std::unique_ptr<Exchange> fast_reduce_scatter(const DataLane& lane, std::span<float> flat) {
  return std::make_unique<FastReduceScatter>(lane, flat);
}
std::unique_ptr<Exchange> all_gather(const DataLane& lane, std::span<const float> mine, std::span<float> flat) {
  return std::make_unique<AllGather>(lane, mine, flat);
}
std::unique_ptr<Exchange> all_gather_bytes(const DataLane& lane, std::span<const std::byte> mine,
                                           std::span<std::byte> gathered) {
  return std::make_unique<AllGatherBytes>(lane, mine, gathered);
}

}  // namespace kangpt::sharding
