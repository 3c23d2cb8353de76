#include "tests/support/gpu/work_counter.hpp"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <atomic>
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
} counts;

// An operator that has begun and not ended. Its inputs are there when it begins alone.
struct Running {
  bool has_launched = false;  // an operator that it called has
  bool names_device = false;
  bool is_waited_for = true;  // if it names one: the host goes on when it is done
  std::uint64_t input_bytes = 0;
  std::set<const void*> memory = {nullptr};  // of its inputs
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
  }
  if (flags.size() >= kFlagsOfTo) mine.is_waited_for = !flags[flags.size() - kFlagsOfTo];  // non_blocking, copy
  return nullptr;
}

void count_launch(const at::RecordFunction& function, const Running& mine) {
  ++counts.launches;
  counts.bytes += mine.input_bytes;
  for (const c10::IValue& value : function.outputs()) {
    counts.bytes += bytes_of(value);
    counts.allocations += mine.memory.contains(memory_of(value)) ? 0 : 1;
  }
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

WorkCounter::WorkCounter()
    : handle_(at::addGlobalCallback(at::RecordFunctionCallback(begin_operator, end_operator)
                                        .needsInputs(true)
                                        .needsOutputs(true)
                                        .scopes({at::RecordScope::FUNCTION}))) {
  take();
}

WorkCounter::~WorkCounter() {
  at::removeCallback(handle_);
}

Work WorkCounter::take() {
  return {counts.launches.exchange(0), counts.bytes.exchange(0), counts.host_waits.exchange(0),
          counts.transfers.exchange(0), counts.allocations.exchange(0)};
}

}  // namespace kangpt::test
