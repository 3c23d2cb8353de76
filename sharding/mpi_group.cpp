#include "sharding/mpi_group.hpp"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <list>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/tree_sum.hpp"
#include "sharding/partition.hpp"
#include "sharding/shared_segment.hpp"

namespace kangpt::sharding {
namespace {

void check_mpi(int code, const char* call, int line) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw CommunicationError(std::string(call) + " (sharding/mpi_group.cpp:" + std::to_string(line) +
                           "): " + text.data());
}
#define KANGPT_MPI(call) check_mpi((call), #call, __LINE__)

constexpr std::uint64_t kReduceChunkElements = 256 * 1024;  // a chunk of every rank stays in cache while it is summed
constexpr std::uint64_t kGatherChunkElements = 64 * 1024 * 1024;  // MPI counts are int

// Requests in flight. Waits for them on destruction: MPI may not lose a buffer that it still uses.
class RequestSet {
 public:
  RequestSet() = default;
  RequestSet(const RequestSet&) = delete;
  RequestSet& operator=(const RequestSet&) = delete;
  ~RequestSet() {
    if (!requests_.empty()) MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE);
  }
  MPI_Request* add() { return &requests_.emplace_back(MPI_REQUEST_NULL); }
  bool complete() {
    int done = 0;
    KANGPT_MPI(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE));
    if (done != 0) requests_.clear();
    return done != 0;
  }

 private:
  std::vector<MPI_Request> requests_;
};

// The part that all exchanges share: wait until everyone has joined, then move data.
class JoinedExchange : public Exchange {
 public:
  explicit JoinedExchange(MPI_Comm communicator) : communicator_(communicator) {
    KANGPT_MPI(MPI_Comm_rank(communicator_, &rank_));
    KANGPT_MPI(MPI_Comm_size(communicator_, &size_));
    KANGPT_MPI(MPI_Ibarrier(communicator_, joining_.add()));
  }

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

  MPI_Comm communicator() const noexcept { return communicator_; }
  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }

 private:
  MPI_Comm communicator_;
  int rank_ = 0;
  int size_ = 0;
  bool joined_ = false;
  RequestSet joining_;
};

// All-to-all of chunks of the ranges, each summed in rank order as soon as it is here, with the next one on its way.
class TreeReduceScatter final : public JoinedExchange {
 public:
  TreeReduceScatter(MPI_Comm communicator, std::span<float> flat)
      : JoinedExchange(communicator), flat_(flat), range_size_(flat.size() / static_cast<std::uint64_t>(size())) {
    chunk_count_ = (range_size_ + kReduceChunkElements - 1) / kReduceChunkElements;
    const std::uint64_t chunk_elements = std::min(range_size_, kReduceChunkElements);
    for (Chunk& chunk : in_flight_) chunk.received.resize(chunk_elements * static_cast<std::uint64_t>(size()));
  }

 private:
  struct Chunk {
    std::vector<float> received;  // [rank, chunk elements]
    RequestSet requests;
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
  float* place(int owner, std::uint64_t index) {
    return flat_.data() + static_cast<std::uint64_t>(owner) * range_size_ + index * kReduceChunkElements;
  }
  float* term(int source, std::uint64_t index) {
    if (source == rank()) return place(rank(), index);
    return chunk(index).received.data() +
           static_cast<std::uint64_t>(source) * std::min(range_size_, kReduceChunkElements);
  }

  void start(std::uint64_t index) {
    const int count = static_cast<int>(elements(index));
    for (int other = 0; other < size(); ++other) {
      if (other == rank()) continue;
      RequestSet& requests = chunk(index).requests;
      KANGPT_MPI(MPI_Irecv(term(other, index), count, MPI_FLOAT, other, 0, communicator(), requests.add()));
      KANGPT_MPI(MPI_Isend(place(other, index), count, MPI_FLOAT, other, 0, communicator(), requests.add()));
    }
  }

  void sum(std::uint64_t index) {
    std::vector<float*> terms;
    for (int source = 0; source < size(); ++source) terms.push_back(term(source, index));
    base::tree_sum(std::span<float* const>(terms), elements(index));
    if (terms[0] != place(rank(), index)) std::copy_n(terms[0], elements(index), place(rank(), index));
  }

  std::span<float> flat_;
  std::uint64_t range_size_;
  std::uint64_t chunk_count_ = 0;
  std::uint64_t next_ = 0;
  std::array<Chunk, 2> in_flight_;
};

class FastReduceScatter final : public JoinedExchange {
 public:
  FastReduceScatter(MPI_Comm communicator, std::span<float> flat)
      : JoinedExchange(communicator), flat_(flat), range_size_(flat.size() / static_cast<std::uint64_t>(size())) {}

 private:
  void begin() override {
    KANGPT_MPI(MPI_Ireduce_scatter_block(MPI_IN_PLACE, flat_.data(), static_cast<int>(range_size_), MPI_FLOAT, MPI_SUM,
                                         communicator(), requests_.add()));
  }
  bool advance() override {
    if (!requests_.complete()) return false;
    float* const mine = flat_.data() + static_cast<std::uint64_t>(rank()) * range_size_;
    std::memmove(mine, flat_.data(), range_size_ * sizeof(float));
    return true;
  }

  std::span<float> flat_;
  std::uint64_t range_size_;
  RequestSet requests_;
};

class AllGather final : public JoinedExchange {
 public:
  AllGather(MPI_Comm communicator, std::span<const float> mine, std::span<float> flat)
      : JoinedExchange(communicator), mine_(mine), flat_(flat) {}

 private:
  void begin() override {
    for (int other = 0; other < size(); ++other) {
      if (other != rank()) start(other);
    }
    std::copy(mine_.begin(), mine_.end(), place(rank()));
  }
  bool advance() override { return requests_.complete(); }

  float* place(int owner) { return flat_.data() + static_cast<std::uint64_t>(owner) * mine_.size(); }
  void start(int other) {
    for (const FlatInterval& piece : cut({0, mine_.size()}, kGatherChunkElements)) {
      const int count = static_cast<int>(piece.size());
      KANGPT_MPI(MPI_Irecv(place(other) + piece.begin, count, MPI_FLOAT, other, 0, communicator(), requests_.add()));
      KANGPT_MPI(MPI_Isend(mine_.data() + piece.begin, count, MPI_FLOAT, other, 0, communicator(), requests_.add()));
    }
  }

  std::span<const float> mine_;
  std::span<float> flat_;
  RequestSet requests_;
};

class AllGatherBytes final : public JoinedExchange {
 public:
  AllGatherBytes(MPI_Comm communicator, std::span<const std::byte> mine, std::span<std::byte> gathered)
      : JoinedExchange(communicator), mine_(mine), gathered_(gathered) {}

 private:
  void begin() override {
    const int count = static_cast<int>(mine_.size());
    KANGPT_MPI(MPI_Iallgather(mine_.data(), count, MPI_BYTE, gathered_.data(), count, MPI_BYTE, communicator(),
                              requests_.add()));
  }
  bool advance() override { return requests_.complete(); }

  std::span<const std::byte> mine_;
  std::span<std::byte> gathered_;
  RequestSet requests_;
};

struct PostedSend {
  std::string text;
  MPI_Request request = MPI_REQUEST_NULL;
};

}  // namespace

struct MpiGroup::State {
  MPI_Comm control = MPI_COMM_NULL;
  MPI_Comm data = MPI_COMM_NULL;
  int rank = 0;
  int size = 0;
  int local_rank = 0;
  int local_size = 0;
  std::string segment;  // see shared_segment.hpp
  std::list<PostedSend> posted;

  void forget_delivered() {
    posted.remove_if([](PostedSend& send) {
      int done = 0;
      KANGPT_MPI(MPI_Test(&send.request, &done, MPI_STATUS_IGNORE));
      return done != 0;
    });
  }
};

MpiGroup::MpiGroup() : state_(std::make_unique<State>()) {
  int provided = 0;
  KANGPT_MPI(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
  State& s = *state_;
  KANGPT_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &s.control));
  KANGPT_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &s.data));
  KANGPT_MPI(MPI_Comm_set_errhandler(s.control, MPI_ERRORS_RETURN));
  KANGPT_MPI(MPI_Comm_set_errhandler(s.data, MPI_ERRORS_RETURN));
  KANGPT_MPI(MPI_Comm_rank(s.control, &s.rank));
  KANGPT_MPI(MPI_Comm_size(s.control, &s.size));
  MPI_Comm node = MPI_COMM_NULL;
  KANGPT_MPI(MPI_Comm_split_type(s.control, MPI_COMM_TYPE_SHARED, s.rank, MPI_INFO_NULL, &node));
  KANGPT_MPI(MPI_Comm_rank(node, &s.local_rank));
  KANGPT_MPI(MPI_Comm_size(node, &s.local_size));
  std::vector<int> sent(static_cast<std::size_t>(s.local_size));
  std::vector<int> received(sent.size());
  KANGPT_MPI(MPI_Alltoall(sent.data(), 1, MPI_INT, received.data(), 1, MPI_INT, node));  // each has met each
  KANGPT_MPI(MPI_Barrier(node));
  s.segment = unlink_shared_segment(s.rank);
  KANGPT_MPI(MPI_Comm_free(&node));
}

MpiGroup::~MpiGroup() {
  try {
    say_farewell();
    KANGPT_MPI(MPI_Comm_free(&state_->data));
    KANGPT_MPI(MPI_Comm_free(&state_->control));
    put_back_shared_segment(state_->segment);
    KANGPT_MPI(MPI_Finalize());
  } catch (const Error& error) {
    base::log_error(error.what());
  }
}

int MpiGroup::rank() const noexcept {
  return state_->rank;
}
int MpiGroup::size() const noexcept {
  return state_->size;
}
int MpiGroup::local_rank() const noexcept {
  return state_->local_rank;
}
int MpiGroup::local_size() const noexcept {
  return state_->local_size;
}

std::string MpiGroup::broadcast(const std::string& text) {
  std::string result = text;
  std::uint64_t length = result.size();
  RequestSet request;
  const auto done = [&] { return request.complete(); };
  KANGPT_MPI(MPI_Ibcast(&length, 1, MPI_UINT64_T, 0, state_->control, request.add()));
  wait_for(done);
  result.resize(length);
  KANGPT_MPI(MPI_Ibcast(result.data(), static_cast<int>(length), MPI_CHAR, 0, state_->control, request.add()));
  wait_for(done);
  return result;
}

std::vector<std::string> MpiGroup::all_gather(const std::string& mine) {
  const auto ranks = static_cast<std::size_t>(state_->size);
  std::vector<int> lengths(ranks);
  const int my_length = static_cast<int>(mine.size());
  RequestSet request;
  const auto done = [&] { return request.complete(); };
  KANGPT_MPI(MPI_Iallgather(&my_length, 1, MPI_INT, lengths.data(), 1, MPI_INT, state_->control, request.add()));
  wait_for(done);
  std::vector<int> offsets(ranks, 0);
  for (std::size_t r = 1; r < ranks; ++r) offsets[r] = offsets[r - 1] + lengths[r - 1];
  std::string all(static_cast<std::size_t>(offsets.back() + lengths.back()), '\0');
  KANGPT_MPI(MPI_Iallgatherv(mine.data(), my_length, MPI_CHAR, all.data(), lengths.data(), offsets.data(), MPI_CHAR,
                             state_->control, request.add()));
  wait_for(done);
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < ranks; ++r) {
    texts.push_back(all.substr(static_cast<std::size_t>(offsets[r]), static_cast<std::size_t>(lengths[r])));
  }
  return texts;
}

void MpiGroup::post(int destination, int topic, const std::string& text) {
  state_->forget_delivered();
  PostedSend& send = state_->posted.emplace_back(PostedSend{.text = text});
  KANGPT_MPI(MPI_Isend(send.text.data(), static_cast<int>(send.text.size()), MPI_CHAR, destination, topic,
                       state_->control, &send.request));
}

bool MpiGroup::all_delivered() {
  state_->forget_delivered();
  return state_->posted.empty();
}

std::optional<MpiGroup::Posted> MpiGroup::receive(int topic) {
  state_->forget_delivered();
  int arrived = 0;
  MPI_Status status{};
  KANGPT_MPI(MPI_Iprobe(MPI_ANY_SOURCE, topic, state_->control, &arrived, &status));
  if (arrived == 0) return std::nullopt;
  int length = 0;
  KANGPT_MPI(MPI_Get_count(&status, MPI_CHAR, &length));
  Posted message{status.MPI_SOURCE, status.MPI_TAG, std::string(static_cast<std::size_t>(length), '\0')};
  KANGPT_MPI(MPI_Recv(message.text.data(), length, MPI_CHAR, message.source, message.topic, state_->control,
                      MPI_STATUS_IGNORE));
  return message;
}

std::unique_ptr<Exchange> MpiGroup::tree_reduce_scatter(std::span<float> flat) {
  return std::make_unique<TreeReduceScatter>(state_->data, flat);
}
std::unique_ptr<Exchange> MpiGroup::fast_reduce_scatter(std::span<float> flat, std::uint64_t most_elements) {
  if (flat.size() > most_elements) return tree_reduce_scatter(flat);
  return std::make_unique<FastReduceScatter>(state_->data, flat);
}
std::unique_ptr<Exchange> MpiGroup::all_gather(std::span<const float> mine, std::span<float> flat) {
  return std::make_unique<AllGather>(state_->data, mine, flat);
}
std::unique_ptr<Exchange> MpiGroup::all_gather_bytes(std::span<const std::byte> mine, std::span<std::byte> gathered) {
  return std::make_unique<AllGatherBytes>(state_->data, mine, gathered);
}

void MpiGroup::abort(int exit_code) noexcept {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

std::string mpi_library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  KANGPT_MPI(MPI_Get_library_version(text.data(), &length));
  const std::string version(text.data(), static_cast<std::size_t>(length));
  return version.substr(0, version.find(','));
}

}  // namespace kangpt::sharding
