// Snapshots in files of a memory file system: found again, and never taken for what they are not.
#include "sharding/memory_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "base/error.hpp"
#include "tests/support/files.hpp"

namespace kangpt::sharding {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

namespace fs = std::filesystem;

constexpr std::uint64_t kRange = 3072;

class MemoryFileTest : public ::testing::Test {
 protected:
  MemoryFileTest() { ::setenv("KANGPT_SHM", folder_.path().c_str(), 1); }
  ~MemoryFileTest() override { ::unsetenv("KANGPT_SHM"); }

  static MemoryLabel label(int rank = 1) {
    return {.run_id = std::string(kRunIdDigits, 'a'),
            .run_directory = "runs/one",
            .configuration = "model { layers: 2 }",
            .rank = rank,
            .world_size = 2,
            .padded_size = 2 * kRange,
            .range_size = kRange};
  }

  // A worker that published step `step` in slot `slot`.
  static void publish(const base::SharedMemory& memory, int slot, std::uint64_t step) {
    const ExchangeMemory exchange(memory.bytes(), 2 * kRange, kRange);
    std::ranges::fill(exchange.slot(slot).parameters, static_cast<float>(step));
    Publication publication{.checksum = slot_checksum(exchange.slot(slot))};
    publication.state.step = step;
    publication.state.logical_shards = 4;
    exchange.note(slot, publication);
  }

  // A job that ended without a word, with steps 7 and 8 in memory.
  static fs::path leave() {
    const base::SharedMemory memory = create_memory_file(label());
    publish(memory, 1, 7);
    publish(memory, 0, 8);
    return find_memory_files().at(0);
  }

  static std::vector<std::uint64_t> steps(const std::vector<LeftMemory::HeldSnapshot>& held) {
    std::vector<std::uint64_t> steps;
    for (const LeftMemory::HeldSnapshot& snapshot : held) steps.push_back(snapshot.publication.state.step);
    return steps;
  }

  test::TemporaryDirectory folder_;
};

TEST_F(MemoryFileTest, OutlivesTheProcessThatMadeIt) {
  const fs::path file = leave();
  const std::optional<LeftMemory> left = open_left_memory(file);
  ASSERT_TRUE(left);
  EXPECT_EQ(left->label().configuration, label().configuration);
  EXPECT_EQ(left->label().run_directory, "runs/one");
  EXPECT_EQ(left->label().rank, 1);
  EXPECT_THAT(steps(left->intact()), ElementsAre(8, 7));
  EXPECT_EQ(left->slot(0).parameters[kRange - 1], 8);
  left->remove();
  EXPECT_THAT(find_memory_files(), IsEmpty());
}

TEST_F(MemoryFileTest, IsForThisUserAlone) {
  const fs::path file = leave();
  struct stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  EXPECT_FALSE(open_left_memory(file));
  EXPECT_THAT(find_memory_files(), IsEmpty());
}

TEST_F(MemoryFileTest, OfAnotherUserIsNone) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  constexpr uid_t kNobody = 65534;
  const fs::path file = leave();
  ASSERT_EQ(::chown(file.c_str(), kNobody, kNobody), 0);
  EXPECT_FALSE(open_left_memory(file));
  EXPECT_THAT(find_memory_files(), IsEmpty());
}

TEST_F(MemoryFileTest, IsNotFollowedThroughALink) {
  const fs::path file = leave();
  fs::rename(file, folder_.path() / "elsewhere");
  fs::create_symlink(folder_.path() / "elsewhere", file);
  EXPECT_THAT(find_memory_files(), IsEmpty());
}

TEST_F(MemoryFileTest, IsFoundByItsRunAlone) {
  leave();
  EXPECT_THAT(find_memory_files(label().run_id), SizeIs(1));
  EXPECT_THAT(find_memory_files(std::string(kRunIdDigits, 'b')), IsEmpty());
}

TEST_F(MemoryFileTest, IsLeftAloneWhileAProcessHoldsIt) {
  const base::SharedMemory memory = create_memory_file(label());
  const fs::path file = find_memory_files().at(0);
  EXPECT_TRUE(is_memory_in_use(file));
  EXPECT_FALSE(open_left_memory(file));
}

TEST_F(MemoryFileTest, ASlotThatWasBeingWrittenIsNotIntact) {
  const base::SharedMemory memory = create_memory_file(label());
  publish(memory, 1, 7);
  publish(memory, 0, 8);
  ExchangeMemory(memory.bytes(), 2 * kRange, kRange).slot(1).second_moment[5] = 1;  // of step 9
  const fs::path file = find_memory_files().at(0);
  const fs::path copy = file.parent_path() / "copy";
  fs::copy(file, copy);
  fs::rename(copy, file);  // of its own lock
  EXPECT_THAT(steps(open_left_memory(file)->intact()), ElementsAre(8));
}

TEST_F(MemoryFileTest, ForgottenNotesAreNone) {
  {
    const base::SharedMemory memory = create_memory_file(label());
    publish(memory, 0, 8);
    ExchangeMemory(memory.bytes(), 2 * kRange, kRange).forget_notes();
  }
  EXPECT_THAT(open_left_memory(find_memory_files().at(0))->noted(), IsEmpty());
}

TEST_F(MemoryFileTest, MakingItAnewReplacesWhatWasLeft) {
  leave();
  const base::SharedMemory memory = create_memory_file(label());
  EXPECT_FALSE(ExchangeMemory(memory.bytes(), 2 * kRange, kRange).noted(0));
}

TEST_F(MemoryFileTest, ACopyIsAFileBesideTheOwnOneWithoutGradients) {
  MemoryLabel copy = label();
  copy.kind = MemoryLabel::Kind::kCopy;
  MemoryLabel own = label();
  own.slots = ExchangeMemory::kMostSlots;
  {
    const base::SharedMemory memory = create_memory_file(copy);
    const base::SharedMemory other = create_memory_file(own);
    EXPECT_EQ(other.bytes().size() - memory.bytes().size(), sizeof(float) * (2 * 2 * kRange + 2 * 3 * kRange));
    const ExchangeMemory exchange = exchange_memory(memory.bytes(), copy);
    std::ranges::fill(exchange.slot_values(1), 8.0F);
    Publication publication{.checksum = slot_checksum(exchange.slot(1))};
    publication.state = {.step = 8, .logical_shards = 4};
    exchange.note(1, publication);
  }
  ASSERT_THAT(find_memory_files(), SizeIs(2));
  const std::optional<LeftMemory> left = open_left_memory(find_memory_files().at(1));
  ASSERT_TRUE(left);
  EXPECT_EQ(left->label().kind, MemoryLabel::Kind::kCopy);
  EXPECT_EQ(left->label().rank, 1);
  EXPECT_THAT(steps(left->intact()), ElementsAre(8));
  EXPECT_EQ(open_left_memory(find_memory_files().at(0))->label().slots, ExchangeMemory::kMostSlots);
}

// Its array is hashed too, and lies in no other one.
TEST_F(MemoryFileTest, ASlotWithAnAverageSurvivesWhole) {
  MemoryLabel averaged = label();
  averaged.arrays = ExchangeMemory::arrays_for(0.99);
  std::uint64_t before = 0;
  {
    const base::SharedMemory memory = create_memory_file(averaged);
    const ExchangeMemory exchange = exchange_memory(memory.bytes(), averaged);
    std::ranges::fill(exchange.slot_values(0), 3.0F);
    std::ranges::fill(exchange.slot_values(1), 4.0F);
    std::ranges::fill(exchange.slot(1).average, 8.0F);
    EXPECT_EQ(exchange.slot(0).average.size(), kRange);
    EXPECT_EQ(exchange.slot(0).average.back(), 3.0F);
    EXPECT_EQ(exchange.slot(1).second_moment.back(), 4.0F);
    EXPECT_EQ(exchange.gatherable(3).data(), exchange.slot(1).average.data());
    EXPECT_TRUE(exchange.gatherable(4).empty());
    before = slot_checksum(exchange.slot(1));
    Publication publication{.checksum = before};
    publication.state = {.step = 8, .logical_shards = 4};
    exchange.note(1, publication);
  }
  const std::optional<LeftMemory> left = open_left_memory(find_memory_files().at(0));
  ASSERT_TRUE(left);
  EXPECT_THAT(steps(left->intact()), ElementsAre(8));
  left->slot(1).average[5] = 7.0F;
  EXPECT_THAT(left->intact(), SizeIs(0));
}

// Neither the newest snapshot nor what the agent holds; of the others the oldest.
TEST(SlotUse, AWorkerChoosesTheOldestSlotThatIsFree) {
  std::vector<std::byte> bytes(ExchangeMemory::size_bytes(kRange, kRange, {ExchangeMemory::kMostSlots}));
  const ExchangeMemory memory(bytes, kRange, kRange, {ExchangeMemory::kMostSlots});
  const auto note = [&](int slot, std::uint64_t step) {
    Publication publication;
    publication.state = {.step = step, .logical_shards = 4};
    memory.note(slot, publication);
  };
  note(2, 1);
  EXPECT_EQ(memory.claim_slot(2), 0) << "nothing was ever in it";
  EXPECT_TRUE(memory.is_claimed(0));
  note(0, 2);
  EXPECT_FALSE(memory.is_claimed(0));
  note(1, 3);
  note(3, 4);
  EXPECT_EQ(memory.claim_slot(3), 2);
  memory.hold_slots(1U << 2 | 1U << 0);
  EXPECT_EQ(memory.claim_slot(3), 1);
  EXPECT_EQ(memory.claim_slot(1), 3);
  memory.hold_slots(0);
  EXPECT_EQ(memory.claim_slot(1), 2);
  EXPECT_EQ(memory.slot_noted(3), 1);
  EXPECT_EQ(memory.newest_noted(), 4U);
  memory.forget_notes_after(2);
  EXPECT_EQ(memory.newest_noted(), 2U);
  EXPECT_EQ(memory.slot_noted(3), -1);
}

TEST_F(MemoryFileTest, WhereThereIsNoFolderThereIsNoFile) {
  ::setenv("KANGPT_SHM", (folder_.path() / "missing").c_str(), 1);
  EXPECT_THROW(create_memory_file(label()), IoError);
  EXPECT_THAT(find_memory_files(), IsEmpty());
}

// Any flipped bit either is noticed or lies in what nobody reads: gradients, the copy of parameters, heartbeat.
TEST_F(MemoryFileTest, AFlippedBitIsNoticed) {
  const fs::path file = leave();
  const std::string whole = test::read_text(file);
  std::mt19937_64 random(3);
  int noticed = 0;
  for (int i = 0; i < 300; ++i) {
    std::string damaged = whole;
    damaged[random() % whole.size()] ^= static_cast<char>(1 << random() % 8);
    test::write_text(file, damaged);
    const std::optional<LeftMemory> left = open_left_memory(file);
    const auto intact = left ? left->intact() : std::vector<LeftMemory::HeldSnapshot>{};
    if (intact.size() < 2) ++noticed;
    for (const LeftMemory::HeldSnapshot& held : intact) {
      const auto expected = static_cast<float>(held.publication.state.step);
      EXPECT_TRUE(std::ranges::all_of(left->slot(held.slot).parameters, [&](float v) { return v == expected; }));
      EXPECT_EQ(left->label().configuration, label().configuration);
    }
  }
  EXPECT_GT(noticed, 100);
}

TEST_F(MemoryFileTest, AFileCutShortIsNone) {
  const fs::path file = leave();
  const std::string whole = test::read_text(file);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{100}, std::size_t{4096}, whole.size() / 2, whole.size() - 1}) {
    test::write_text(file, whole.substr(0, size));
    EXPECT_FALSE(open_left_memory(file)) << size;
  }
}

}  // namespace
}  // namespace kangpt::sharding
