// The doubles find what they are there to find, and nothing else.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <nccl.h>

#include <cstdlib>
#include <functional>
#include <thread>

#include "operations/operations.hpp"
#include "sharding/workplace/gpu.hpp"
#include "tests/support/files.hpp"
#include "tests/support/gpu/device_double.hpp"
#include "tests/support/gpu/stream_checker.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using RankBody = std::function<ncclResult_t(ncclComm_t communicator, int rank)>;

class NcclDoubleTest : public ::testing::Test {
 protected:
  NcclDoubleTest() {
    ::setenv("TMPDIR", folder_.path().c_str(), 1);
    be_patient("60");
  }
  ~NcclDoubleTest() override {
    ::unsetenv("KANGPT_DOUBLE_NCCL_ERROR");
    ::unsetenv("TMPDIR");
  }
  static void be_patient(const char* seconds) { ::setenv("KANGPT_DOUBLE_PATIENCE_SECONDS", seconds, 1); }

  // Each rank in a thread of its own; what it said where `body` failed, else "".
  std::vector<std::string> run(int ranks, const RankBody& body) {
    std::vector<std::string> errors(static_cast<std::size_t>(ranks));
    std::vector<std::thread> threads;
    ncclUniqueId id{};
    ncclGetUniqueId(&id);
    for (int rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        ncclComm_t communicator = nullptr;
        ncclResult_t result = ncclCommInitRank(&communicator, ranks, id, rank);
        if (result == ncclSuccess) result = body(communicator, rank);
        if (result != ncclSuccess) errors[static_cast<std::size_t>(rank)] = ncclGetLastError(communicator);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return errors;
  }

  TemporaryDirectory folder_;
};

constexpr std::size_t kMany = 100'000;  // more than a channel holds

float value_of(int rank, std::size_t element) {
  return static_cast<float>(rank) * 1000.0F + static_cast<float>(element % 997);
}

std::vector<float> values_of(int rank, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = value_of(rank, i);
  return values;
}

TEST_F(NcclDoubleTest, AGroupSendsAndReceivesAtOnce) {
  const auto errors = run(4, [](ncclComm_t communicator, int rank) {
    const int next = (rank + 1) % 4;
    const int before = (rank + 3) % 4;
    const std::vector<float> mine = values_of(rank, kMany);
    std::vector<float> theirs(kMany);
    ncclGroupStart();
    ncclSend(mine.data(), kMany, ncclFloat32, next, communicator, nullptr);
    ncclRecv(theirs.data(), kMany, ncclFloat32, before, communicator, nullptr);
    const ncclResult_t result = ncclGroupEnd();
    EXPECT_EQ(theirs, values_of(before, kMany));
    return result == ncclSuccess ? ncclCommDestroy(communicator) : result;
  });
  EXPECT_THAT(errors, Not(Contains(Not(IsEmpty()))));
}

TEST_F(NcclDoubleTest, CollectivesGiveWhatTheySay) {
  const auto errors = run(4, [](ncclComm_t communicator, int rank) {
    const std::vector<float> mine = values_of(rank, kMany);
    std::vector<float> all(4 * kMany);
    std::vector<float> sum(kMany / 4);
    ncclResult_t result = ncclAllGather(mine.data(), all.data(), kMany, ncclFloat32, communicator, nullptr);
    for (int peer = 0; peer < 4; ++peer) EXPECT_EQ(all[static_cast<std::size_t>(peer) * kMany + 7], value_of(peer, 7));
    if (result == ncclSuccess)
      result = ncclReduceScatter(mine.data(), sum.data(), kMany / 4, ncclFloat32, ncclSum, communicator, nullptr);
    const std::size_t place = static_cast<std::size_t>(rank) * (kMany / 4) + 5;
    EXPECT_EQ(sum[5], value_of(0, place) + value_of(1, place) + value_of(2, place) + value_of(3, place));
    return result == ncclSuccess ? ncclCommDestroy(communicator) : result;
  });
  EXPECT_THAT(errors, Not(Contains(Not(IsEmpty()))));
}

TEST_F(NcclDoubleTest, AnotherTypeIsFound) {
  const auto errors = run(2, [](ncclComm_t communicator, int rank) {
    std::vector<double> memory(1000);
    return rank == 0 ? ncclAllGather(memory.data(), memory.data(), 10, ncclFloat64, communicator, nullptr)
                     : ncclAllGather(memory.data(), memory.data(), 20, ncclFloat32, communicator, nullptr);
  });
  EXPECT_THAT(errors, Contains(HasSubstr("expects of rank")));
}

TEST_F(NcclDoubleTest, AnotherOrderIsFound) {
  const auto errors = run(2, [](ncclComm_t communicator, int rank) {
    std::vector<float> memory(1000);
    const auto gather = [&] {
      return ncclAllGather(memory.data(), memory.data(), 10, ncclFloat32, communicator, nullptr);
    };
    const auto reduce = [&] {
      return ncclReduceScatter(memory.data(), memory.data(), 10, ncclFloat32, ncclSum, communicator, nullptr);
    };
    const ncclResult_t first = rank == 0 ? gather() : reduce();
    return first == ncclSuccess ? (rank == 0 ? reduce() : gather()) : first;
  });
  EXPECT_THAT(errors, Contains(HasSubstr("expects of rank")));
}

TEST_F(NcclDoubleTest, TwoSendsSwappedAreFound) {
  const auto errors = run(2, [](ncclComm_t communicator, int rank) {
    std::vector<float> memory(100);
    ncclGroupStart();
    for (const std::size_t count : {rank == 0 ? 10UL : 20UL, rank == 0 ? 20UL : 10UL}) {
      rank == 0 ? ncclSend(memory.data(), count, ncclFloat32, 1, communicator, nullptr)
                : ncclRecv(memory.data(), count, ncclFloat32, 0, communicator, nullptr);
    }
    return ncclGroupEnd();
  });
  EXPECT_THAT(errors[1], HasSubstr("expects of rank 0"));
  EXPECT_THAT(errors[1], HasSubstr("80 bytes"));
}

// Even of the least message: there is nowhere to leave it.
TEST_F(NcclDoubleTest, AMissingReceiveIsADeadLock) {
  be_patient("1");
  const auto errors = run(2, [](ncclComm_t communicator, int rank) {
    float value = 0;
    return rank == 0 ? ncclSend(&value, 1, ncclFloat32, 1, communicator, nullptr) : ncclSuccess;
  });
  EXPECT_THAT(errors[0], HasSubstr("dead-lock: rank 0 waits: send to 1"));
  EXPECT_EQ(errors[1], "");
}

TEST_F(NcclDoubleTest, AMissingSendIsADeadLock) {
  be_patient("1");
  const auto errors = run(2, [](ncclComm_t communicator, int rank) {
    float value = 0;
    return rank == 0 ? ncclRecv(&value, 1, ncclFloat32, 1, communicator, nullptr) : ncclSuccess;
  });
  EXPECT_THAT(errors[0], HasSubstr("dead-lock: rank 0 waits: receive from 1"));
}

TEST_F(NcclDoubleTest, ADestroyThatNotAllCallHangs) {
  be_patient("1");
  const auto errors =
      run(2, [](ncclComm_t communicator, int rank) { return rank == 0 ? ncclCommDestroy(communicator) : ncclSuccess; });
  EXPECT_THAT(errors[0], HasSubstr("hangs in ncclCommDestroy"));
}

TEST_F(NcclDoubleTest, AnErrorOnDemandHappensOnce) {
  ::setenv("KANGPT_DOUBLE_NCCL_ERROR", "0:2", 1);
  const RankBody twice = [](ncclComm_t communicator, int) {
    float value = 0;
    ncclResult_t result = ncclSuccess;
    for (int i = 0; i < 2 && result == ncclSuccess; ++i)
      result = ncclAllGather(&value, &value, 1, ncclFloat32, communicator, nullptr);
    return result;
  };
  EXPECT_THAT(run(1, twice)[0], HasSubstr("on demand"));
  EXPECT_EQ(run(1, twice)[0], "");
}

class StreamCheckerTest : public ::testing::Test {
 protected:
  StreamCheckerTest() {
    stream_checker::start();
    stream_checker::reset();
  }
  ~StreamCheckerTest() override { c10::cuda::setCurrentCUDAStream(default_stream_); }

  c10::cuda::CUDAStream default_stream_ = c10::cuda::getDefaultCUDAStream(0);
  c10::cuda::CUDAStream other_ = c10::cuda::getStreamFromPool(false, 0);
  at::Tensor tensor_ = at::ones({100});
};

TEST_F(StreamCheckerTest, AStreamIsInOrderWithItself) {
  tensor_.add_(1);
  tensor_.mul_(2);
  EXPECT_THAT(stream_checker::races(), IsEmpty());
  EXPECT_GE(stream_checker::operations(), 2U);
}

TEST_F(StreamCheckerTest, AReadOfWhatAnotherStreamWritesIsARace) {
  tensor_.add_(1);
  c10::cuda::setCurrentCUDAStream(other_);
  const at::Tensor sum = tensor_.sum();
  EXPECT_THAT(stream_checker::races(), Contains(HasSubstr("aten::sum on stream")));
}

TEST_F(StreamCheckerTest, AWriteOfWhatAnotherStreamReadsIsARace) {
  const at::Tensor sum = tensor_.sum();
  stream_checker::host_waits_for(0);
  const at::Tensor again = tensor_.sum();
  c10::cuda::setCurrentCUDAStream(other_);
  tensor_.add_(1);
  EXPECT_THAT(stream_checker::races(), Contains(HasSubstr("aten::add_ on stream")));
}

TEST_F(StreamCheckerTest, TwoReadsAreNone) {
  default_stream_.synchronize();
  const at::Tensor sum = tensor_.sum();
  c10::cuda::setCurrentCUDAStream(other_);
  default_stream_.synchronize();  // of ones()
  const at::Tensor again = tensor_.sum();
  EXPECT_THAT(stream_checker::races(), IsEmpty());
}

TEST_F(StreamCheckerTest, AWaitOfTheHostOrdersThem) {
  tensor_.add_(1);
  default_stream_.synchronize();
  c10::cuda::setCurrentCUDAStream(other_);
  tensor_.add_(1);
  EXPECT_THAT(stream_checker::races(), IsEmpty());
}

TEST_F(StreamCheckerTest, AnEventOrdersWhatIsBeforeItAlone) {
  cudaEvent_t event = nullptr;
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  at::Tensor later = at::ones({100});
  tensor_.add_(1);
  cudaEventRecord(event, default_stream_.stream());
  later.add_(1);
  cudaStreamWaitEvent(other_.stream(), event, 0);
  c10::cuda::setCurrentCUDAStream(other_);
  tensor_.add_(1);
  EXPECT_THAT(stream_checker::races(), IsEmpty());
  later.mul_(2);
  EXPECT_THAT(stream_checker::races(), Contains(HasSubstr("aten::mul_ on stream")));
}

TEST_F(StreamCheckerTest, AnOwnKernelIsAnAccessToo) {
  const auto operations = operations::make_cuda_operations(config::Precision::kFp32);
  const at::Tensor activation = at::empty({100});
  operations->gelu(tensor_, activation);
  c10::cuda::setCurrentCUDAStream(other_);
  const at::Tensor sum = activation.sum();
  EXPECT_THAT(stream_checker::races(), Contains(HasSubstr("aten::sum on stream")));
  EXPECT_THAT(stream_checker::races(), Contains(HasSubstr("reads what gelu on stream")));
  default_stream_.synchronize();
  stream_checker::reset();
  const at::Tensor read = tensor_.sum();
  c10::cuda::setCurrentCUDAStream(default_stream_);
  operations->gelu(activation, tensor_);
  EXPECT_THAT(stream_checker::races(), Contains(HasSubstr("gelu on stream")));
}

// TORCH_ALLOW_TF32_CUBLAS_OVERRIDE and CUBLAS_WORKSPACE_CONFIG would change bits, and the first one digits, silently.
TEST(UseGpuTest, TheEnvironmentDoesNotChooseTheArithmetic) {
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0", 1);
  at::globalContext().setAllowTF32CuBLAS(true);
  at::globalContext().setAllowBF16ReductionCuBLAS(true);
  EXPECT_EQ(sharding::use_gpu(0), at::Device(at::kCUDA, 0));
  EXPECT_FALSE(at::globalContext().allowTF32CuBLAS());
  EXPECT_NE(at::globalContext().allowBF16ReductionCuBLAS(), at::CuBLASReductionOption::AllowReducedPrecisionWithSplitK);
  EXPECT_STREQ(std::getenv("CUBLAS_WORKSPACE_CONFIG"), ":4096:8");
}

// The collectives as they are, and with one of their waits taken out: values are right all the same.
TEST(StreamsOfCollectives, AWaitTakenOutIsFound) {
  const auto races_with = [](const std::string& setting) {
    ProgramOptions options{.environment = {{"KANGPT_DOUBLE_CHECK_STREAMS", setting}}, .timeout_seconds = 110};
    const ProgramResult result = run_program({"mpirun", "-q", "-np", "2", KANGPT_WORKPLACE_ON_DOUBLES}, options);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(result.all_output(), HasSubstr("checker of streams: ")) << "it was on";
    return result.all_output();
  };
  EXPECT_THAT(races_with("1"), Not(HasSubstr("race: ")));
  EXPECT_THAT(races_with("before"), HasSubstr("race: "));
  EXPECT_THAT(races_with("after"), HasSubstr("race: "));
}

}  // namespace
}  // namespace kangpt::test
