#include "tests/support/gpu/stream_checker.hpp"

#include <ATen/ATen.h>
#include <ATen/core/function_schema.h>
#include <ATen/record_function.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "operations/cuda/launches.hpp"

namespace kangpt::test::stream_checker {
namespace {

using Clock = std::map<std::int64_t, std::uint64_t>;  // by stream: how many of its operations

struct Past {
  const char* begin;
  const char* end;
  Access access;
  std::int64_t stream;
  std::uint64_t time;
  std::string name;
};

// What an operator touches, collected while it runs: outermost operators alone.
struct Running {
  int depth = 0;
  std::vector<MemoryAccess> accesses;
};

void merge(Clock& into, const Clock& from) {
  for (const auto& [stream, time] : from) into[stream] = std::max(into[stream], time);
}

bool happened_before(const Past& past, const Clock& now) {
  const auto known = now.find(past.stream);
  return known != now.end() && past.time <= known->second;
}

class Checker {
 public:
  void start() { on_ = true; }
  bool is_on() const { return on_; }
  std::vector<std::string> races() {
    const std::lock_guard lock(mutex_);
    return {races_.begin(), races_.end()};
  }
  std::uint64_t operations() const { return operations_; }
  void reset() {
    const std::lock_guard lock(mutex_);
    clocks_.clear();
    host_.clear();
    events_.clear();
    past_.clear();
    races_.clear();
    operations_ = 0;
  }
  void host_waits_for(std::int64_t stream) {
    const std::lock_guard lock(mutex_);
    merge(host_, clocks_[stream]);
  }
  void record(const void* event, std::int64_t stream) {
    const std::lock_guard lock(mutex_);
    Clock& clock = clocks_[stream];
    merge(clock, host_);
    events_[event] = clock;
  }
  void stream_waits_for(std::int64_t stream, const void* event) {
    const std::lock_guard lock(mutex_);
    merge(clocks_[stream], events_[event]);
  }
  void operation(std::int64_t stream, const std::string& name, const std::vector<MemoryAccess>& accesses,
                 const std::vector<MemoryAccess>& new_memory) {
    const std::lock_guard lock(mutex_);
    Clock& now = clocks_[stream];
    merge(now, host_);  // the host queues it now
    ++now[stream];
    ++operations_;
    for (const MemoryAccess& memory : new_memory) forget(memory);
    for (const MemoryAccess& memory : accesses) touch(stream, name, memory);
    for (const MemoryAccess& memory : new_memory) touch(stream, name, memory);
  }

 private:
  static bool overlap(const Past& past, const char* begin, const char* end) {
    return past.begin < end && begin < past.end;
  }

  // Accesses before were to something else that lay there.
  void forget(const MemoryAccess& memory) {
    const auto* begin = static_cast<const char*>(memory.begin);
    std::erase_if(past_, [&](const Past& past) { return overlap(past, begin, begin + memory.bytes); });
  }

  void touch(std::int64_t stream, const std::string& name, const MemoryAccess& memory) {
    const Clock& now = clocks_[stream];
    const auto* begin = static_cast<const char*>(memory.begin);
    const Past mine{begin, begin + memory.bytes, memory.access, stream, now.at(stream), name};
    std::erase_if(past_, [&](const Past& past) {
      if (!overlap(past, mine.begin, mine.end)) return false;
      const bool ordered = past.stream == stream || happened_before(past, now);
      const bool harmless = past.access == Access::kRead && mine.access == Access::kRead;
      if (!ordered && !harmless) say(mine, past);
      const bool within = past.begin >= mine.begin && past.end <= mine.end;
      // Whoever is ordered behind mine is ordered behind this one as well.
      return ordered && within && (mine.access == Access::kWrite || past.access == Access::kRead);
    });
    past_.push_back(mine);
  }

  void say(const Past& mine, const Past& past) {
    races_.insert(mine.name + " on stream " + std::to_string(mine.stream) +
                  (mine.access == Access::kWrite ? " writes" : " reads") + " what " + past.name + " on stream " +
                  std::to_string(past.stream) + (past.access == Access::kWrite ? " wrote" : " reads"));
  }

  bool on_ = false;
  std::mutex mutex_;
  std::map<std::int64_t, Clock> clocks_;
  Clock host_;
  std::map<const void*, Clock> events_;
  std::vector<Past> past_;
  std::set<std::string> races_;
  std::uint64_t operations_ = 0;
};

Checker& checker() {
  static Checker instance;
  return instance;
}

thread_local Running running;

bool is_view(const std::string& name) {
  static const std::set<std::string> views = {
      "aten::narrow",  "aten::view",          "aten::select",     "aten::slice",      "aten::transpose",
      "aten::t",       "aten::expand",        "aten::unsqueeze",  "aten::as_strided", "aten::detach",
      "aten::permute", "aten::alias",         "aten::reshape",    "aten::expand_as",  "aten::empty",
      "aten::unbind",  "aten::empty_strided", "aten::empty_like", "aten::to",         "aten::contiguous"};
  return views.contains(name);
}

bool memory_of(const at::Tensor& tensor, Access access, MemoryAccess& memory) {
  if (!tensor.defined() || !tensor.has_storage() || tensor.numel() == 0 || tensor.data_ptr() == nullptr) return false;
  std::int64_t last = 0;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  memory = {tensor.data_ptr(), static_cast<std::size_t>(last + 1) * tensor.element_size(), access};
  return true;
}

void collect(const c10::IValue& value, Access access) {
  MemoryAccess memory;
  if (value.isTensor() && memory_of(value.toTensor(), access, memory)) running.accesses.push_back(memory);
  if (!value.isTensorList()) return;
  for (const at::Tensor& tensor : value.toTensorVector()) {
    if (memory_of(tensor, access, memory)) running.accesses.push_back(memory);
  }
}

std::unique_ptr<at::ObserverContext> begin_operator(const at::RecordFunction& function) {
  if (running.depth++ != 0) return nullptr;
  running.accesses.clear();
  const auto schema = function.operator_schema();
  std::size_t i = 0;
  for (const c10::IValue& value : function.inputs()) {
    const auto* alias = schema && i < schema->arguments().size() ? schema->arguments()[i].alias_info() : nullptr;
    collect(value, alias != nullptr && alias->isWrite() ? Access::kWrite : Access::kRead);
    ++i;
  }
  return nullptr;
}

bool shares_memory(const MemoryAccess& a, const MemoryAccess& b) {
  const auto* first = static_cast<const char*>(a.begin);
  const auto* second = static_cast<const char*>(b.begin);
  return first < second + b.bytes && second < first + a.bytes;
}

void end_operator(const at::RecordFunction& function, at::ObserverContext* /*context*/) {
  if (--running.depth != 0) return;
  const std::string name = function.name();
  std::vector<MemoryAccess> new_memory;
  for (const c10::IValue& value : function.outputs()) {
    MemoryAccess memory;
    if (!value.isTensor() || !memory_of(value.toTensor(), Access::kWrite, memory)) continue;
    const bool known = std::ranges::any_of(running.accesses, [&](const auto& in) { return shares_memory(in, memory); });
    if (!known) new_memory.push_back(memory);
  }
  const std::vector<MemoryAccess> touched = is_view(name) ? std::vector<MemoryAccess>() : running.accesses;
  checker().operation(c10::cuda::getCurrentCUDAStream(-1).id(), name, touched, new_memory);
}

// Own kernels are queued where the operators around them are.
bool begin_own(const operations::cuda::Work& work, operations::cuda::Stream /*stream*/) {
  std::vector<MemoryAccess> accesses;
  for (const operations::cuda::MemoryUse& use : work.memory) {
    if (use.bytes == 0) continue;
    accesses.push_back(
        {use.begin, static_cast<std::size_t>(use.bytes), use.written_bytes > 0 ? Access::kWrite : Access::kRead});
  }
  checker().operation(c10::cuda::getCurrentCUDAStream(-1).id(), work.name, accesses, {});
  return true;
}

}  // namespace

void start() {
  if (checker().is_on()) return;
  checker().start();
  operations::cuda::watch_launches(&begin_own);
  at::addGlobalCallback(at::RecordFunctionCallback(begin_operator, end_operator)
                            .needsInputs(true)
                            .needsOutputs(true)
                            .scopes({at::RecordScope::FUNCTION}));
}

bool is_on() {
  return checker().is_on();
}

std::vector<std::string> races() {
  return checker().races();
}

std::uint64_t operations() {
  return checker().operations();
}

void reset() {
  checker().reset();
}

void host_waits_for(std::int64_t stream) {
  if (is_on()) checker().host_waits_for(stream);
}

void record(const void* event, std::int64_t stream) {
  if (is_on()) checker().record(event, stream);
}

void stream_waits_for(std::int64_t stream, const void* event) {
  if (is_on()) checker().stream_waits_for(stream, event);
}

void operation(std::int64_t stream, const std::string& name, const std::vector<MemoryAccess>& accesses) {
  if (is_on()) checker().operation(stream, name, accesses, {});
}

}  // namespace kangpt::test::stream_checker
