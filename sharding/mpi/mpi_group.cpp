#include "sharding/mpi/mpi_group.hpp"

#include <mpi.h>

#include <array>
#include <cstdlib>
#include <list>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "sharding/mpi/mpi_exchanges.hpp"
#include "sharding/mpi/shared_segment.hpp"

namespace kangpt::sharding {
namespace {

void check_mpi(int code, const char* call, int line) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw CommunicationError(std::string(call) + " (sharding/mpi/mpi_group.cpp:" + std::to_string(line) +
                           "): " + text.data());
}
#define KANGPT_MPI(call) check_mpi((call), #call, __LINE__)

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

struct PostedSend {
  std::string text;
  MPI_Request request = MPI_REQUEST_NULL;
};

}  // namespace

struct MpiCommunicator {
  MPI_Comm handle = MPI_COMM_NULL;
};

struct MpiRequests::State {
  explicit State(MPI_Comm its_communicator) : communicator(its_communicator) {}

  MPI_Comm communicator;
  RequestSet requests;
};

MpiRequests::MpiRequests(const DataLane& lane) : state_(std::make_unique<State>(lane.communicator->handle)) {}
MpiRequests::~MpiRequests() = default;

void MpiRequests::send(std::span<const float> values, int destination) {
  KANGPT_MPI(MPI_Isend(values.data(), static_cast<int>(values.size()), MPI_FLOAT, destination, 0, state_->communicator,
                       state_->requests.add()));
}

void MpiRequests::receive(std::span<float> values, int source) {
  KANGPT_MPI(MPI_Irecv(values.data(), static_cast<int>(values.size()), MPI_FLOAT, source, 0, state_->communicator,
                       state_->requests.add()));
}

void MpiRequests::barrier() {
  KANGPT_MPI(MPI_Ibarrier(state_->communicator, state_->requests.add()));
}

void MpiRequests::reduce_scatter(std::span<float> flat) {
  int ranks = 0;
  KANGPT_MPI(MPI_Comm_size(state_->communicator, &ranks));
  const int range_size = static_cast<int>(flat.size() / static_cast<std::size_t>(ranks));
  KANGPT_MPI(MPI_Ireduce_scatter_block(MPI_IN_PLACE, flat.data(), range_size, MPI_FLOAT, MPI_SUM, state_->communicator,
                                       state_->requests.add()));
}

void MpiRequests::all_gather(std::span<const std::byte> mine, std::span<std::byte> gathered) {
  const int count = static_cast<int>(mine.size());
  KANGPT_MPI(MPI_Iallgather(mine.data(), count, MPI_BYTE, gathered.data(), count, MPI_BYTE, state_->communicator,
                            state_->requests.add()));
}

bool MpiRequests::complete() {
  return state_->requests.complete();
}

struct MpiGroup::State {
  MPI_Comm control = MPI_COMM_NULL;
  MpiCommunicator data;
  MpiCommunicator background;
  int rank = 0;
  int size = 0;
  int local_rank = 0;
  int local_size = 0;
  std::string segment;  // see shared_segment.hpp
  std::list<PostedSend> posted;

  DataLane lane() const { return {rank, size, &data}; }
  void forget_delivered() {
    posted.remove_if([](PostedSend& send) {
      int done = 0;
      KANGPT_MPI(MPI_Test(&send.request, &done, MPI_STATUS_IGNORE));
      return done != 0;
    });
  }
};

MpiGroup::MpiGroup() : state_(std::make_unique<State>()) {
  // Open MPI 5 gives up without it, as in a container or a job without its user's environment; none has one that is
  // empty.
  ::setenv("HOME", "", 0);
  int provided = 0;
  KANGPT_MPI(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
  State& s = *state_;
  KANGPT_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &s.control));
  KANGPT_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &s.data.handle));
  KANGPT_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &s.background.handle));
  KANGPT_MPI(MPI_Comm_set_errhandler(s.control, MPI_ERRORS_RETURN));
  KANGPT_MPI(MPI_Comm_set_errhandler(s.data.handle, MPI_ERRORS_RETURN));
  KANGPT_MPI(MPI_Comm_set_errhandler(s.background.handle, MPI_ERRORS_RETURN));
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
    KANGPT_MPI(MPI_Comm_free(&state_->background.handle));
    KANGPT_MPI(MPI_Comm_free(&state_->data.handle));
    KANGPT_MPI(MPI_Comm_free(&state_->control));
    put_back_shared_segment(state_->segment);
    KANGPT_MPI(MPI_Finalize());
    remove_shared_segment(state_->segment);
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

std::string MpiGroup::library() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  KANGPT_MPI(MPI_Get_library_version(text.data(), &length));
  const std::string whole(text.data(), static_cast<std::size_t>(length));  // "Open MPI v4.1.4, package: ..."
  return whole.substr(0, whole.find_first_of(",\n"));
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
  // NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): forget_delivered() ends it
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
  return sharding::tree_reduce_scatter(state_->lane(), flat);
}
std::unique_ptr<Exchange> MpiGroup::fast_reduce_scatter(std::span<float> flat, std::uint64_t most_elements) {
  if (flat.size() > most_elements) return tree_reduce_scatter(flat);
  return sharding::fast_reduce_scatter(state_->lane(), flat);
}
std::unique_ptr<Exchange> MpiGroup::all_gather(std::span<const float> mine, std::span<float> flat) {
  return sharding::all_gather(state_->lane(), mine, flat);
}
std::unique_ptr<Exchange> MpiGroup::all_gather_bytes(std::span<const std::byte> mine, std::span<std::byte> gathered) {
  return sharding::all_gather_bytes(state_->lane(), mine, gathered);
}

DataLane MpiGroup::background_lane() const noexcept {
  return {state_->rank, state_->size, &state_->background};
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
