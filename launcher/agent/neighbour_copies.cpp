#include "launcher/agent/neighbour_copies.hpp"

#include <poll.h>

#include <algorithm>
#include <map>
#include <utility>

namespace kangpt::launcher {
namespace {

using sharding::CopySet;

constexpr unsigned kRestartShift = 32;

std::uint64_t restart_of(const CopySet& set) {
  return set.number >> kRestartShift;
}

std::uint32_t bit(int slot) {
  return slot < 0 ? 0 : 1U << static_cast<unsigned>(slot);
}

}  // namespace

NeighbourCopies::NeighbourCopies(sharding::MpiGroup& group, const sharding::ExchangeMemory& memory, CopyPlan plan)
    : group_(group), memory_(memory), plan_(std::move(plan)), sender_(group, plan_.holder) {
  for (const CopyPlan::Held& held : plan_.held) receivers_.emplace_back(group, held.source, held.memory);
}

void NeighbourCopies::progress() {
  if (!is_on()) return;
  if (group_.rank() == 0) lead();
  look_for_set();
  sender_.progress();
  take_pieces();
}

bool NeighbourCopies::is_due() const {
  const std::optional<std::uint64_t> newest = memory_.newest_noted();
  return newest && *newest >= next_step_;
}

bool NeighbourCopies::busy() const {
  if (!is_on()) return false;
  const bool receiving = std::ranges::any_of(receivers_, [](const auto& receiver) { return !receiver.idle(); });
  return receiving || !sender_.idle() || wanted_ || led_ || is_due();
}

void NeighbourCopies::lead() {
  while (const auto message = group_.receive(kOutcomeTopic)) {
    const auto [set, outcome] = sharding::from_payload<OutcomeMessage>(message->text);
    if (!led_ || led_->number != set) continue;
    if (outcome == Outcome::kMissed) {
      next_step_ = led_->step + 1;
      led_.reset();
    } else if (++complete_copies_ == group_.size()) {
      complete_step_ = static_cast<std::int64_t>(std::exchange(led_, std::nullopt)->step);
    }
  }
  if (!led_ && is_due()) name_next_set();
}

void NeighbourCopies::name_next_set() {
  led_ = CopySet{(restarts_ << kRestartShift) + ++sets_, *memory_.newest_noted(), complete_step_};
  complete_copies_ = 0;
  for (int rank = 0; rank < group_.size(); ++rank)
    group_.post(rank, kSetTopic, std::string(sharding::as_payload(*led_)));
}

// Rank 0 may be a restart ahead, but the worker of this rank can't be.
void NeighbourCopies::look_for_set() {
  while (const auto message = group_.receive(kSetTopic)) {
    const auto set = sharding::from_payload<CopySet>(message->text);
    if (restart_of(set) >= restarts_) wanted_ = set;
  }
  if (!wanted_ || restart_of(*wanted_) != restarts_) return;
  const std::optional<std::uint64_t> newest = memory_.newest_noted();
  if (newest && *newest >= wanted_->step) begin(*std::exchange(wanted_, std::nullopt));
}

// That rank 0 names a set means that the one before is complete, or given up: its slot is held on as the one that is
// kept, or not at all.
void NeighbourCopies::begin(const CopySet& set) {
  next_step_ = set.step + plan_.interval_steps;
  const int kept = set.kept_step < 0 ? -1 : memory_.slot_noted(static_cast<std::uint64_t>(set.kept_step));
  const int slot = memory_.slot_noted(set.step);
  memory_.hold_slots(bit(kept) | bit(slot));
  const std::optional<sharding::Publication> publication = slot < 0 ? std::nullopt : memory_.noted(slot);
  if (publication && publication->state.step == set.step && !memory_.is_claimed(slot))
    return sender_.begin(set, memory_.slot_values(slot), *publication);
  memory_.hold_slots(bit(kept));
  tell(set, Outcome::kMissed);
}

void NeighbourCopies::take_pieces() {
  while (const auto message = group_.receive(sharding::kPieceTopic)) {
    const auto receiver = std::ranges::find(receivers_, message->source, &sharding::CopyReceiver::source);
    if (receiver != receivers_.end()) receiver->announced(sharding::from_payload<sharding::PieceHeader>(message->text));
  }
  for (sharding::CopyReceiver& receiver : receivers_) {
    if (const std::optional<CopySet> complete = receiver.progress()) tell(*complete, Outcome::kComplete);
  }
}

void NeighbourCopies::tell(const CopySet& set, Outcome outcome) {
  const OutcomeMessage message{set.number, outcome};
  group_.post(0, kOutcomeTopic, std::string(sharding::as_payload(message)));
}

void NeighbourCopies::go_back_to(std::uint64_t step) {
  ++restarts_;
  memory_.forget_notes_after(step);
  for (sharding::CopyReceiver& receiver : receivers_) receiver.forget(step, restarts_ << kRestartShift);
  if (!is_on()) return;
  sender_.stop();
  if (wanted_ && restart_of(*wanted_) < restarts_) wanted_.reset();
  next_step_ = std::min(next_step_, step + 1);
  led_.reset();
  if (complete_step_ > static_cast<std::int64_t>(step)) complete_step_ = -1;
}

// Each holder is told how many pieces are on their way, and takes them.
void NeighbourCopies::finish() {
  if (!is_on()) return;
  sender_.stop();
  group_.post(plan_.holder, kEndTopic, std::to_string(sender_.pieces()));
  std::map<int, std::uint64_t> sent;  // by source
  const auto has_all = [&](const sharding::CopyReceiver& receiver) {
    return sent.contains(receiver.source()) && receiver.pieces() >= sent[receiver.source()];
  };
  while (!sender_.idle() || !std::ranges::all_of(receivers_, has_all)) {
    sender_.progress();
    take_pieces();
    while (const auto message = group_.receive(kEndTopic)) sent[message->source] = std::stoull(message->text);
    group_.attend();
    ::poll(nullptr, 0, 1);
  }
  group_.all_gather("");
  for (const int topic : {kSetTopic, kOutcomeTopic}) {
    while (group_.receive(topic)) {
    }
  }
  group_.all_gather("");  // else this would take what another one, of a rank that is ahead, says already
}

}  // namespace kangpt::launcher
