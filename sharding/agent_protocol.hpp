// What an agent and its worker share: a socket for messages and a mapping for buffers.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/shared_memory.hpp"
#include "base/unique_fd.hpp"
#include "io/training_state.hpp"
#include "sharding/partition.hpp"

namespace kangpt::sharding {

// --- Messages ---
//
// The agent speaks first, with kStart, and then only answers. The worker asks for one collective at a time and computes
// nothing until its kDone is there; in between it says what the agent has to know, and goes on at once. So an agent
// always knows whose turn it is (a worker that waits for it can't be stuck), and never has two exchanges in flight that
// ranks could begin in different orders. The worker's last message is kFinished, kFailed or kBadBatch; one that ends
// without any has crashed.

enum class MessageKind : std::uint32_t {
  // agent -> worker
  kStart = 1,  // payload: StartOrder, then the configuration as text
  kDone,       // the collective asked for is complete; payload: its result, if it has one
  // worker -> agent, each answered by kDone
  kReduceScatter,   // of the gradient buffer; argument: config::Reduction
  kAllGather,       // of ExchangeMemory::gatherable(argument) into the parameter buffer
  kAllGatherBytes,  // payload: this rank's bytes (the same number on every rank)
  // worker -> agent, not answered
  kPublish,     // slot `argument` is a valid snapshot; payload: Publication. Answered by kDone if it goes to disk: once
                // the slot may be written again
  kReport,      // payload: JSON for the run's log
  kFaultFired,  // fault.inject number `argument` happens now
  kFinished,    // the worker is done; argument: exit code (done or stopped)
  kFailed,      // the worker can't go on; argument: exit code; payload: message
  kBadBatch,    // loss or gradient of batch `argument` is not finite and the policy is ROLLBACK; payload: message
};

struct Message {
  MessageKind kind{};
  std::uint64_t argument = 0;
  std::string payload;
};

// Owns one end of a SOCK_SEQPACKET pair. A message arrives whole or not at all, though it travels in pieces: the kernel
// takes a packet as a whole, and of the pieces that a worker sent before it died in the middle no message is made. Not
// thread-safe.
class MessageSocket {
 public:
  static constexpr std::size_t kPieceBytes = std::size_t{64} << 10;
  static constexpr std::size_t kMaxPayloadBytes = std::size_t{64} << 20;  // what a worker gone mad can cost its agent

  explicit MessageSocket(base::UniqueFd fd) : fd_(std::move(fd)) {}
  int fd() const noexcept { return fd_.value(); }

  // Blocks until it is on its way. Throws CommunicationError if the other end is gone or the payload is too long.
  void send(MessageKind kind, std::uint64_t argument = 0, std::string_view payload = {});
  // The same without blocking: what the other end has no room for yet goes out with later calls of flush().
  void post(MessageKind kind, std::uint64_t argument = 0, std::string_view payload = {});
  // Goes on with what was posted. False while some of it is left; the descriptor is writable when it can go on.
  bool flush();
  // Blocks. nullopt once the other end is gone. Throws CommunicationError for what is not a message.
  std::optional<Message> receive();
  // The next message if all of it is there now. `closed` is set once the other end is gone.
  std::optional<Message> try_receive(bool& closed);

 private:
  bool send_piece(const std::string& piece, int flags);
  std::optional<Message> receive(int flags, bool& closed);
  bool take_piece(std::string_view piece);

  base::UniqueFd fd_;
  std::deque<std::string> outbox_;  // pieces, header included
  std::string inbox_;               // room for one piece
  Message arriving_;
  std::uint64_t missing_bytes_ = 0;  // of arriving_
};

struct SocketPair {
  MessageSocket agent;
  MessageSocket worker;
};
SocketPair make_socket_pair();

// Bytes of a trivially copyable value, for payloads.
template <typename T>
std::string_view as_payload(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
// Throws CommunicationError unless the payload starts with a T.
void copy_payload(std::string_view payload, void* value, std::size_t size);
template <typename T>
T from_payload(std::string_view payload) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  copy_payload(payload, &value, sizeof value);
  return value;
}

struct StartOrder {
  std::int32_t rank = 0;
  std::int32_t world_size = 1;
  std::int32_t gpu = 0;            // its number among those that this process sees
  std::int32_t slot = -1;          // holds `state`; -1: a fresh start
  std::int32_t slots = 2;          // of the shared memory
  std::uint64_t fired_faults = 0;  // bit i: fault.inject number i happened in an earlier life
  io::TrainingState state;         // with logical_shards and threads set even for a fresh start
};

// The hand-over of a slot. Nobody locks one: the worker writes a slot that the agent does not know, and then sends
// this. The system calls that send and receive it order memory as a release and an acquire would, so the agent finds
// all of what was written before. A worker that dies earlier has not said anything, and the slot it named last is still
// whole, since it never writes to that one. The checksum is for what no order prevents: a worker gone mad that writes
// anywhere.
struct Publication {
  io::TrainingState state;
  std::uint64_t checksum = 0;          // of the slot, see ExchangeMemory::checksum
  std::uint64_t write_checkpoint = 0;  // 1: to disk too
};

// --- Shared memory ---

// Where a worker is. The agent only reads what no comment below claims for it; a worker gone mad may write anything
// there. Each word is read for itself: a step may be seen with the phase before, which makes a message less exact and
// decides nothing. Between processes atomics have to be free of locks, which would be in one of them.
struct HeartbeatPage {
  std::atomic<std::uint64_t> step;
  std::atomic<std::uint32_t> phase;                 // training::Phase
  std::atomic<std::uint32_t> stop_requested;        // written by the agent
  std::atomic<std::uint32_t> checkpoint_requested;  // written by the agent: it is time, or the last one failed
  std::atomic<std::int64_t> monotonic_nanoseconds;  // of the last change of phase
  std::atomic<std::uint64_t> progress;              // counts signs of life within phases
  std::atomic<std::uint64_t> collective;            // number of the one in which it waits for other workers; 0: none
  std::atomic<std::uint64_t> publications;          // written by the agent: how many kPublish it has taken
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

// Layout: heartbeat page | a note for each slot that there may be | gradients [P] | parameters [P] | the slots, a slot
// being parameters, first and second moments of this rank's range [R each] and, where one is kept, the average of its
// parameters [R], a note a page that says what its slot holds. Two slots are enough to go on after a crash of a worker;
// where snapshots are copied to other nodes, there are two more, which the agent holds while they are copied, so that
// no worker has to wait for that. A view; it owns nothing. Gradients and parameters belong to whoever's turn it is: to
// the agent from a request for a collective to its kDone, to the worker else. They may be torn by a crash, and are
// worth nothing after one; what survives is in the slots.
class ExchangeMemory {
 public:
  static constexpr int kSlots = 2;
  static constexpr int kMostSlots = 4;  // of memory that is copied
  static constexpr std::size_t kMostArrays = 4;
  struct Slot {
    std::span<float> parameters;
    std::span<float> first_moment;
    std::span<float> second_moment;
    std::span<float> average = {};  // of the parameters; empty: none is kept

    std::array<std::span<float>, kMostArrays> arrays() const noexcept {
      return {parameters, first_moment, second_moment, average};
    }
  };
  struct Shape {
    int slots = kSlots;
    int arrays = 3;  // of a slot, see arrays_for()
  };
  // With optimizer.ema_decay.
  static constexpr int arrays_for(double ema_decay) noexcept { return ema_decay > 0 ? 4 : 3; }

  static std::size_t size_bytes(std::uint64_t padded_size, std::uint64_t range_size, Shape shape) noexcept;
  static std::size_t size_bytes(std::uint64_t padded_size, std::uint64_t range_size) noexcept {
    return size_bytes(padded_size, range_size, Shape{});
  }
  // Throws CommunicationError if `memory` is too small.
  ExchangeMemory(std::span<std::byte> memory, std::uint64_t padded_size, std::uint64_t range_size, Shape shape);
  ExchangeMemory(std::span<std::byte> memory, std::uint64_t padded_size, std::uint64_t range_size)
      : ExchangeMemory(memory, padded_size, range_size, Shape{}) {}

  int slots() const noexcept { return shape_.slots; }

  HeartbeatPage& heartbeat() const noexcept { return *heartbeat_; }
  std::span<float> gradients() const noexcept { return {floats_, padded_size_}; }
  std::span<float> parameters() const noexcept { return {floats_ + padded_size_, padded_size_}; }
  Slot slot(int index) const noexcept;
  // All of it as one.
  std::span<float> slot_values(int index) const noexcept;
  // What can be gathered into parameters(), by number: the parameters of each slot, then their averages; empty: nothing
  // has that number.
  std::span<float> gatherable(std::uint64_t number) const noexcept;

  // Notes what a slot holds, so that whoever finds this memory after all processes were killed knows it. The worker
  // does, before it writes to the other slot: then one of the two is whole and noted at any moment.
  void note(int slot, const Publication& publication) const noexcept;
  // What was noted last; nullopt: nothing, or that note itself is torn. Whether the slot still holds it, its checksum
  // says.
  std::optional<Publication> noted(int slot) const noexcept;
  // Whoever finds this memory must not go on from what is in it; or not from what is newer than `step`.
  void forget_notes() const noexcept;
  void forget_notes_after(std::uint64_t step) const noexcept;
  void forget_note(int slot) const noexcept;
  // The slot of which the note says that it holds `step`; -1: none. And the newest step that any note says.
  int slot_noted(std::uint64_t step) const noexcept;
  std::optional<std::uint64_t> newest_noted() const noexcept;
  // The slot with the oldest note, or none, apart from slot `kept` (-1: any).
  int oldest_slot_but(int kept) const { return slots_by_age(kept).front(); }

  // The worker: chooses the slot that it writes next, and may write to it from then on: the oldest that neither is
  // `published`, the newest snapshot, nor held.
  int claim_slot(int published) const;
  // The agent: keeps the worker from choosing any of `slots` (bit i: slot i) from now on, instead of those held before.
  // Those that the worker has chosen already are not held by that, see is_claimed(): either it finds the slot held, or
  // is found to have chosen it.
  void hold_slots(std::uint32_t slots) const noexcept;
  bool is_claimed(int slot) const noexcept;

 private:
  struct Note;
  struct SlotUse;
  Note& note_of(int slot) const noexcept;
  SlotUse& slot_use() const noexcept;
  std::vector<int> slots_by_age(int kept) const;

  HeartbeatPage* heartbeat_;
  float* floats_;
  std::uint64_t padded_size_;
  std::uint64_t range_size_;
  Shape shape_;
};

// Runs body(0) ... body(count - 1), in any order, perhaps at the same time.
using ForEach = std::function<void(std::size_t count, const std::function<void(std::size_t)>& body)>;
void for_each_in_turn(std::size_t count, const std::function<void(std::size_t)>& body);

// XXH3 of the XXH3 of each block of 64 Ki elements.
std::uint64_t block_checksum(std::span<const float> values, const ForEach& for_each = for_each_in_turn);

// What makes a torn slot visible, to be taken block by block while the values are still in the processor's cache.
class SlotHashes {
 public:
  explicit SlotHashes(const ExchangeMemory::Slot& slot);

  std::size_t blocks() const noexcept { return arrays_[0].size(); }
  // Elements of a block, counted from the beginning of the range.
  FlatInterval block(std::size_t index) const noexcept;
  // Hashes a block of all arrays. Different blocks may be taken at the same time.
  void take(const ExchangeMemory::Slot& slot, std::size_t index);
  // The slot_checksum() of what was taken. REQUIRES: every block was.
  std::uint64_t checksum() const;

 private:
  std::uint64_t range_size_;
  std::array<std::vector<std::uint64_t>, ExchangeMemory::kMostArrays> arrays_;  // without blocks where there is none
};

// Of parameters, moments and average: the XXH3 of their block_checksum().
std::uint64_t slot_checksum(const ExchangeMemory::Slot& slot, const ForEach& for_each = for_each_in_turn);

}  // namespace kangpt::sharding
