#include "sharding/mpi/copy_transfer.hpp"

#include <algorithm>

namespace kangpt::sharding {
namespace {

constexpr std::uint64_t kPieceElements = 128 * 1024;
constexpr std::size_t kPiecesInFlight = 4;

template <typename Value>
std::span<Value> piece_of(std::span<Value> values, std::uint64_t index) {
  const std::uint64_t begin = index * kPieceElements;
  return values.subspan(begin, std::min<std::uint64_t>(kPieceElements, values.size() - begin));
}

// How many of the oldest are complete; they are gone then.
std::uint64_t take_complete(std::deque<std::unique_ptr<MpiRequests>>& in_flight) {
  std::uint64_t complete = 0;
  for (; !in_flight.empty() && in_flight.front()->complete(); in_flight.pop_front()) ++complete;
  return complete;
}

}  // namespace

void CopySender::begin(const CopySet& set, std::span<const float> values, const Publication& publication) {
  header_ = {set, 0, (values.size() + kPieceElements - 1) / kPieceElements, publication};
  values_ = values;
}

void CopySender::progress() {
  take_complete(in_flight_);
  for (; header_.index < header_.count && in_flight_.size() < kPiecesInFlight; ++header_.index) {
    group_.post(holder_, kPieceTopic, std::string(as_payload(header_)));
    in_flight_.push_back(std::make_unique<MpiRequests>(group_.background_lane()));
    in_flight_.back()->send(piece_of(values_, header_.index), holder_);
    ++pieces_;
  }
}

// The pieces of a set may arrive in any order, so those of the one before have to be here before a place is written
// again.
std::optional<CopySet> CopyReceiver::progress() {
  const std::uint64_t complete = take_complete(in_flight_);
  here_ += complete;
  pieces_ += complete;
  for (; !announced_.empty() && in_flight_.size() < kPiecesInFlight; announced_.pop_front()) {
    const PieceHeader& header = announced_.front();
    if (header.set.number != arriving_.set.number) {
      if (!in_flight_.empty()) break;
      begin(header);
    }
    in_flight_.push_back(std::make_unique<MpiRequests>(group_.background_lane()));
    in_flight_.back()->receive(piece_of(memory_.slot_values(slot_), header.index), source_);
  }
  if (!counts_ || here_ < arriving_.count) return std::nullopt;
  counts_ = false;
  memory_.note(slot_, arriving_.publication);
  return arriving_.set;
}

// In the place of the older of the two, but never of the one that is complete at all ranks.
void CopyReceiver::begin(const PieceHeader& header) {
  arriving_ = header;
  here_ = 0;
  counts_ = header.set.number >= first_number_;
  const std::int64_t kept_step = header.set.kept_step;
  const int kept = kept_step < 0 ? -1 : memory_.slot_noted(static_cast<std::uint64_t>(kept_step));
  slot_ = memory_.oldest_slot_but(kept);
  memory_.forget_note(slot_);
}

void CopyReceiver::forget(std::uint64_t step, std::uint64_t first_number) {
  memory_.forget_notes_after(step);
  first_number_ = first_number;
  if (arriving_.set.number < first_number) counts_ = false;
}

}  // namespace kangpt::sharding
