// A queue between threads that holds a limited number of items, or fewer heavy ones.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace kangpt::data {

// After close(), push() drops its item and pop() gives what is left, then nothing: waiting threads always end. Items
// are blocks of text, each milliseconds of work, so a lock is taken a few hundred times a second: nothing to be
// lock-free for.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // Waits for room: an item takes `weight` of the capacity, and an empty queue takes any, since one heavier than the
  // capacity would wait for ever. False if the queue is closed.
  bool push(T item, std::size_t weight = 1) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || items_.empty() || weight_ + weight <= capacity_; });
    if (closed_) return false;
    items_.emplace_back(std::move(item), weight);
    weight_ += weight;
    // Not notify_one(): it might wake another that waits for room, and nobody who would take this item.
    changed_.notify_all();
    return true;
  }

  // Waits for an item. nullopt if the queue is closed and empty.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front().first);
    weight_ -= items_.front().second;
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<T, std::size_t>> items_;
  std::size_t weight_ = 0;  // of all items
  bool closed_ = false;
};

}  // namespace kangpt::data
