// Copies from a device to the host that go on while the device computes.
#pragma once

#include "operations/torch_prefix.hpp"

namespace kangpt::sharding {

// Not thread-safe.
class BackgroundCopies {
 public:
  virtual ~BackgroundCopies() = default;

  // Begins a copy behind the work that is queued now. Neither tensor may be written to, nor `to` read, before finish().
  virtual void begin(const at::Tensor& from, const at::Tensor& to) = 0;
  // Blocks until all of them are done.
  virtual void finish() = 0;
};

// Where there is nothing to hide a copy behind.
class ImmediateCopies final : public BackgroundCopies {
 public:
  void begin(const at::Tensor& from, const at::Tensor& to) override { to.copy_(from); }
  void finish() override {}
};

}  // namespace kangpt::sharding
