// NCCL's calls on host memory, between processes. Every transfer happens within its call, or within ncclGroupEnd().
#include <fcntl.h>
#include <nccl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/gpu/device_double.hpp"
#include "tests/support/gpu/rank_channels.hpp"
#include "tests/support/gpu/stream_checker.hpp"

using kangpt::test::Access;
using kangpt::test::OperationHeader;
using kangpt::test::RankChannels;
using kangpt::test::Transfer;
using kangpt::test::Waiting;
using Kind = kangpt::test::OperationHeader::Kind;
namespace stream_checker = kangpt::test::stream_checker;

struct ncclComm {
  int rank = 0;
  int ranks = 1;
  std::unique_ptr<RankChannels> channels;
  std::uint64_t collectives = 0;
  std::uint64_t calls = 0;
};

namespace {

struct Queued {
  ncclComm* communicator;
  Transfer transfer;
};
thread_local int group_depth = 0;
thread_local std::vector<Queued> group;
thread_local std::string last_error;

double patience_seconds() {
  return kangpt::test::double_setting("KANGPT_DOUBLE_PATIENCE_SECONDS", 0);
}

ncclResult_t fail(ncclResult_t result, const std::string& text) {
  last_error = text;
  std::fprintf(stderr, "double of NCCL: %s\n", text.c_str());
  return result;
}

std::size_t bytes_of(ncclDataType_t type) {
  switch (type) {
    case ncclFloat64:
    case ncclInt64:
    case ncclUint64:
      return 8;
    case ncclFloat32:
    case ncclInt32:
    case ncclUint32:
      return 4;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    default:
      return 1;
  }
}

std::string text_of(const Transfer& transfer) {
  const bool sends = transfer.direction == Transfer::Direction::kSend;
  return (sends ? "send to " : "receive from ") + std::to_string(transfer.peer) + " (" + transfer.header.text() + ")";
}

// In the order of their calls for each peer and direction, all at once otherwise. Whether any of them moved.
bool advance(RankChannels& channels, std::vector<Transfer>& transfers) {
  bool moved = false;
  std::vector<std::pair<int, Transfer::Direction>> busy;
  for (Transfer& transfer : transfers) {
    if (channels.is_done(transfer)) continue;
    const std::pair<int, Transfer::Direction> lane(transfer.peer, transfer.direction);
    if (std::ranges::find(busy, lane) != busy.end()) continue;
    busy.push_back(lane);
    moved = channels.advance(transfer) || moved;
  }
  return moved;
}

bool are_done(const RankChannels& channels, const std::vector<Transfer>& transfers) {
  return std::ranges::all_of(transfers, [&](const Transfer& transfer) { return channels.is_done(transfer); });
}

ncclResult_t carry_out(ncclComm& communicator, std::vector<Transfer>& transfers) {
  RankChannels& channels = *communicator.channels;
  Waiting waiting(patience_seconds());
  while (!are_done(channels, transfers)) {
    if (channels.is_broken()) return fail(ncclRemoteError, "another rank has failed");
    if (advance(channels, transfers)) {
      waiting.progressed();
    } else if (!waiting.pause()) {
      channels.break_off();
      std::string pending;
      for (const Transfer& transfer : transfers) {
        if (!channels.is_done(transfer)) pending += (pending.empty() ? "" : ", ") + text_of(transfer);
      }
      return fail(ncclInvalidUsage, "dead-lock: rank " + std::to_string(communicator.rank) + " waits: " + pending);
    }
  }
  return ncclSuccess;
}

// KANGPT_DOUBLE_NCCL_ERROR, remembered by a file.
bool is_to_fail(ncclComm& communicator) {
  ++communicator.calls;
  const char* const setting = std::getenv("KANGPT_DOUBLE_NCCL_ERROR");
  if (setting == nullptr) return false;
  const std::string now = std::to_string(communicator.rank) + ":" + std::to_string(communicator.calls);
  if (now != setting) return false;
  const auto file = std::filesystem::temp_directory_path() / "nccl-error-happened";
  const int fd = ::open(file.c_str(), O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

ncclResult_t run(ncclComm& communicator, std::vector<Transfer>& transfers) {
  if (is_to_fail(communicator)) return fail(ncclSystemError, "an error on demand");
  try {
    return carry_out(communicator, transfers);
  } catch (const std::runtime_error& error) {
    communicator.channels->break_off();
    return fail(ncclInvalidUsage, error.what());
  }
}

Transfer transfer_of(Transfer::Direction direction, int peer, const void* data, const OperationHeader& header) {
  return {.direction = direction,
          .peer = peer,
          .data = const_cast<char*>(static_cast<const char*>(data)),
          .header = header};
}

ncclResult_t point_to_point(ncclComm& communicator, const Transfer& transfer) {
  if (group_depth > 0) {
    group.push_back({&communicator, transfer});
    return ncclSuccess;
  }
  std::vector<Transfer> alone = {transfer};
  return run(communicator, alone);
}

void note(cudaStream_t stream, const char* name, const std::vector<stream_checker::MemoryAccess>& accesses) {
  stream_checker::operation(reinterpret_cast<std::int64_t>(stream), name, accesses);
}

}  // namespace

extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id, 0, sizeof *id);
  std::snprintf(id->internal, sizeof id->internal, "double-of-nccl-%d-%lld", ::getpid(),
                static_cast<long long>(std::chrono::steady_clock::now().time_since_epoch().count()));
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* communicator, int ranks, ncclUniqueId id, int rank) {
  try {
    const std::string file = std::filesystem::temp_directory_path() / id.internal;
    auto made = std::make_unique<ncclComm>();
    made->rank = rank;
    made->ranks = ranks;
    made->channels = std::make_unique<RankChannels>(file, rank, ranks, patience_seconds());
    *communicator = made.release();
    return ncclSuccess;
  } catch (const std::exception& error) {
    return fail(ncclSystemError, std::string("ncclCommInitRank: ") + error.what());
  }
}

// Within a node it is a collective, as documented for NCCL 2.28: it hangs until all ranks call it.
ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  const std::unique_ptr<ncclComm> owner(communicator);
  RankChannels& channels = *communicator->channels;
  channels.leave();
  Waiting waiting(patience_seconds());
  while (channels.left() < communicator->ranks) {
    if (!waiting.pause())
      return fail(ncclSystemError,
                  "rank " + std::to_string(communicator->rank) + " hangs in ncclCommDestroy, which not all ranks call");
  }
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++group_depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (--group_depth > 0 || group.empty()) return ncclSuccess;
  const std::vector<Queued> all = std::exchange(group, {});
  std::vector<Transfer> transfers;
  for (const Queued& queued : all) transfers.push_back(queued.transfer);
  return run(*all.front().communicator, transfers);
}

ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t communicator,
                      cudaStream_t stream) {
  const std::size_t bytes = count * bytes_of(type);
  kangpt::test::count_message(bytes);
  note(stream, "ncclSend", {{data, bytes, Access::kRead}});
  return point_to_point(*communicator,
                        transfer_of(Transfer::Direction::kSend, peer, data, {Kind::kPointToPoint, type, bytes, 0}));
}

ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t communicator,
                      cudaStream_t stream) {
  const std::size_t bytes = count * bytes_of(type);
  note(stream, "ncclRecv", {{data, bytes, Access::kWrite}});
  return point_to_point(*communicator,
                        transfer_of(Transfer::Direction::kReceive, peer, data, {Kind::kPointToPoint, type, bytes, 0}));
}

ncclResult_t ncclAllGather(const void* mine, void* all, size_t count, ncclDataType_t type, ncclComm_t communicator,
                           cudaStream_t stream) {
  const std::size_t bytes = count * bytes_of(type);
  char* const gathered = static_cast<char*>(all);
  kangpt::test::count_collective();
  note(stream, "ncclAllGather",
       {{mine, bytes, Access::kRead}, {all, bytes * static_cast<std::size_t>(communicator->ranks), Access::kWrite}});
  char* const own = gathered + bytes * static_cast<std::size_t>(communicator->rank);
  if (own != mine) std::memmove(own, mine, bytes);
  const OperationHeader header = {Kind::kAllGather, type, bytes, ++communicator->collectives};
  std::vector<Transfer> transfers;
  for (int peer = 0; peer < communicator->ranks; ++peer) {
    if (peer == communicator->rank) continue;
    transfers.push_back(transfer_of(Transfer::Direction::kSend, peer, own, header));
    transfers.push_back(
        transfer_of(Transfer::Direction::kReceive, peer, gathered + bytes * static_cast<std::size_t>(peer), header));
  }
  return run(*communicator, transfers);
}

// Sums of fp32 in the order of a ring, which is another one than the tree's.
ncclResult_t ncclReduceScatter(const void* input, void* output, size_t count, ncclDataType_t type,
                               ncclRedOp_t operation, ncclComm_t communicator, cudaStream_t stream) {
  if (type != ncclFloat32 || operation != ncclSum || group_depth > 0)
    return fail(ncclInvalidArgument, "the double reduces sums of fp32 outside of groups alone");
  const auto ranks = static_cast<std::size_t>(communicator->ranks);
  const auto rank = static_cast<std::size_t>(communicator->rank);
  const std::size_t bytes = count * sizeof(float);
  kangpt::test::count_collective();
  note(stream, "ncclReduceScatter", {{input, bytes * ranks, Access::kRead}, {output, bytes, Access::kWrite}});
  const auto* const parts = static_cast<const char*>(input);
  const OperationHeader header = {Kind::kReduceScatter, type, bytes, ++communicator->collectives};
  std::vector<std::vector<float>> terms(ranks, std::vector<float>(count));
  std::memcpy(terms[rank].data(), parts + bytes * rank, bytes);
  std::vector<Transfer> transfers;
  for (std::size_t peer = 0; peer < ranks; ++peer) {
    if (peer == rank) continue;
    transfers.push_back(transfer_of(Transfer::Direction::kSend, static_cast<int>(peer), parts + bytes * peer, header));
    transfers.push_back(transfer_of(Transfer::Direction::kReceive, static_cast<int>(peer), terms[peer].data(), header));
  }
  if (const ncclResult_t result = run(*communicator, transfers); result != ncclSuccess) return result;
  for (std::size_t i = 0; i < count; ++i) {
    float sum = terms[(rank + 1) % ranks][i];
    for (std::size_t hop = 2; hop <= ranks; ++hop) sum += terms[(rank + hop) % ranks][i];
    static_cast<float*>(output)[i] = ranks == 1 ? terms[0][i] : sum;
  }
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSuccess ? "no error" : "an error of the double";
}

const char* ncclGetLastError(ncclComm_t /*communicator*/) {
  return last_error.c_str();
}

}  // extern "C"
