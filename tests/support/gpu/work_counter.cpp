#include "tests/support/gpu/work_counter.hpp"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace kangpt::test {
namespace {

struct Counts {
  std::atomic<std::uint64_t> launches{0};
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::uint64_t> host_waits{0};
  std::atomic<std::uint64_t> transfers{0};
  std::atomic<std::uint64_t> allocations{0};
  std::mutex mutex;
  LaunchCounts kinds;

  void add(const LaunchKind& launch) {
    ++launches;
    bytes += launch.bytes;
    const std::lock_guard lock(mutex);
    ++kinds[launch];
  }
} counts;

template <OwnKernels kOwnKernels>
bool count_own(const operations::cuda::Work& work, operations::cuda::Stream /*stream*/) {
  LaunchKind mine = {.name = work.name, .bytes = 0, .flops = work.flops};
  for (const operations::cuda::MemoryUse& use : work.memory)
    mine.bytes += static_cast<std::uint64_t>(use.read_bytes + use.written_bytes);
  counts.add(mine);
  return kOwnKernels == OwnKernels::kEmulated;
}

// An operator that has begun and not ended. Its inputs are there when it begins alone.
struct Running {
  bool has_launched = false;  // an operator that it called has
  bool names_device = false;
  bool is_waited_for = true;  // if it names one: the host goes on when it is done
  std::uint64_t input_bytes = 0;
  std::vector<std::vector<std::int64_t>> matrices;  // sizes of those among the inputs
  std::set<const void*> memory = {nullptr};         // of its inputs
};
thread_local std::vector<Running> running;

constexpr std::size_t kFlagsOfTo = 2;  // its last two arguments that are true or false: non_blocking and copy

bool is_allocation(const std::string& name) {
  return name == "aten::empty" || name == "aten::empty_strided";
}

// They compute nothing themselves.
bool is_view(const std::string& name) {
  static const std::set<std::string> views = {"aten::_reshape_alias",
                                              "aten::_unsafe_view",
                                              "aten::alias",
                                              "aten::as_strided",
                                              "aten::contiguous",
                                              "aten::detach",
                                              "aten::empty_like",
                                              "aten::expand",
                                              "aten::expand_as",
                                              "aten::item",
                                              "aten::lift_fresh",
                                              "aten::narrow",
                                              "aten::permute",
                                              "aten::reshape",
                                              "aten::resolve_conj",
                                              "aten::resolve_neg",
                                              "aten::result_type",
                                              "aten::select",
                                              "aten::slice",
                                              "aten::squeeze",
                                              "aten::t",
                                              "aten::to",
                                              "aten::transpose",
                                              "aten::unbind",
                                              "aten::unsqueeze",
                                              "aten::view",
                                              "aten::view_as",
                                              "aten::numel",
                                              "aten::resize_",
                                              "aten::set_"};
  return views.contains(name);
}

std::uint64_t bytes_of(const c10::IValue& value) {
  if (value.isTensor() && value.toTensor().defined()) return value.toTensor().nbytes();
  std::uint64_t bytes = 0;
  if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) bytes += tensor.defined() ? tensor.nbytes() : 0;
  }
  return bytes;
}

const void* memory_of(const c10::IValue& value) {
  return value.isTensor() && value.toTensor().has_storage() ? value.toTensor().storage().data() : nullptr;
}

std::unique_ptr<at::ObserverContext> begin_operator(const at::RecordFunction& function) {
  Running& mine = running.emplace_back();
  std::vector<bool> flags;
  for (const c10::IValue& value : function.inputs()) {
    mine.names_device = mine.names_device || value.isDevice();
    if (value.isBool()) flags.push_back(value.toBool());
    mine.input_bytes += bytes_of(value);
    mine.memory.insert(memory_of(value));
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().dim() == 2)
      mine.matrices.push_back(value.toTensor().sizes().vec());
  }
  if (flags.size() >= kFlagsOfTo) mine.is_waited_for = !flags[flags.size() - kFlagsOfTo];  // non_blocking, copy
  return nullptr;
}

// Of the last two inputs of a product that fit together.
double flops_of(const std::string& name, const Running& mine) {
  if (name != "aten::mm" && name != "aten::addmm" && name != "aten::addmm_") return 0;
  for (std::size_t i = mine.matrices.size(); i-- > 1;) {
    const std::vector<std::int64_t>&a = mine.matrices[i - 1], &b = mine.matrices[i];
    if (a[1] == b[0]) return 2.0 * static_cast<double>(a[0]) * static_cast<double>(a[1] * b[1]);
  }
  return 0;
}

void count_launch(const at::RecordFunction& function, const Running& mine) {
  LaunchKind work = {function.name(), mine.input_bytes, flops_of(function.name(), mine)};
  for (const c10::IValue& value : function.outputs()) {
    work.bytes += bytes_of(value);
    counts.allocations += mine.memory.contains(memory_of(value)) ? 0 : 1;
  }
  counts.add(work);
}

void end_operator(const at::RecordFunction& function, at::ObserverContext* /*context*/) {
  if (running.empty()) return;  // it began before the counter
  const Running mine = std::move(running.back());
  running.pop_back();
  const std::string name = function.name();
  if (name == "aten::to" && mine.names_device) {
    ++counts.transfers;
    counts.host_waits += mine.is_waited_for ? 1 : 0;
  }
  if (name == "aten::_local_scalar_dense") {
    ++counts.host_waits;
  } else if (is_allocation(name)) {
    ++counts.allocations;
  } else {
    const bool launches = !mine.has_launched && !is_view(name);
    if (launches) count_launch(function, mine);
    if (!running.empty() && (launches || mine.has_launched)) running.back().has_launched = true;
  }
}

}  // namespace

WorkCounter::WorkCounter(OwnKernels own_kernels)
    : handle_(at::addGlobalCallback(at::RecordFunctionCallback(begin_operator, end_operator)
                                        .needsInputs(true)
                                        .needsOutputs(true)
                                        .scopes({at::RecordScope::FUNCTION}))),
      watcher_before_(operations::cuda::watch_launches(own_kernels == OwnKernels::kEmulated
                                                           ? &count_own<OwnKernels::kEmulated>
                                                           : &count_own<OwnKernels::kCountedAlone>)) {
  take();
}

WorkCounter::~WorkCounter() {
  at::removeCallback(handle_);
  operations::cuda::watch_launches(watcher_before_);
}

LaunchCounts WorkCounter::launches() const {
  const std::lock_guard lock(counts.mutex);
  return counts.kinds;
}

Work WorkCounter::take() {
  {
    const std::lock_guard lock(counts.mutex);
    counts.kinds.clear();
  }
  return {counts.launches.exchange(0), counts.bytes.exchange(0), counts.host_waits.exchange(0),
          counts.transfers.exchange(0), counts.allocations.exchange(0)};
}

}  // namespace kangpt::test
