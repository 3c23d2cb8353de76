#include "launcher/worker/last_words.hpp"

#include <string>

#include "base/error.hpp"
#include "operations/torch_prefix.hpp"
#include "training/trainer.hpp"

namespace kangpt::launcher {
namespace {

using sharding::MessageKind;

void say(sharding::MessageSocket& agent, ExitCode code, const std::string& message) {
  agent.send(MessageKind::kFailed, static_cast<std::uint64_t>(code), message);
}

// "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.20 GiB is free.
// Including non-PyTorch memory, ...": up to what is free.
std::string wanted_and_free(const std::string& text) {
  constexpr std::string_view kEnd = " is free.";
  const auto end = text.find(kEnd);
  return end == std::string::npos ? text : text.substr(0, end + kEnd.size());
}

std::string out_of_memory(const c10::OutOfMemoryError& error) {
  return "the GPU has too little memory: " + wanted_and_free(error.what_without_backtrace()) +
         " A smaller share of the batch at once needs less (a greater train.logical_shards in a new run, or a smaller "
         "train.batch_size), and so does a smaller network; check with nvidia-smi that nobody else uses the GPU";
}

}  // namespace

bool tell_failure(sharding::MessageSocket& agent, const std::function<void()>& body) {
  try {
    body();
    return true;
  } catch (const training::BadBatch& error) {
    agent.send(MessageKind::kBadBatch, error.batch, error.what());
  } catch (const Error& error) {
    say(agent, error.exit_code(), error.what());
  } catch (const c10::OutOfMemoryError& error) {
    say(agent, ExitCode::kConfiguration, out_of_memory(error));
  } catch (const c10::Error& error) {
    say(agent, ExitCode::kInternal, std::string("LibTorch: ") + error.what_without_backtrace());
  } catch (const std::exception& error) {
    say(agent, ExitCode::kInternal, error.what());
  }
  return false;
}

}  // namespace kangpt::launcher
