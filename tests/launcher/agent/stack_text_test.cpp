#include "launcher/agent/stack_text.hpp"

#include <gtest/gtest.h>

namespace kangpt::launcher {
namespace {

TEST(ReadableStack, HasTheNamesOfTheSource) {
  EXPECT_EQ(readable_stack("bin/kangpt_worker(_ZN6kangpt8training7Trainer4stepEv+0x1f)[0x55d0]\n"),
            "bin/kangpt_worker(kangpt::training::Trainer::step()+0x1f)[0x55d0]\n");
}

TEST(ReadableStack, LeavesOtherLinesAsTheyAre) {
  const std::string other =
      "/lib/libc.so.6(+0x3c050)[0x7f]\n/lib/libc.so.6(abort+0xd3)[0x7f]\nbin/x(_Znonsense+0x1)[0x1]\nbin/x(_ZN\n\n";
  EXPECT_EQ(readable_stack(other), other);
}

}  // namespace
}  // namespace kangpt::launcher
