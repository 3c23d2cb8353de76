#include "sharding/agent_protocol.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/digest.hpp"
#include "base/error.hpp"

namespace kangpt::sharding {
namespace {

constexpr std::uint32_t kMagic = 0x4b414e47;  // "KANG"
constexpr int kSocketBufferBytes = 4 * 1024 * 1024;
constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kFirstPages = 1 + ExchangeMemory::kMostSlots;  // heartbeat and notes
constexpr std::size_t kSlotUseOffset = kPageBytes / 2;               // in the first page, behind the heartbeat
constexpr std::size_t kChecksumBlockElements = std::size_t{64} * 1024;

struct Header {
  std::uint32_t magic = kMagic;
  MessageKind kind{};
  std::uint64_t argument = 0;
  std::uint64_t bytes_to_follow = 0;  // of the payload, in later pieces
};

std::vector<std::string> pieces_of(MessageKind kind, std::uint64_t argument, std::string_view payload) {
  if (payload.size() > MessageSocket::kMaxPayloadBytes)
    throw CommunicationError("a message of " + std::to_string(payload.size()) + " bytes is too long");
  std::vector<std::string> pieces;
  do {
    const std::string_view content = payload.substr(0, MessageSocket::kPieceBytes);
    payload.remove_prefix(content.size());
    const Header header{.kind = kind, .argument = argument, .bytes_to_follow = payload.size()};
    pieces.push_back(std::string(as_payload(header)).append(content));
  } while (!payload.empty());
  return pieces;
}

}  // namespace

void MessageSocket::send(MessageKind kind, std::uint64_t argument, std::string_view payload) {
  for (std::string& piece : pieces_of(kind, argument, payload)) outbox_.push_back(std::move(piece));
  for (; !outbox_.empty(); outbox_.pop_front()) send_piece(outbox_.front(), 0);
}

void MessageSocket::post(MessageKind kind, std::uint64_t argument, std::string_view payload) {
  for (std::string& piece : pieces_of(kind, argument, payload)) outbox_.push_back(std::move(piece));
  flush();
}

bool MessageSocket::flush() {
  while (!outbox_.empty() && send_piece(outbox_.front(), MSG_DONTWAIT)) outbox_.pop_front();
  return outbox_.empty();
}

// False where there is no room.
bool MessageSocket::send_piece(const std::string& piece, int flags) {
  while (::send(fd_.value(), piece.data(), piece.size(), flags | MSG_NOSIGNAL) < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
    if (errno != EINTR)
      throw CommunicationError(std::string("the process at the other end is gone: ") + std::strerror(errno));
  }
  return true;
}

std::optional<Message> MessageSocket::receive() {
  bool closed = false;
  return receive(0, closed);
}

std::optional<Message> MessageSocket::try_receive(bool& closed) {
  return receive(MSG_DONTWAIT, closed);
}

std::optional<Message> MessageSocket::receive(int flags, bool& closed) {
  inbox_.resize(sizeof(Header) + kPieceBytes);
  for (;;) {
    const ssize_t size = ::recv(fd_.value(), inbox_.data(), inbox_.size(), flags | MSG_TRUNC);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
    if (size < 0 && errno != ECONNRESET)
      throw CommunicationError(std::string("cannot receive a message: ") + std::strerror(errno));
    if (size <= 0) {
      closed = true;
      return std::nullopt;
    }
    const auto bytes = static_cast<std::size_t>(size);
    if (bytes > inbox_.size() || !take_piece(std::string_view(inbox_).substr(0, bytes)))
      throw CommunicationError("received " + std::to_string(bytes) + " bytes that are not a message");
    if (missing_bytes_ == 0) return std::exchange(arriving_, {});
  }
}

// False where it is none, or does not go on with the message that is arriving.
bool MessageSocket::take_piece(std::string_view piece) {
  if (piece.size() < sizeof(Header)) return false;
  const auto header = from_payload<Header>(piece);
  const std::string_view content = piece.substr(sizeof header);
  const std::uint64_t size = content.size() + header.bytes_to_follow;
  const bool is_first = missing_bytes_ == 0;
  const bool fits = is_first ? size <= kMaxPayloadBytes
                             : size == missing_bytes_ && header.kind == arriving_.kind &&
                                   header.argument == arriving_.argument && !content.empty();
  if (header.magic != kMagic || header.bytes_to_follow > kMaxPayloadBytes || !fits) return false;
  if (is_first) arriving_ = {header.kind, header.argument, ""};
  arriving_.payload += content;
  missing_bytes_ = header.bytes_to_follow;
  return true;
}

SocketPair make_socket_pair() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) != 0)
    throw_io_error("cannot create", "a socket pair", errno);
  for (const int fd : fds) ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSocketBufferBytes, sizeof kSocketBufferBytes);
  return {MessageSocket(base::UniqueFd(fds[0])), MessageSocket(base::UniqueFd(fds[1]))};
}

void copy_payload(std::string_view payload, void* value, std::size_t size) {
  if (payload.size() < size)
    throw CommunicationError("a message is too short: " + std::to_string(payload.size()) + " bytes");
  std::memcpy(value, payload.data(), size);
}

// Checked by itself, since a process may be killed while it writes it.
struct ExchangeMemory::Note {
  Publication publication;
  std::uint64_t xxh3;

  std::uint64_t own_xxh3() const noexcept { return base::xxh3(std::as_bytes(std::span(&publication, 1))); }
};

// Not part of the heartbeat, since it outlives workers. Each side writes its own word first and reads the other's then;
// in this order of all four (sequentially consistent) at least one of the two sees what the other wrote.
struct ExchangeMemory::SlotUse {
  std::atomic<std::uint32_t> held;    // bit i: slot i, by the agent
  std::atomic<std::int32_t> claimed;  // 1 + the slot that the worker writes; 0: none
};

std::size_t ExchangeMemory::size_bytes(std::uint64_t padded_size, std::uint64_t range_size, Shape shape) noexcept {
  const auto arrays = static_cast<std::uint64_t>(shape.slots) * static_cast<std::uint64_t>(shape.arrays);
  return kFirstPages * kPageBytes + sizeof(float) * (2 * padded_size + arrays * range_size);
}

ExchangeMemory::ExchangeMemory(std::span<std::byte> memory, std::uint64_t padded_size, std::uint64_t range_size,
                               Shape shape)
    : heartbeat_(reinterpret_cast<HeartbeatPage*>(memory.data())),
      floats_(reinterpret_cast<float*>(memory.data() + kFirstPages * kPageBytes)),
      padded_size_(padded_size),
      range_size_(range_size),
      shape_(shape) {
  if (memory.size() < size_bytes(padded_size, range_size, shape))
    throw CommunicationError("the shared memory is too small");
}

std::span<float> ExchangeMemory::slot_values(int index) const noexcept {
  const std::uint64_t size = static_cast<std::uint64_t>(shape_.arrays) * range_size_;
  return {floats_ + 2 * padded_size_ + static_cast<std::uint64_t>(index) * size, size};
}

ExchangeMemory::Slot ExchangeMemory::slot(int index) const noexcept {
  const std::span<float> all = slot_values(index);
  return {all.first(range_size_), all.subspan(range_size_, range_size_), all.subspan(2 * range_size_, range_size_),
          all.subspan(3 * range_size_)};
}

std::span<float> ExchangeMemory::gatherable(std::uint64_t number) const noexcept {
  const auto slots = static_cast<std::uint64_t>(shape_.slots);
  if (number >= 2 * slots) return {};
  const Slot found = slot(static_cast<int>(number % slots));
  return number < slots ? found.parameters : found.average;
}

ExchangeMemory::Note& ExchangeMemory::note_of(int slot) const noexcept {
  static_assert(sizeof(HeartbeatPage) <= kPageBytes && sizeof(Note) <= kPageBytes);
  return *reinterpret_cast<Note*>(reinterpret_cast<std::byte*>(heartbeat_) +
                                  static_cast<std::size_t>(slot + 1) * kPageBytes);
}

void ExchangeMemory::note(int slot, const Publication& publication) const noexcept {
  Note& note = note_of(slot);
  note.publication = publication;
  note.xxh3 = note.own_xxh3();
  std::int32_t written = slot + 1;
  slot_use().claimed.compare_exchange_strong(written, 0);
}

std::optional<Publication> ExchangeMemory::noted(int slot) const noexcept {
  const Note& note = note_of(slot);
  if (note.publication.state.logical_shards == 0 || note.xxh3 != note.own_xxh3()) return std::nullopt;
  return note.publication;
}

void ExchangeMemory::forget_note(int slot) const noexcept {
  note_of(slot).xxh3 = ~note_of(slot).own_xxh3();
}

void ExchangeMemory::forget_notes() const noexcept {
  for (int slot = 0; slot < shape_.slots; ++slot) forget_note(slot);
}

void ExchangeMemory::forget_notes_after(std::uint64_t step) const noexcept {
  for (int slot = 0; slot < shape_.slots; ++slot) {
    const std::optional<Publication> found = noted(slot);
    if (found && found->state.step > step) forget_note(slot);
  }
}

int ExchangeMemory::slot_noted(std::uint64_t step) const noexcept {
  for (int slot = 0; slot < shape_.slots; ++slot) {
    const std::optional<Publication> found = noted(slot);
    if (found && found->state.step == step) return slot;
  }
  return -1;
}

std::optional<std::uint64_t> ExchangeMemory::newest_noted() const noexcept {
  std::optional<std::uint64_t> newest;
  for (int slot = 0; slot < shape_.slots; ++slot) {
    const std::optional<Publication> found = noted(slot);
    if (found && found->state.step >= newest.value_or(0)) newest = found->state.step;
  }
  return newest;
}

ExchangeMemory::SlotUse& ExchangeMemory::slot_use() const noexcept {
  static_assert(sizeof(HeartbeatPage) <= kSlotUseOffset && kSlotUseOffset + sizeof(SlotUse) <= kPageBytes);
  return *reinterpret_cast<SlotUse*>(reinterpret_cast<std::byte*>(heartbeat_) + kSlotUseOffset);
}

std::vector<int> ExchangeMemory::slots_by_age(int kept) const {
  std::vector<int> others;
  for (int slot = 0; slot < shape_.slots; ++slot) {
    if (slot != kept) others.push_back(slot);
  }
  std::ranges::stable_sort(others, {}, [this](int slot) {
    const std::optional<Publication> found = noted(slot);
    return found ? found->state.step + 1 : 0;
  });
  return others;
}

int ExchangeMemory::claim_slot(int published) const {
  const std::vector<int> others = slots_by_age(published);
  for (const int slot : others) {
    slot_use().claimed.store(slot + 1);
    if ((slot_use().held.load() >> slot & 1U) == 0) return slot;
  }
  slot_use().claimed.store(others.front() + 1);  // an agent never holds so many
  return others.front();
}

void ExchangeMemory::hold_slots(std::uint32_t slots) const noexcept {
  slot_use().held.store(slots);
}

bool ExchangeMemory::is_claimed(int slot) const noexcept {
  return slot_use().claimed.load() == slot + 1;
}

void for_each_in_turn(std::size_t count, const std::function<void(std::size_t)>& body) {
  for (std::size_t i = 0; i < count; ++i) body(i);
}

std::uint64_t block_checksum(std::span<const float> values, const ForEach& for_each) {
  std::vector<std::uint64_t> blocks((values.size() + kChecksumBlockElements - 1) / kChecksumBlockElements);
  for_each(blocks.size(), [&](std::size_t i) {
    const std::size_t begin = i * kChecksumBlockElements;
    blocks[i] =
        base::xxh3(std::as_bytes(values.subspan(begin, std::min(kChecksumBlockElements, values.size() - begin))));
  });
  return base::xxh3(std::as_bytes(std::span(blocks)));
}

SlotHashes::SlotHashes(const ExchangeMemory::Slot& slot) : range_size_(slot.parameters.size()) {
  const auto values = slot.arrays();
  for (std::size_t array = 0; array < values.size(); ++array)
    arrays_[array].resize((values[array].size() + kChecksumBlockElements - 1) / kChecksumBlockElements);
}

FlatInterval SlotHashes::block(std::size_t index) const noexcept {
  const std::uint64_t begin = index * kChecksumBlockElements;
  return {begin, std::min<std::uint64_t>(begin + kChecksumBlockElements, range_size_)};
}

void SlotHashes::take(const ExchangeMemory::Slot& slot, std::size_t index) {
  const FlatInterval where = block(index);
  const auto values = slot.arrays();
  for (std::size_t array = 0; array < values.size() && !values[array].empty(); ++array)
    arrays_[array][index] = base::xxh3(std::as_bytes(values[array].subspan(where.begin, where.size())));
}

std::uint64_t SlotHashes::checksum() const {
  std::vector<std::uint64_t> sums;
  for (const std::vector<std::uint64_t>& hashes : arrays_) {
    if (!hashes.empty()) sums.push_back(base::xxh3(std::as_bytes(std::span(hashes))));
  }
  return base::xxh3(std::as_bytes(std::span(sums)));
}

std::uint64_t slot_checksum(const ExchangeMemory::Slot& slot, const ForEach& for_each) {
  SlotHashes hashes(slot);
  for_each(hashes.blocks(), [&](std::size_t i) { hashes.take(slot, i); });
  return hashes.checksum();
}

}  // namespace kangpt::sharding
