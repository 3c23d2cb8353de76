// Mutated files of every format that src/io reads: each is either read or refused with an Error, without a crash and
// without memory beyond a small multiple of the file. KANGPT_FUZZ_INPUTS is how many of each.
#include <gtest/gtest.h>

#include <cstring>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "io/checkpoint_manifest.hpp"
#include "io/safetensors.hpp"
#include "tests/io/checkpoint_fixture.hpp"
#include "tests/support/files.hpp"
#include "tests/support/mutation.hpp"

namespace kangpt::io {
namespace {

class FormatFuzzTest : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory_;
};

CheckpointManifest small_manifest() {
  CheckpointManifest manifest = test::manifest_for(test::small_table(), 5);
  manifest.flat_size = 64;
  const std::string digest(64, 'a');
  manifest.files = {{"state-00-of-02.h5", 20000, 0, 32, 1, digest}, {"state-01-of-02.h5", 20000, 32, 64, 2, digest}};
  return manifest;
}

// With a fresh seal, so that what is behind it is reached. Whatever is accepted must be consistent: it writes and reads
// back.
TEST_F(FormatFuzzTest, Manifest) {
  const std::string valid = manifest_to_text(small_manifest());
  const std::string body = valid.substr(0, valid.rfind("# sha256"));
  const std::vector<std::string> words = {"file {\n",     "}\n",
                                          "shape: ",      "name: \"../../etc/passwd\"\n",
                                          "\"",           "parameter { }",
                                          "nan",          "state { }",
                                          "offset: 16\n", "# ",
                                          "version: 2\n", "\\x0",
                                          "<<<<<<<<<<",   "[a.b/c] { }"};
  const int count = test::count_refused({body, words, KANGPT_FUZZ_INPUTS}, [](const std::string& text) {
    const std::string seal = "# sha256 " + base::sha256_hex(std::as_bytes(std::span(text))) + "\n";
    const CheckpointManifest manifest = parse_manifest(text + seal, "manifest");
    const std::string again = manifest_to_text(manifest);
    EXPECT_EQ(manifest_to_text(parse_manifest(again, "again")), again);
    for (const FileDigest& file : manifest.files) EXPECT_EQ(file.name.find('/'), std::string::npos);
  });
  EXPECT_GT(count, KANGPT_FUZZ_INPUTS / 2);
}

TEST_F(FormatFuzzTest, SealedManifestIsNeverTakenAfterAChange) {
  const std::string valid = manifest_to_text(small_manifest());
  int unchanged = 0;
  const int count = test::count_refused({valid, {"# sha256 "}, KANGPT_FUZZ_INPUTS}, [&](const std::string& text) {
    unchanged += text == valid ? 1 : 0;
    parse_manifest(text, "manifest");
  });
  EXPECT_EQ(count + unchanged, KANGPT_FUZZ_INPUTS);
}

// As a new file each time: file systems make rewriting an old one wait for the disk.
void write_anew(const fs::path& path, const std::string& bytes) {
  fs::remove(path);
  test::write_text(path, bytes);
}

void read_all(const fs::path& path) {
  const SafetensorsFile file(path);
  for (const auto& [name, tensor] : file.tensors()) {
    std::uint64_t size = 1;
    for (const std::int64_t extent : tensor.shape) size *= static_cast<std::uint64_t>(extent);
    std::vector<float> values(size);
    file.read(name, tensor.shape, values);
  }
}

TEST_F(FormatFuzzTest, Safetensors) {
  const fs::path path = directory_ / "x.safetensors";
  const std::vector<float> values(60, 1.5F);
  const std::span<const float> all(values);
  write_safetensors(path, {{"a", {5, 4}, all.first(20)}, {"b", {40}, all.first(40)}, {"c", {}, all.first(1)}},
                    {{"k", "v"}});
  const std::string valid = test::read_text(path);
  const std::vector<std::string> words = {"{",      "}",       "[",    "]",       "[[[[[[[[",
                                          "\"a\":", "\"F16\"", "null", "\\ud800", "\"__metadata__\":{}"};
  const auto read = [&](const std::string& bytes) {
    write_anew(path, bytes);
    read_all(path);
  };
  EXPECT_GT(test::count_refused({valid, words, KANGPT_FUZZ_INPUTS}, read), KANGPT_FUZZ_INPUTS / 2);

  // Mutations of the header alone, with its length and the data's size kept true.
  std::uint64_t length = 0;
  std::memcpy(&length, valid.data(), sizeof(length));
  test::count_refused({valid.substr(8, length), words, KANGPT_FUZZ_INPUTS}, [&](const std::string& header) {
    const std::uint64_t new_length = header.size();
    read(std::string(reinterpret_cast<const char*>(&new_length), 8) + header + valid.substr(8 + length));
  });
}

TEST_F(FormatFuzzTest, StateFile) {
  const test::FlatState state = test::random_flat_state(test::small_table(), 64, 1);
  const fs::path folder = test::write_checkpoint(directory_.path(), 1, 1, state);
  const fs::path path = folder / "state-00-of-01.h5";
  const std::string valid = test::read_text(path);
  int unchanged = 0;
  const int count = test::count_refused({valid, {"TREE", "HEAP", "OHDR", std::string(8, '\xff')}, KANGPT_FUZZ_INPUTS},
                                        [&](const std::string& bytes) {
                                          unchanged += bytes == valid ? 1 : 0;
                                          write_anew(path, bytes);
                                          const Checkpoint checkpoint(folder);
                                        });
  EXPECT_EQ(count + unchanged, KANGPT_FUZZ_INPUTS);
}

}  // namespace
}  // namespace kangpt::io
