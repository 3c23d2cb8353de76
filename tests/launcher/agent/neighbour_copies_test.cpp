// Run under mpirun with 2 and 4 ranks, each a node of its own whose copies the next one keeps.
#include "launcher/agent/neighbour_copies.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace kangpt::launcher {
namespace {

using nlohmann::json;
using sharding::ExchangeMemory;
using sharding::Publication;
using ::testing::Contains;

sharding::MpiGroup* group = nullptr;  // made in main(), since MPI starts once a process

constexpr std::uint64_t kRange = 200'000;  // a slot is several pieces

float value_of(int rank, std::uint64_t step, int version) {
  return static_cast<float>(1000 * version + 100 * rank) + static_cast<float>(step);
}

class NeighbourCopiesTest : public ::testing::Test {
 protected:
  static int size() { return group->size(); }
  static int rank() { return group->rank(); }
  static int source() { return (rank() + size() - 1) % size(); }

  CopyPlan plan(std::uint64_t interval_steps = 1) {
    return {.holder = (rank() + 1) % size(), .held = {{source(), copies_}}, .interval_steps = interval_steps};
  }

  // What a worker does at the end of a step.
  void publish(std::uint64_t step, int version = 0) {
    const int slot = memory_.claim_slot(published_);
    std::ranges::fill(memory_.slot_values(slot), value_of(rank(), step, version));
    Publication publication{.checksum = sharding::slot_checksum(memory_.slot(slot))};
    publication.state.step = step;
    publication.state.logical_shards = 4;
    memory_.note(slot, publication);
    published_ = slot;
  }

  // Until the copies of `step` are whole everywhere, and nothing is left to be done.
  void until_copied(NeighbourCopies& copies, std::uint64_t step) const {
    while (copies.busy() || copies_.newest_noted() != step) {
      copies.progress();
      group->attend();
      ::poll(nullptr, 0, 0);
    }
    group->all_gather("");
  }

  static std::set<std::uint64_t> intact_steps(const ExchangeMemory& memory) {
    std::set<std::uint64_t> steps;
    for (int slot = 0; slot < memory.slots(); ++slot) {
      const std::optional<Publication> noted = memory.noted(slot);
      if (noted && sharding::slot_checksum(memory.slot(slot)) == noted->checksum) steps.insert(noted->state.step);
    }
    return steps;
  }

  // The newest step that all ranges are there of, whichever rank is lost with its memory; 0: none. Collective.
  std::uint64_t newest_step_without_any_one_rank() const {
    const json mine = {{"own", intact_steps(memory_)}, {"copy", intact_steps(copies_)}};
    std::vector<json> all;
    for (const std::string& text : group->all_gather(mine.dump())) all.push_back(json::parse(text));
    std::uint64_t worst = std::numeric_limits<std::uint64_t>::max();
    for (int lost = 0; lost < size(); ++lost) {
      std::set<std::uint64_t> steps = all[static_cast<std::size_t>((lost + 1) % size())]["copy"];
      for (int other = 0; other < size(); ++other) {
        const std::set<std::uint64_t> own = all[static_cast<std::size_t>(other)]["own"];
        if (other != lost) std::erase_if(steps, [&](std::uint64_t step) { return !own.contains(step); });
      }
      worst = std::min(worst, steps.empty() ? 0 : *steps.rbegin());
    }
    return worst;
  }

  void expect_copy(std::uint64_t step, int version = 0) const {
    ASSERT_THAT(intact_steps(copies_), Contains(step));
    const std::span<const float> values = copies_.slot_values(copies_.slot_noted(step));
    EXPECT_TRUE(std::ranges::all_of(values, [&](float v) { return v == value_of(source(), step, version); })) << step;
  }

  static ExchangeMemory view(std::vector<std::byte>& bytes, std::uint64_t flat_size, int slots) {
    bytes.resize(ExchangeMemory::size_bytes(flat_size, kRange, {slots}));
    return {bytes, flat_size, kRange, {slots}};
  }

  const std::uint64_t flat_size_ = kRange * static_cast<std::uint64_t>(size());
  std::vector<std::byte> own_bytes_, copy_bytes_;
  const ExchangeMemory memory_ = view(own_bytes_, flat_size_, ExchangeMemory::kMostSlots);
  const ExchangeMemory copies_ = view(copy_bytes_, 0, ExchangeMemory::kSlots);
  int published_ = 0;
};

TEST_F(NeighbourCopiesTest, EachStepIsCopiedAndTheOneBeforeStays) {
  NeighbourCopies copies(*group, memory_, plan());
  for (std::uint64_t step = 1; step <= 5; ++step) {
    publish(step);
    until_copied(copies, step);
    expect_copy(step);
    if (step > 1) expect_copy(step - 1);
    EXPECT_EQ(newest_step_without_any_one_rank(), step);
    if (rank() == 0) {
      EXPECT_EQ(copies.complete_step(), static_cast<std::int64_t>(step));
    }
  }
  copies.finish();
}

// With one call a step no set is whole before the next step is there. What counts: once there is a set, one is whole
// at any moment, though steps come and go.
TEST_F(NeighbourCopiesTest, ASlowLinkSkipsToTheNewestAndKeepsAWholeSetMeanwhile) {
  constexpr std::uint64_t kSteps = 60;
  NeighbourCopies copies(*group, memory_, plan());
  std::set<std::int64_t> complete;
  std::uint64_t newest_whole = 0;
  for (std::uint64_t step = 1; step <= kSteps; ++step) {
    publish(step);
    copies.progress();
    complete.insert(copies.complete_step());
    const std::uint64_t whole = newest_step_without_any_one_rank();
    EXPECT_GE(whole, newest_whole) << "at step " << step;
    newest_whole = whole;
  }
  EXPECT_GT(newest_whole, 0U) << "no set was ever whole";
  if (rank() == 0) {
    EXPECT_GT(complete.size(), 3U);
    EXPECT_LT(complete.size(), kSteps / 2);
  }
  until_copied(copies, kSteps);
  expect_copy(kSteps);
  EXPECT_EQ(newest_step_without_any_one_rank(), kSteps);
  copies.finish();
}

TEST_F(NeighbourCopiesTest, AnIntervalLeavesStepsOut) {
  NeighbourCopies copies(*group, memory_, plan(4));
  for (std::uint64_t step = 1; step <= 8; ++step) {
    publish(step);
    until_copied(copies, step < 5 ? 1 : 5);
  }
  expect_copy(5);
  EXPECT_THAT(intact_steps(copies_), ::testing::ElementsAre(1, 5));
  copies.finish();
}

// Some ranks are a step ahead when a worker dies, and its step becomes another one then.
TEST_F(NeighbourCopiesTest, WhatWasAheadOfARestartDoesNotCount) {
  NeighbourCopies copies(*group, memory_, plan());
  for (std::uint64_t step = 1; step <= 5; ++step) {
    publish(step);
    until_copied(copies, step);
  }
  if (rank() == 0) publish(6);
  for (int i = 0; i < 100; ++i) {
    copies.progress();
    ::poll(nullptr, 0, 1);
  }
  copies.go_back_to(5);
  published_ = memory_.slot_noted(5);
  EXPECT_EQ(newest_step_without_any_one_rank(), 5U);
  publish(6, 1);
  until_copied(copies, 6);
  expect_copy(6, 1);
  expect_copy(5);
  copies.finish();
}

// And a set that was complete.
TEST_F(NeighbourCopiesTest, GoingFurtherBackForgetsCompleteCopies) {
  NeighbourCopies copies(*group, memory_, plan());
  for (std::uint64_t step = 1; step <= 5; ++step) {
    publish(step);
    until_copied(copies, step);
  }
  copies.go_back_to(2);
  EXPECT_THAT(intact_steps(copies_), ::testing::IsEmpty());
  for (std::uint64_t step = 3; step <= 5; ++step) {
    publish(step, 1);
    until_copied(copies, step);
    expect_copy(step, 1);
  }
  copies.finish();
}

TEST_F(NeighbourCopiesTest, TheEndWaitsForWhatIsOnItsWayAlone) {
  for (int i = 0; i < 5; ++i) {
    NeighbourCopies copies(*group, memory_, plan());
    publish(static_cast<std::uint64_t>(i) + 1);
    for (int calls = 0; calls < 2 * i; ++calls) copies.progress();
    copies.finish();
  }
}

TEST_F(NeighbourCopiesTest, OnOneNodeThereIsNothingToDo) {
  NeighbourCopies copies(*group, memory_, {});
  publish(1);
  copies.progress();
  EXPECT_FALSE(copies.busy());
  copies.go_back_to(0);
  EXPECT_FALSE(memory_.newest_noted());
  copies.finish();
}

}  // namespace

int run_all(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  sharding::MpiGroup mpi;
  group = &mpi;
  return RUN_ALL_TESTS();
}

}  // namespace kangpt::launcher

int main(int argc, char** argv) {
  return kangpt::launcher::run_all(argc, argv);
}
