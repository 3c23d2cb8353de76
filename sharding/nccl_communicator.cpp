#include "sharding/nccl_communicator.hpp"

#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <cstdlib>
#include <string>

#include "base/error.hpp"
#include "base/log.hpp"

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
  NcclCommunicator(AgentCommunicator& agents, const at::Device& device, config::Reduction reduction)
      : rank_(agents.rank()),
        world_size_(agents.world_size()),
        device_(device),
        reduction_(reduction),
        stream_(c10::cuda::getStreamFromPool(false, device.index())) {
    const ncclUniqueId id = agree_on_id(agents);
    KANGPT_CHECK_NCCL(ncclCommInitRank(&communicator_, world_size_, id, rank_));
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  ~NcclCommunicator() override {
    const ncclResult_t result = ncclCommDestroy(communicator_);
    if (result != ncclSuccess) base::log_warning(std::string("ncclCommDestroy: ") + ncclGetErrorString(result));
  }

  int rank() const noexcept override { return rank_; }
  int world_size() const noexcept override { return world_size_; }

  void reduce_scatter(std::span<float> flat) override {
    const c10::cuda::CUDAStreamGuard guard = after_queued_work();
    const std::size_t size = flat.size() / ranks();
    float* const mine = flat.data() + static_cast<std::size_t>(rank_) * size;
    if (reduction_ == config::Reduction::kFast) {
      KANGPT_CHECK_NCCL(ncclReduceScatter(flat.data(), mine, size, ncclFloat32, ncclSum, communicator_, stream_));
    } else {
      exchange_ranges(flat.data(), size);
      sum_in_tree_order();
      at::from_blob(mine, {static_cast<std::int64_t>(size)}, at::TensorOptions(at::kFloat).device(device_))
          .copy_(ranges_[0]);
    }
    stream_.synchronize();
  }

  void all_gather(std::span<const float> mine, std::span<float> flat) override {
    const c10::cuda::CUDAStreamGuard guard = after_queued_work();
    KANGPT_CHECK_NCCL(ncclAllGather(mine.data(), flat.data(), mine.size(), ncclFloat32, communicator_, stream_));
    stream_.synchronize();
  }

  std::vector<double> all_gather_scalars(std::span<const double> mine) override {
    const c10::cuda::CUDAStreamGuard guard = after_queued_work();
    const at::TensorOptions options = at::TensorOptions(at::kDouble).device(device_);
    const at::Tensor sent = at::tensor(at::ArrayRef<double>(mine.data(), mine.size()), at::kDouble).to(device_);
    const at::Tensor received = at::empty({world_size_, static_cast<std::int64_t>(mine.size())}, options);
    KANGPT_CHECK_NCCL(
        ncclAllGather(sent.data_ptr(), received.data_ptr(), mine.size(), ncclFloat64, communicator_, stream_));
    const at::Tensor values = received.to(at::kCPU);  // waits
    return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
  }

 private:
  std::size_t ranks() const noexcept { return static_cast<std::size_t>(world_size_); }

  // Makes this object's stream the current one once the work queued before is done.
  c10::cuda::CUDAStreamGuard after_queued_work() const {
    c10::cuda::getCurrentCUDAStream(device_.index()).synchronize();
    return c10::cuda::CUDAStreamGuard(stream_);
  }

  // ranges_[r] becomes this rank's range of rank r's buffer.
  void exchange_ranges(const float* flat, std::size_t size) {
    if (!ranges_.defined()) {
      ranges_ =
          at::empty({world_size_, static_cast<std::int64_t>(size)}, at::TensorOptions(at::kFloat).device(device_));
    }
    KANGPT_CHECK_NCCL(ncclGroupStart());
    for (int peer = 0; peer < world_size_; ++peer) {
      const std::size_t offset = static_cast<std::size_t>(peer) * size;
      KANGPT_CHECK_NCCL(ncclSend(flat + offset, size, ncclFloat32, peer, communicator_, stream_));
      KANGPT_CHECK_NCCL(ncclRecv(ranges_.data_ptr<float>() + offset, size, ncclFloat32, peer, communicator_, stream_));
    }
    KANGPT_CHECK_NCCL(ncclGroupEnd());
  }

  // As base::tree_sum(): ((0 + 1) + (2 + 3)) + ..., into ranges_[0].
  void sum_in_tree_order() {
    for (int stride = 1; stride < world_size_; stride *= 2) {
      for (int rank = 0; rank + stride < world_size_; rank += 2 * stride) ranges_[rank].add_(ranges_[rank + stride]);
    }
  }

  int rank_;
  int world_size_;
  at::Device device_;
  config::Reduction reduction_;
  c10::cuda::CUDAStream stream_;
  ncclComm_t communicator_ = nullptr;
  at::Tensor ranges_;  // [ranks, range size]
};

}  // namespace

at::Device use_gpu(int local_rank) {
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);  // what cuBLAS needs to give the same bits each time
  int count = 0;
  const cudaError_t error = c10::cuda::GetDeviceCount(&count);
  if (error != cudaSuccess) {
    throw ConfigError(std::string("run.device is CUDA, but no GPU can be used: ") + cudaGetErrorString(error));
  }
  if (local_rank >= count) {
    throw ConfigError("rank number " + std::to_string(local_rank) + " of this node has no GPU: it sees " +
                      std::to_string(count) + " (see CUDA_VISIBLE_DEVICES)");
  }
  const auto index = static_cast<c10::DeviceIndex>(local_rank);
  c10::cuda::set_device(index);
  return {at::kCUDA, index};
}

std::unique_ptr<training::Communicator> make_nccl_communicator(AgentCommunicator& agents, const at::Device& device,
                                                               config::Reduction reduction) {
  return std::make_unique<NcclCommunicator>(agents, device, reduction);
}

}  // namespace kangpt::sharding
