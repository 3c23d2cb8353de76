#include "sharding/workplace/nccl_communicator.hpp"

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <algorithm>
#include <string>

#include "base/error.hpp"
#include "base/log.hpp"
#include "sharding/reduction_schedule.hpp"

#define KANGPT_CHECK_NCCL(call) check_nccl((call), #call " in " __FILE__, __LINE__)

namespace kangpt::sharding {
namespace {

void check_nccl(ncclResult_t result, const char* call, int line) {
  if (result == ncclSuccess) return;
  throw CommunicationError(std::string(call) + ":" + std::to_string(line) + ": " + ncclGetErrorString(result) + " (" +
                           ncclGetLastError(nullptr) + ")");
}

ncclUniqueId agree_on_id(AgentCommunicator& agents) {
  ncclUniqueId id{};
  if (agents.rank() == 0) KANGPT_CHECK_NCCL(ncclGetUniqueId(&id));
  return from_payload<ncclUniqueId>(agents.all_gather_bytes(as_payload(id)));  // rank 0's comes first
}

class NcclCommunicator final : public training::Communicator {
 public:
  NcclCommunicator(AgentCommunicator& agents, const NcclPlace& place)
      : rank_(agents.rank()),
        world_size_(agents.world_size()),
        place_(place),
        stream_(c10::cuda::getStreamFromPool(false, place.device.index())) {
    const ncclUniqueId id = agree_on_id(agents);
    const WaitingForOthers waiting(*this);
    KANGPT_CHECK_NCCL(ncclCommInitRank(&communicator_, world_size_, id, rank_));
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  ~NcclCommunicator() override {
    const WaitingForOthers waiting(*this);
    const ncclResult_t result = ncclCommDestroy(communicator_);
    if (result != ncclSuccess) base::log_warning(std::string("ncclCommDestroy: ") + ncclGetErrorString(result));
  }

  int rank() const noexcept override { return rank_; }
  int world_size() const noexcept override { return world_size_; }

  void reduce_scatter(std::span<float> flat) override {
    const c10::cuda::CUDAStreamGuard guard = after_queued_work();
    const WaitingForOthers waiting(*this);
    const std::size_t size = flat.size() / ranks();
    if (place_.reduction == config::Reduction::kFast) {
      float* const mine = flat.data() + static_cast<std::size_t>(rank_) * size;
      KANGPT_CHECK_NCCL(ncclReduceScatter(flat.data(), mine, size, ncclFloat32, ncclSum, communicator_, stream_));
    } else {
      sum_in_tree_order(flat.data(), size);
    }
    stream_.synchronize();
  }

  void all_gather(std::span<const float> mine, std::span<float> flat) override {
    const c10::cuda::CUDAStreamGuard guard = after_queued_work();
    const WaitingForOthers waiting(*this);
    KANGPT_CHECK_NCCL(ncclAllGather(mine.data(), flat.data(), mine.size(), ncclFloat32, communicator_, stream_));
    stream_.synchronize();
  }

  std::vector<double> all_gather_scalars(std::span<const double> mine) override {
    const c10::cuda::CUDAStreamGuard guard = after_queued_work();
    const at::TensorOptions options = at::TensorOptions(at::kDouble).device(place_.device);
    const at::Tensor host = at::empty({static_cast<std::int64_t>(mine.size())},
                                      at::TensorOptions(at::kDouble).pinned_memory(place_.device.is_cuda()));
    std::ranges::copy(mine, host.data_ptr<double>());
    const at::Tensor sent = host.to(place_.device, at::kDouble, /*non_blocking=*/true);
    const at::Tensor received = at::empty({world_size_, static_cast<std::int64_t>(mine.size())}, options);
    const WaitingForOthers waiting(*this);
    KANGPT_CHECK_NCCL(
        ncclAllGather(sent.data_ptr(), received.data_ptr(), mine.size(), ncclFloat64, communicator_, stream_));
    const at::Tensor values = received.to(at::kCPU);  // waits
    return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
  }

 private:
  // While one lives, the agent does not take this worker for stuck.
  class WaitingForOthers {
   public:
    explicit WaitingForOthers(NcclCommunicator& communicator) : collective_(communicator.place_.page.collective) {
      collective_ = ++communicator.collectives_;
    }
    ~WaitingForOthers() { collective_ = 0; }
    WaitingForOthers(const WaitingForOthers&) = delete;
    WaitingForOthers& operator=(const WaitingForOthers&) = delete;

   private:
    std::atomic<std::uint64_t>& collective_;
  };

  std::size_t ranks() const noexcept { return static_cast<std::size_t>(world_size_); }

  // Makes this object's stream the current one once the work queued before is done: it is this worker's own, and it is
  // to blame where that does not end.
  c10::cuda::CUDAStreamGuard after_queued_work() const {
    c10::cuda::getCurrentCUDAStream(place_.device.index()).synchronize();
    return c10::cuda::CUDAStreamGuard(stream_);
  }

  // As base::tree_sum(): ((0 + 1) + (2 + 3)) + ..., of ranges of `size` elements; this rank's is summed up. A round has
  // one peer, which sends what this rank's numbers are like.
  void sum_in_tree_order(float* flat, std::size_t size) {
    for (const Round& round : reduce_scatter_rounds(kScheduleOfGpus, rank_, world_size_)) {
      const Transfer& theirs = round.front();
      const Transfer mine = {theirs.peer, rank_ % theirs.stride, theirs.stride};
      exchange(flat, size, {theirs, mine});
      const auto elements = static_cast<std::int64_t>(size);
      const at::TensorOptions options = at::TensorOptions(at::kFloat).device(place_.device);
      const std::int64_t count = (world_size_ - mine.first_range + mine.stride - 1) / mine.stride;
      const at::Tensor sums = at::from_blob(flat + static_cast<std::size_t>(mine.first_range) * size, {count, elements},
                                            {elements * mine.stride, 1}, options);
      sums.add_(received_.narrow(0, 0, count));
    }
  }

  struct Exchange {
    Transfer theirs;
    Transfer mine;
  };
  // Sends their ranges to the peer; received_ gets its values of mine, in their order.
  void exchange(const float* flat, std::size_t size, const Exchange& what) {
    if (!received_.defined()) {
      received_ = at::empty({std::max(1, world_size_ / 2), static_cast<std::int64_t>(size)},
                            at::TensorOptions(at::kFloat).device(place_.device));
    }
    KANGPT_CHECK_NCCL(ncclGroupStart());
    for (int range = what.theirs.first_range; range < world_size_; range += what.theirs.stride) {
      KANGPT_CHECK_NCCL(ncclSend(flat + static_cast<std::size_t>(range) * size, size, ncclFloat32, what.theirs.peer,
                                 communicator_, stream_));
    }
    float* to = received_.data_ptr<float>();
    for (int range = what.mine.first_range; range < world_size_; range += what.mine.stride, to += size) {
      KANGPT_CHECK_NCCL(ncclRecv(to, size, ncclFloat32, what.mine.peer, communicator_, stream_));
    }
    KANGPT_CHECK_NCCL(ncclGroupEnd());
  }

  int rank_;
  int world_size_;
  NcclPlace place_;
  c10::cuda::CUDAStream stream_;
  ncclComm_t communicator_ = nullptr;
  std::uint64_t collectives_ = 0;
  at::Tensor received_;  // [ranks / 2, range size]
};

}  // namespace

std::unique_ptr<training::Communicator> make_nccl_communicator(AgentCommunicator& agents, const NcclPlace& place) {
  return std::make_unique<NcclCommunicator>(agents, place);
}

}  // namespace kangpt::sharding
