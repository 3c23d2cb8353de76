// Data larger than the memory that there is for them, read from the disk: how much of it for what is used, and how
// fast. In a memory cgroup (version 1) of its own, which takes root.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>

#include "base/error.hpp"
#include "data_pipeline/batches/batches.hpp"
#include "data_pipeline/batches/prefetch.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

constexpr std::uint64_t kShards = 6;
constexpr std::uint64_t kShardTokens = std::uint64_t{64} << 20;
constexpr std::uint64_t kMemoryBytes = std::uint64_t{320} << 20;  // two windows of BLOCK and the program
constexpr int kSequenceLength = 1024;
constexpr int kBatchSize = 64;

void write_data(const fs::path& folder) {
  std::mt19937 random(1);
  std::vector<std::uint32_t> story(1000, 0);
  Manifest manifest;
  manifest.vocabulary_size = 50257;
  manifest.vocabulary_sha256 = "test";
  manifest.sources = {{"text.txt", kTrainSplit, 1, "0"}};
  SplitRecord split;
  split.name = kTrainSplit;
  for (std::uint64_t index = 0; index < kShards; ++index) {
    ShardBuffer buffer({50257, "test", 50256});
    while (buffer.tokens() + story.size() <= kShardTokens) {
      for (std::uint32_t& token : story) token = static_cast<std::uint32_t>(random() % 50256);
      buffer.append_story(story);
    }
    split.shards.push_back(buffer.write(folder, shard_name(kTrainSplit, index)));
    split.stories += buffer.stories();
    split.tokens += buffer.tokens();
  }
  manifest.splits = {split};
  base::write_file_atomically(folder / kManifestName, to_text(manifest));
}

// A memory cgroup below this process's own; `path` is empty where there can't be one.
struct MemoryGroup {
  MemoryGroup() {
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
      const std::size_t place = line.find(":memory:");
      if (place != std::string::npos) path = "/sys/fs/cgroup/memory" + line.substr(place + 8);
    }
    if (path.empty()) return;
    path /= "kangpt-test-" + std::to_string(::getpid());
    std::error_code error;
    fs::create_directory(path, error);
    std::ofstream limit(path / "memory.limit_in_bytes");
    if (error || !(limit << kMemoryBytes << std::flush)) path.clear();
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  ~MemoryGroup() {
    if (!path.empty()) ::rmdir(path.c_str());
  }
  void join() const { std::ofstream(path / "cgroup.procs") << ::getpid() << std::flush; }

  fs::path path;
};

void drop_caches(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const base::UniqueFd fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    ::posix_fadvise(fd.value(), 0, 0, POSIX_FADV_DONTNEED);
  }
}

double bytes_read() {
  std::ifstream facts("/proc/self/io");
  for (std::string line; std::getline(facts, line);)
    if (line.starts_with("read_bytes:")) return std::stod(line.substr(11));
  return 0;
}

// What a process of that group reads from the disk for `batches` batches, by what it uses of it.
double read_for_used(const fs::path& folder, const MemoryGroup& group, config::Shuffle shuffle, std::uint64_t batches) {
  drop_caches(folder);
  int ends[2];
  if (::pipe(ends) != 0) return 0;
  const pid_t child = ::fork();
  if (child == 0) {
    group.join();
    BatchOptions options;
    options.sources = open_sources({{folder}});
    options.shuffle = shuffle;
    options.sequence_length = kSequenceLength;
    options.batch_size = kBatchSize;
    const auto start = std::chrono::steady_clock::now();
    const double before = bytes_read();
    const auto source = prefetch(open_batches(options), {});
    for (std::uint64_t batch = 0; batch < batches; ++batch) source->micro_batch(batch, 0);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double tokens = static_cast<double>(batches) * kBatchSize * kSequenceLength;
    const double ratio = (bytes_read() - before) / (2 * tokens);
    std::printf("%s: %.2f MB read for a MB used, %.3g tokens/s\n",
                shuffle == config::Shuffle::kBlock ? "BLOCK" : "SAMPLE", ratio, tokens / seconds);
    std::fflush(stdout);
    const bool is_written = ::write(ends[1], &ratio, sizeof ratio) == sizeof ratio;
    ::_exit(is_written ? 0 : 1);
  }
  double ratio = 0;
  ::close(ends[1]);
  const bool is_read = ::read(ends[0], &ratio, sizeof ratio) == sizeof ratio;
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return is_read ? ratio : 0;
}

TEST(ColdReading, BlocksAreReadOnceAndSamplesManyTimes) {
  const MemoryGroup group;
  if (group.path.empty()) GTEST_SKIP() << "there is no memory cgroup of version 1 to make another one in";
  const test::TemporaryDirectory folder;
  write_data(folder.path());
  const double samples = read_for_used(folder.path(), group, config::Shuffle::kSample, 60);
  const double blocks = read_for_used(folder.path(), group, config::Shuffle::kBlock, 2000);  // a third of an epoch
  if (samples == 0) GTEST_SKIP() << "the temporary folder is in memory, not on a disk";
  EXPECT_GT(blocks, 0.9);
  EXPECT_LT(blocks, 2) << "the window that is read ahead is not used yet: half of what has been";
  EXPECT_GT(samples, 4 * blocks);
}

}  // namespace
}  // namespace kangpt::data
