// Programs start wherever they are built: the loader finds what it protects after relocation (PT_GNU_RELRO) within a
// segment. A linker may place it wrongly for some lengths of the path of a library alone, so neighbours are tried too.
#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kLengths = 64;

std::vector<Elf64_Phdr> program_headers(const fs::path& program) {
  const std::string bytes = read_text(program);
  Elf64_Ehdr header{};
  if (bytes.size() < sizeof header || bytes.compare(0, SELFMAG, ELFMAG) != 0) return {};
  std::memcpy(&header, bytes.data(), sizeof header);
  std::vector<Elf64_Phdr> headers(header.e_phnum);
  std::memcpy(headers.data(), bytes.data() + header.e_phoff, headers.size() * sizeof(Elf64_Phdr));
  return headers;
}

// The loader protects whole pages from the one that p_vaddr lies in.
bool relro_is_mapped(const std::vector<Elf64_Phdr>& headers) {
  for (const Elf64_Phdr& relro : headers) {
    if (relro.p_type != PT_GNU_RELRO) continue;
    const std::uint64_t first_page = relro.p_vaddr / kPageBytes;
    bool is_mapped = false;
    for (const Elf64_Phdr& load : headers) {
      const std::uint64_t end = (load.p_vaddr + load.p_memsz + kPageBytes - 1) / kPageBytes;
      if (load.p_type == PT_LOAD && (load.p_flags & PF_W) != 0 && load.p_vaddr / kPageBytes <= first_page &&
          (relro.p_vaddr + relro.p_memsz) / kPageBytes <= end) {
        is_mapped = true;
      }
    }
    if (!is_mapped) return false;
  }
  return true;
}

// A program of one file with a thread-local byte, linked as the project's programs are.
class SmallProgram {
 public:
  SmallProgram() {
    write_text(folder_ / "small.cpp", "thread_local bool flag;\nint main() { return flag ? 1 : 0; }\n");
    run({KANGPT_COMPILER, "-O2", "-c", (folder_ / "small.cpp").string(), "-o", (folder_ / "small.o").string()});
  }

  fs::path link(std::uint64_t path_length) const {
    const fs::path program = folder_ / "small";
    std::vector<std::string> command = {KANGPT_COMPILER};
    std::istringstream options(KANGPT_LINK_OPTIONS);
    for (std::string option; options >> option;) command.push_back(option);
    command.insert(command.end(), {(folder_ / "small.o").string(), "-o", program.string(),
                                   "-Wl,-rpath,/" + std::string(path_length - 1, 'a')});
    run(command);
    return program;
  }

 private:
  static void run(const std::vector<std::string>& command) {
    const ProgramResult result = run_program(command);
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
  }

  TemporaryDirectory folder_;
};

// The length for which what follows the code lies `distance` bytes before a new page.
std::uint64_t length_before_page(const SmallProgram& small, std::uint64_t distance) {
  constexpr std::uint64_t kFirstLength = 16;
  for (const Elf64_Phdr& header : program_headers(small.link(kFirstLength))) {
    if (header.p_type == PT_DYNAMIC) return kFirstLength + 2 * kPageBytes - header.p_vaddr % kPageBytes - distance;
  }
  return kFirstLength;
}

TEST(ProgramsStart, WithLibrariesUnderPathsOfAnyLength) {
  const SmallProgram small;
  const std::uint64_t shortest = length_before_page(small, kLengths / 2);
  for (std::uint64_t length = shortest; length < shortest + kLengths; ++length) {
    const fs::path program = small.link(length);
    const ProgramResult result = run_program({program.string()});
    EXPECT_EQ(result.exit_code, 0) << "path of " << length << " characters: " << result.all_output();
    EXPECT_TRUE(relro_is_mapped(program_headers(program))) << "path of " << length << " characters";
  }
}

TEST(ProgramsStart, EveryProgramOfThisBuild) {
  std::vector<std::string> programs;
  for (const auto& entry : fs::directory_iterator(fs::path(program_path("kangpt_dist")).parent_path())) {
    const std::vector<Elf64_Phdr> headers = program_headers(entry.path());
    if (headers.empty()) continue;
    programs.push_back(entry.path().filename().string());
    EXPECT_TRUE(relro_is_mapped(headers)) << programs.back();
  }
  EXPECT_THAT(programs, Not(IsEmpty()));
}

}  // namespace
}  // namespace kangpt::test
