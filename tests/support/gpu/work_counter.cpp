#include "tests/support/gpu/work_counter.hpp"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <algorithm>
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

// The operators of this thread that have begun and not ended: whether each has called one that launches.
thread_local std::vector<bool> running;

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
    for (const at::Tensor& tensor : value.toTensorVector()) bytes += tensor.nbytes();
  }
  return bytes;
}

// Tensors whose memory none of the inputs has.
std::uint64_t new_tensors(const at::RecordFunction& function) {
  const auto memory_of = [](const c10::IValue& value) -> const void* {
    return value.isTensor() && value.toTensor().has_storage() ? value.toTensor().storage().data() : nullptr;
  };
  std::set<const void*> known = {nullptr};
  for (const c10::IValue& value : function.inputs()) known.insert(memory_of(value));
  std::uint64_t found = 0;
  for (const c10::IValue& value : function.outputs()) found += known.contains(memory_of(value)) ? 0 : 1;
  return found;
}

std::unique_ptr<at::ObserverContext> begin_operator(const at::RecordFunction& /*function*/) {
  running.push_back(false);
  return nullptr;
}

void end_operator(const at::RecordFunction& function, at::ObserverContext* /*context*/) {
  if (running.empty()) return;  // it began before the counter
  const bool has_launched = running.back();
  running.pop_back();
  const std::string name = function.name();
  if (name == "aten::_local_scalar_dense") {
    ++counts.host_waits;
    return;
  }
  if (is_allocation(name)) {
    ++counts.allocations;
    return;
  }
  const auto names_device = [](const c10::IValue& value) { return value.isDevice(); };
  if (name == "aten::to" && std::ranges::any_of(function.inputs(), names_device)) ++counts.transfers;
  const bool launches = !has_launched && !is_view(name);
  if (launches) {
    ++counts.launches;
    counts.allocations += new_tensors(function);
    for (const c10::IValue& value : function.inputs()) counts.bytes += bytes_of(value);
    for (const c10::IValue& value : function.outputs()) counts.bytes += bytes_of(value);
  }
  if (!running.empty() && (launches || has_launched)) running.back() = true;
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
