#include "tests/support/cuda_emulator/emulator.hpp"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace kangpt::emulator {
namespace {

constexpr std::size_t kWarp = 32;
constexpr std::size_t kStackBytes = 64 << 10;

enum class State { kReady, kAtBarrier, kAtShuffle, kDone };

// Its first start goes by a ucontext, which has a stack to give; all other switches by jumps, which cost no system
// call.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  bool is_there = false;
  std::unique_ptr<std::byte[]> stack = std::make_unique<std::byte[]>(kStackBytes);
  Index thread;
  State state = State::kDone;
  std::uint64_t given = 0;  // to a shuffle
};

Index unrolled(std::size_t number, Index sizes) {
  const auto n = static_cast<unsigned>(number);
  return {n % sizes.x, n / sizes.x % sizes.y, n / sizes.x / sizes.y};
}

std::size_t count(Index sizes) {
  return std::size_t{sizes.x} * sizes.y * sizes.z;
}

class Machine {
 public:
  void run(Index blocks, Index threads, const std::function<void()>& thread);
  void wait(State state) {
    Fiber& fiber = *fibers_[running_];
    fiber.state = state;
    if (_setjmp(fiber.place) == 0) _longjmp(scheduler_, 1);
  }
  std::uint64_t exchange(std::uint64_t bits, unsigned lane) {
    fibers_[running_]->given = bits;
    wait(State::kAtShuffle);
    return taken_[running_ / kWarp * kWarp + lane];
  }

  // Leaves the thread that runs, for good.
  void stop(std::string why) {
    why_stopped_ = std::move(why);
    wait(State::kDone);
  }

  Place place;
  std::uint64_t order = 0;
  std::size_t running() const { return running_; }

 private:
  static void enter();
  void run_block();
  void resume(Fiber& fiber);
  [[noreturn]] void fail(const std::string& why) {
    fibers_.clear();  // some are in the middle of their thread
    throw std::logic_error(why);
  }
  bool run_ready();
  bool end_shuffles();
  bool end_barrier();
  static void order_by(std::uint64_t seed, std::vector<std::size_t>& numbers);

  std::vector<std::unique_ptr<Fiber>> fibers_;  // more than threads, if a block before was larger
  std::vector<std::uint64_t> taken_;            // by each thread's last shuffle
  std::size_t size_ = 0;                        // threads of a block
  std::size_t running_ = 0;
  std::vector<std::size_t> blocks_, threads_;  // their numbers in the order in which they run
  jmp_buf scheduler_ = {};
  const std::function<void()>* thread_ = nullptr;
  std::string why_stopped_;
};

thread_local Machine machine;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables): where fibers find it

void Machine::enter() {
  while (true) {  // a thread after the other
    (*machine.thread_)();
    machine.wait(State::kDone);
  }
}

void Machine::order_by(std::uint64_t seed, std::vector<std::size_t>& numbers) {
  std::iota(numbers.begin(), numbers.end(), std::size_t{0});
  if (seed != 0) std::shuffle(numbers.begin(), numbers.end(), std::mt19937_64(seed));
}

void Machine::run(Index blocks, Index threads, const std::function<void()>& thread) {
  size_ = count(threads);
  if (size_ % kWarp != 0)
    throw std::logic_error("a block of " + std::to_string(size_) + " threads is no whole number of warps");
  while (fibers_.size() < size_) fibers_.push_back(std::make_unique<Fiber>());
  taken_.resize(size_);
  thread_ = &thread;
  place.threads = threads;
  place.blocks = blocks;
  blocks_.resize(count(blocks));
  threads_.resize(size_);
  order_by(order, blocks_);
  order_by(order, threads_);
  for (const std::size_t number : blocks_) {
    place.block = unrolled(number, blocks);
    run_block();
  }
}

// Returns when the fiber waits.
void Machine::resume(Fiber& fiber) {
  if (_setjmp(scheduler_) != 0) return;
  if (fiber.is_there) _longjmp(fiber.place, 1);
  fiber.is_there = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &Machine::enter, 0);
  setcontext(&fiber.context);
}

void Machine::run_block() {
  for (std::size_t number = 0; number < size_; ++number) {
    fibers_[number]->thread = unrolled(number, place.threads);
    fibers_[number]->state = State::kReady;
  }
  while (true) {
    const bool some_ran = run_ready();
    const bool some_shuffled = end_shuffles();
    if (!why_stopped_.empty()) fail(std::exchange(why_stopped_, {}));
    const bool done = std::all_of(fibers_.begin(), fibers_.begin() + static_cast<std::ptrdiff_t>(size_),
                                  [](const auto& fiber) { return fiber->state == State::kDone; });
    if (done) return;
    if (!end_barrier() && !some_ran && !some_shuffled) {
      fail("block " + std::to_string(place.block.x) +
           ": only some of its threads got to a barrier, or of a warp to a shuffle");
    }
  }
}

bool Machine::run_ready() {
  bool moved = false;
  for (const std::size_t number : threads_) {
    Fiber& fiber = *fibers_[number];
    if (fiber.state != State::kReady) continue;
    running_ = number;
    place.thread = fiber.thread;
    resume(fiber);
    moved = true;
  }
  return moved;
}

bool Machine::end_shuffles() {
  bool moved = false;
  for (std::size_t warp = 0; warp < size_; warp += kWarp) {
    const auto begin = fibers_.begin() + static_cast<std::ptrdiff_t>(warp);
    if (!std::all_of(begin, begin + kWarp, [](const auto& fiber) { return fiber->state == State::kAtShuffle; }))
      continue;
    for (std::size_t lane = warp; lane < warp + kWarp; ++lane) {
      taken_[lane] = fibers_[lane]->given;
      fibers_[lane]->state = State::kReady;
    }
    moved = true;
  }
  return moved;
}

bool Machine::end_barrier() {
  const auto end = fibers_.begin() + static_cast<std::ptrdiff_t>(size_);
  if (!std::all_of(fibers_.begin(), end, [](const auto& fiber) { return fiber->state == State::kAtBarrier; }))
    return false;
  std::for_each(fibers_.begin(), end, [](const auto& fiber) { fiber->state = State::kReady; });
  return true;
}

}  // namespace

const Place& place() {
  return machine.place;
}

void wait_for_block() {
  machine.wait(State::kAtBarrier);
}

std::uint64_t exchange_in_warp(std::uint64_t bits, unsigned lane) {
  return machine.exchange(bits, lane);
}

void require_aligned(const void* address, std::size_t alignment) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment == 0) return;
  machine.stop("an address is no multiple of " + std::to_string(alignment));
}

unsigned lane() {
  return static_cast<unsigned>(machine.running() % kWarp);
}

void set_order(std::uint64_t seed) {
  machine.order = seed;
}

void run(Index blocks, Index threads, const std::function<void()>& thread) {
  machine.run(blocks, threads, thread);
}

}  // namespace kangpt::emulator
