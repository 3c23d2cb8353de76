#include "io/checkpoint_manifest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "tests/io/checkpoint_fixture.hpp"

namespace kangpt::io {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

CheckpointManifest valid_manifest() {
  CheckpointManifest manifest = test::manifest_for(test::small_table(), 5);
  manifest.flat_size = 64;
  const std::string digest(64, 'a');
  manifest.files = {{"state-00-of-02.h5", 20000, 0, 32, ~0ull, digest},
                    {"state-01-of-02.h5", 20000, 32, 64, 2, digest}};
  return manifest;
}

std::string body_of(const CheckpointManifest& manifest) {
  const std::string text = manifest_to_text(manifest);
  return text.substr(0, text.rfind("# sha256 "));
}

// The message of the error for a body with its right seal, "" if it is taken.
std::string problem(const std::string& body) {
  try {
    parse_manifest(body + "# sha256 " + base::sha256_hex(std::as_bytes(std::span(body))) + "\n", "FILE");
    return "";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), StartsWith("FILE:"));
    return error.what();
  }
}

// The problem after the first `from` in a valid body became `to`.
std::string problem_with(const std::string& from, const std::string& to) {
  std::string body = body_of(valid_manifest());
  const std::size_t position = body.find(from);
  EXPECT_NE(position, std::string::npos) << from;
  return problem(body.replace(position, from.size(), to));
}

TEST(CheckpointManifest, RoundTripKeepsEverything) {
  CheckpointManifest manifest = valid_manifest();
  manifest.state.left_out.add(7);
  manifest.state.left_out.add(9);
  manifest.state.skipped_in_a_row = 3;
  for (const char* const configuration : {"", "\n", "a", "a\n", "a\n\nb", "tab\t\"quoted\" \\ \xc3\xa9\n"}) {
    manifest.configuration = configuration;
    const CheckpointManifest found = parse_manifest(manifest_to_text(manifest), "FILE");
    EXPECT_EQ(found.configuration, configuration);
    EXPECT_EQ(found.state, manifest.state);
    EXPECT_EQ(found.parameters, manifest.parameters);
    EXPECT_EQ(found.files[0].xxh3, ~0ull);
    EXPECT_EQ(found.files[1].begin, 32u);
    EXPECT_EQ(manifest_to_text(found), manifest_to_text(manifest));
  }
}

// Every checkpoint that there is says it so.
TEST(CheckpointManifest, TheTextStaysTheSame) {
  CheckpointManifest manifest;
  manifest.program_version = "1.2";
  manifest.configuration = "a\n\nb\"\n";
  manifest.state = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0.1, 1.0 / 3, 13, -1e300, {}, 16};
  for (const std::uint64_t batch : {std::uint64_t{7}, ~std::uint64_t{0}, std::uint64_t{3}})
    manifest.state.left_out.add(batch);
  manifest.flat_size = 64;
  manifest.parameters = {{{"a", {2, 3}, 0, 6}, {"b.c", {16}, 16, 16}}, 32, 22};
  manifest.files = {{"state-00-of-02.h5", 20000, 0, 32, ~0ull, std::string(64, 'a')},
                    {"state-01-of-02.h5", 20001, 32, 64, 2, std::string(64, 'b')}};
  EXPECT_EQ(manifest_to_text(manifest), R"(version: 1
program_version: "1.2"
state {
  step: 1
  updates: 2
  batches: 3
  tokens: 4
  skipped_steps: 5
  seed: 6
  dataset_fingerprint: 7
  batch_size: 8
  logical_shards: 9
  threads: 10
  loss_mean: 0.1
  loss_variance: 0.33333333333333331
  loss_count: 13
  last_loss: -1e+300
  left_out_batch: [3, 18446744073709551615, 7]
  skipped_in_a_row: 16
  best_step: 0
  best_validation_loss: 0
  validations_since_best: 0
  averaged_weights: 0
}
flat_size: 64
table_size: 32
parameter_count: 22
file {
  name: "state-00-of-02.h5"
  size_bytes: 20000
  begin: 0
  end: 32
  xxh3: 18446744073709551615
  sha256: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
}
file {
  name: "state-01-of-02.h5"
  size_bytes: 20001
  begin: 32
  end: 64
  xxh3: 2
  sha256: "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
}
parameter {
  name: "a"
  shape: [2, 3]
  offset: 0
}
parameter {
  name: "b.c"
  shape: [16]
  offset: 16
}
configuration_line: "a"
configuration_line: ""
configuration_line: "b\""
configuration_line: ""
# sha256 a8b96e641f64079f4f8ced12905253681e6799d9817c29b20cf98bb6d3f6cf36
)");
}

TEST(CheckpointManifest, NoBatchThatIsLeftOutIsForgotten) {
  CheckpointManifest manifest = valid_manifest();
  LeftOutBatches& left_out = manifest.state.left_out;
  std::uint64_t batch = 0;
  for (; !left_out.is_full(); ++batch) left_out.add(batch);
  EXPECT_GT(batch, 16U);
  left_out.add(batch);
  EXPECT_FALSE(left_out.contains(batch)) << "there is no room, and none of the others is given up for it";
  const std::string text = manifest_to_text(manifest);
  const LeftOutBatches found = parse_manifest(text, "FILE").state.left_out;
  for (batch = 0; batch < found.newest.size(); ++batch) EXPECT_TRUE(found.contains(batch)) << batch;
  EXPECT_EQ(found, left_out);
  EXPECT_THAT(problem(body_of(manifest).insert(body_of(manifest).find("  left_out_batch:"), "  left_out_batch: 7\n")),
              HasSubstr("leaves out more batches"));
}

TEST(CheckpointManifest, LossesThatAreNotNumbersSurvive) {
  CheckpointManifest manifest = valid_manifest();
  manifest.state.last_loss = NAN;
  manifest.state.loss_mean = -INFINITY;
  manifest.state.loss_variance = 0.1;
  const TrainingState state = parse_manifest(manifest_to_text(manifest), "FILE").state;
  EXPECT_TRUE(std::isnan(state.last_loss));
  EXPECT_EQ(state.loss_mean, -INFINITY);
  EXPECT_EQ(state.loss_variance, 0.1);
}

TEST(CheckpointManifest, TheSealGuardsEveryByte) {
  const std::string text = manifest_to_text(valid_manifest());
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_THROW(parse_manifest(changed, "FILE"), CheckpointError) << i;
    EXPECT_THROW(parse_manifest(text.substr(0, i), "FILE"), CheckpointError) << i;
  }
  EXPECT_THROW(parse_manifest(text + "\n", "FILE"), CheckpointError);
  EXPECT_THROW(parse_manifest(text + text, "FILE"), CheckpointError);
}

TEST(CheckpointManifest, FileNamesCannotLeadOutOfTheFolder) {
  for (const char* const name : {"../state-00-of-02.h5", "/etc/passwd", "state-01-of-02.h5", "state-00-of-03.h5", ""}) {
    EXPECT_THAT(problem_with("state-00-of-02.h5", name), HasSubstr("state-00-of-02.h5 is expected"));
  }
}

TEST(CheckpointManifest, FilesCoverTheFlatBufferOnce) {
  EXPECT_EQ(problem_with("end: 32", "end: 32"), "");
  EXPECT_THAT(problem_with("end: 32", "end: 33"), HasSubstr("state-01-of-02.h5 does not begin"));
  EXPECT_THAT(problem_with("end: 32", "end: 31"), HasSubstr("state-01-of-02.h5 does not begin"));
  EXPECT_THAT(problem_with("end: 64", "end: 18446744073709551615"), HasSubstr("state-01-of-02.h5"));
  EXPECT_THAT(problem_with("flat_size: 64", "flat_size: 65"), HasSubstr("do not cover"));
  EXPECT_THAT(problem_with("size_bytes: 20000", "size_bytes: 383"), HasSubstr("too small"));
}

TEST(CheckpointManifest, ParametersLieInsideWithoutOverlap) {
  EXPECT_THAT(problem_with("offset: 16", "offset: 14"), HasSubstr("layers.0.bias"));
  EXPECT_THAT(problem_with("offset: 32", "offset: 60"), HasSubstr("head.weight"));
  EXPECT_THAT(problem_with("offset: 32", "offset: 18446744073709551615"), HasSubstr("head.weight"));
  EXPECT_THAT(problem_with("shape: [2, 4]", "shape: [2, -4]"), HasSubstr("head.weight"));
  EXPECT_THAT(problem_with("shape: [2, 4]", "shape: [4294967296, 4294967296]"), HasSubstr("head.weight"));
  EXPECT_THAT(problem_with("head.weight", "embedding.weight"), HasSubstr("twice"));
  EXPECT_THAT(problem_with("head.weight", "head/weight"), HasSubstr("impossible name"));
  EXPECT_THAT(problem_with("parameter_count: 30", "parameter_count: 31"), HasSubstr("miscounts"));
}

TEST(CheckpointManifest, WhatIsNotThisFormatIsExplained) {
  EXPECT_THAT(problem_with("version: 1", "version: 2"), HasSubstr("format version 2; this program reads 1"));
  EXPECT_THAT(problem_with("  tokens: 1048576\n", ""), HasSubstr("tokens"));
  EXPECT_THAT(problem_with("  tokens:", "  tokenz:"), HasSubstr("tokenz"));
  EXPECT_THAT(problem_with("step: 5", "step: five"), StartsWith("FILE:4:"));
  EXPECT_NE(problem(""), "");
}

TEST(CheckpointManifest, AnInconsistentOneIsNotWritten) {
  CheckpointManifest manifest = valid_manifest();
  manifest.files.pop_back();
  EXPECT_THROW(manifest_to_text(manifest), CheckpointError);
}

}  // namespace
}  // namespace kangpt::io
