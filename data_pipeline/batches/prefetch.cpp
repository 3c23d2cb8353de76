#include "data_pipeline/batches/prefetch.hpp"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

namespace kangpt::data {
namespace {

struct Request {
  std::uint64_t batch = 0;
  int shard = 0;
  bool operator==(const Request&) const = default;
};

struct Ready {
  Request request;
  training::MicroBatch micro_batch;
  std::exception_ptr error;
};

class PrefetchedBatches : public training::BatchSource {
 public:
  PrefetchedBatches(std::unique_ptr<training::BatchSource> source, const PrefetchPlan& plan)
      : source_(std::move(source)),
        plan_(plan),
        batches_per_epoch_(source_->batches_per_epoch()),
        next_{plan.first_batch, plan.shards_begin},
        thread_([this](const std::stop_token& stop) { run(stop); }) {}

  training::MicroBatch micro_batch(std::uint64_t batch, int logical_shard) override {
    const Request wanted{batch, logical_shard};
    std::unique_lock lock(mutex_);
    if ((ready_.empty() ? next_ : ready_.front().request) != wanted) {
      ready_.clear();
      next_ = wanted;
      ++generation_;
    }
    changed_.notify_all();
    changed_.wait(lock, [&] { return !ready_.empty(); });
    Ready result = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    if (result.error) std::rethrow_exception(result.error);
    return std::move(result.micro_batch);
  }

  std::uint64_t batches_per_epoch() const override { return batches_per_epoch_; }

 private:
  Request after(const Request& request) const {
    if (request.shard + 1 < plan_.shards_end) return {request.batch, request.shard + 1};
    return {request.batch + 1, plan_.shards_begin};
  }

  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const auto has_room = [&] { return ready_.size() < static_cast<std::size_t>(plan_.depth); };
    while (changed_.wait(lock, stop, has_room)) {
      const Request request = next_;
      const std::uint64_t generation = generation_;
      lock.unlock();
      Ready result = load(request);
      lock.lock();
      if (generation != generation_) continue;
      next_ = after(request);
      ready_.push_back(std::move(result));
      changed_.notify_all();
    }
  }

  Ready load(const Request& request) {
    try {
      return {request, source_->micro_batch(request.batch, request.shard), nullptr};
    } catch (...) {
      return {request, {}, std::current_exception()};
    }
  }

  std::unique_ptr<training::BatchSource> source_;  // used by the thread alone
  PrefetchPlan plan_;
  std::uint64_t batches_per_epoch_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  Request next_;                  // what the thread loads next, or is loading
  std::uint64_t generation_ = 0;  // changes when the plan is restarted
  std::deque<Ready> ready_;
  std::jthread thread_;  // the last member: it uses all the others
};

}  // namespace

std::unique_ptr<training::BatchSource> prefetch(std::unique_ptr<training::BatchSource> source,
                                                const PrefetchPlan& plan) {
  return std::make_unique<PrefetchedBatches>(std::move(source), plan);
}

}  // namespace kangpt::data
