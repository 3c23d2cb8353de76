// What gpu_pass_memory() says of a network is what its passes take, with the operations of a GPU, on the CPU.
#include "model/parameters/gpu_memory.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "model/parameters/parameter_layout.hpp"
#include "operations/cuda/kernels.hpp"
#include "operations/flat_operations.hpp"
#include "tests/model/test_network.hpp"
#include "tests/support/allocation_record.hpp"
#include "tests/support/gpu/work_counter.hpp"

namespace kangpt::test {
namespace {

using config::FeedForward;
using config::ModelConfig;
using config::Precision;

// The most that a network takes beside its flat buffers, trained twice and validated. Own kernels and their products
// are left out: they take nothing.
std::int64_t measured(const ModelConfig& network, std::int64_t rows) {
  operations::use_cuda_operations();
  const base::ParameterTable table = model::parameter_layout(network);
  const at::Tensor parameters = at::zeros({static_cast<std::int64_t>(table.flat_size)});
  const at::Tensor gradients = at::zeros_like(parameters);
  const model::testing::Batch batch = model::testing::make_batch(network, rows, network.sequence_length);
  const WorkCounter counter(OwnKernels::kCountedAlone);
  const AllocationRecord record;
  model::Transformer transformer(network, table, {parameters, gradients, operations::Kernels::kCuda});
  for (int step = 0; step < 2; ++step) {
    transformer.forward(batch.inputs, batch.targets, batch.mask, {.seed = 1, .step = 1});
    transformer.backward();
    transformer.loss(batch.inputs, batch.targets, batch.mask);
  }
  return record.peak_bytes();
}

struct Case {
  std::string name;
  std::int64_t rows = 32;
  ModelConfig network;
};

ModelConfig network_of(FeedForward feed_forward, int channels, int head_dim) {
  ModelConfig network = model::testing::small_config(feed_forward);
  network.d_model = channels;
  network.layers = 3;
  network.heads = 4;
  network.head_dim = head_dim;
  network.kan_degree = 8;
  network.mlp_hidden = 4 * channels;
  network.sequence_length = 64;
  network.vocabulary_size = 5003;
  network.precision = Precision::kBf16;
  return network;
}

class GpuMemory : public ::testing::TestWithParam<Case> {};

TEST_P(GpuMemory, IsAsPlanned) {
  for (const Precision precision : {Precision::kBf16, Precision::kFp32}) {
    ModelConfig network = GetParam().network;
    network.precision = precision;
    const model::PassShape shape = {
        .sequences = GetParam().rows, .time = network.sequence_length, .threads = 1, .precision = precision};
    const auto planned = static_cast<double>(model::gpu_pass_memory(network, shape).total());
    const auto peak = static_cast<double>(measured(network, GetParam().rows));
    EXPECT_NEAR(planned, peak, 0.05 * peak) << (precision == Precision::kFp32 ? "FP32" : "BF16");
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](const std::string& name, const ModelConfig& network, std::int64_t rows = 32) {
    all.push_back({name, rows, network});
  };
  ModelConfig network = network_of(FeedForward::kKan, 128, 16);
  add("Kan", network);
  network.final_norm = true;
  network.vocabulary_size = 50257;
  add("KanWithFinalNormAndManyTokens", network, 64);
  network.vocabulary_size = 300;
  network.recompute = config::Recompute::kLayers;
  add("KanWithLayersRecomputed", network, 100);
  network.recompute = config::Recompute::kNone;
  network.dropout = 0.1;
  add("KanWithDropout", network);
  add("KanOfOddWidth", network_of(FeedForward::kKan, 160, 16));
  add("Mlp", network_of(FeedForward::kMlp, 128, 16));
  add("Swiglu", network_of(FeedForward::kSwiglu, 128, 32));
  add("Hybrid", network_of(FeedForward::kHybrid, 256, 32));
  add("GroupedKan", network_of(FeedForward::kGroupedKan, 128, 8));
  network = network_of(FeedForward::kKan, 128, 64);
  network.sequence_length = 256;
  add("WideHeadsOfLongSequences", network, 8);
  network = network_of(FeedForward::kMlp, 256, 32);
  network.sequence_length = 1024;
  add("LongSequences", network, 2);
  using config::Mixer;
  for (const auto& [name, mixer] :
       {std::pair("Conv", Mixer::kConv), std::pair("ConvMod", Mixer::kConvMod),
        std::pair("SeparableConv", Mixer::kSeparableConv), std::pair("DeformableConv", Mixer::kDeformableConv)}) {
    network = network_of(FeedForward::kKan, 128, 16);
    network.mixers = {mixer, Mixer::kAttention};
    network.kernel_size = 5;
    network.offset_groups = 4;
    add(name, network);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Networks, GpuMemory, ::testing::ValuesIn(cases()),
                         [](const auto& one) { return one.param.name; });

TEST(GpuMemoryTest, MuonsScratchMemoryIsAsPlanned) {
  operations::use_cuda_operations();
  const std::vector<std::vector<model::MatrixShape>> all = {{},
                                                            {{128, 128}, {100, 130}, {384, 70}},
                                                            std::vector<model::MatrixShape>(40, {512, 512}),
                                                            {{1024, 4096}, {64, 64}}};
  for (const std::vector<model::MatrixShape>& shapes : all) {
    std::vector<operations::OwnMatrix> matrices;
    std::int64_t size = 0;
    for (const auto& [rows, columns] : shapes) {
      operations::OwnMatrix one = {
          .matrix = size, .rows = static_cast<std::int64_t>(rows), .columns = static_cast<std::int64_t>(columns)};
      one.end = one.rows * one.columns;
      one.own = size;
      size += one.end;
      matrices.push_back(one);
    }
    const at::Tensor parameters = at::zeros({size}), directions = at::zeros({size});
    const WorkCounter counter(OwnKernels::kCountedAlone);
    const AllocationRecord record;
    const auto operations = operations::make_flat_operations(operations::Kernels::kCuda);
    operations->muon_parameters(parameters, directions, {}, matrices);
    const auto planned = static_cast<double>(model::gpu_muon_bytes(shapes));
    EXPECT_NEAR(planned, static_cast<double>(record.peak_bytes()), 0.02 * planned + 64) << shapes.size() << " matrices";
  }
}

TEST(GpuMemoryTest, KnowsWhatKernelsThereAre) {
  for (int channels = 1; channels <= 2048; ++channels) {
    ModelConfig network;
    network.d_model = channels;
    EXPECT_EQ(model::has_fused_residuals(network), operations::cuda::has_layer_norm(channels)) << channels;
  }
  for (const std::int64_t time : {1, 128, 129, 1024}) {
    for (int head_dim = 1; head_dim <= 256; ++head_dim) {
      ModelConfig network;
      network.head_dim = head_dim;
      EXPECT_EQ(model::has_fused_attention(network, {.sequences = 1, .time = time}),
                operations::cuda::has_attention(time, head_dim))
          << head_dim << " at " << time;
    }
  }
}

}  // namespace
}  // namespace kangpt::test
