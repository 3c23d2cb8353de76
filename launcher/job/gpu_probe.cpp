#include "launcher/job/gpu_probe.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

namespace kangpt::launcher {
namespace {

using nlohmann::json;

// Of the driver's C interface (cuda.h), which need not be installed.
constexpr int kCudaErrorStubLibrary = 34;
constexpr int kCudaErrorNoDevice = 100;
constexpr int kMultiprocessorCount = 16;  // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
constexpr int kNeededVersion = 13000;     // CUDA 13.0, of LibTorch's wheel
constexpr const char* kNeededDriver = "R580";

std::string visible_devices() {
  const char* const value = std::getenv("CUDA_VISIBLE_DEVICES");
  return value == nullptr ? "CUDA_VISIBLE_DEVICES is not set" : "CUDA_VISIBLE_DEVICES is '" + std::string(value) + "'";
}

GpuProbe none(const std::string& why) {
  return {.gpus = {}, .problem = why};
}

GpuProbe failed(const std::string& call, int error) {
  if (error == kCudaErrorNoDevice) return none("the NVIDIA driver shows no GPU (" + visible_devices() + ")");
  if (error == kCudaErrorStubLibrary) return none("libcuda.so.1 on this node is the toolkit's stand-in for a driver");
  return {.gpus = {},
          .problem = "a GPU or the NVIDIA driver is out of order: " + call + " gave error " + std::to_string(error) +
                     " (nvidia-smi and dmesg say more)",
          .is_out_of_order = true};
}

GpuProbe too_old(int version) {
  return none("the NVIDIA driver is too old: it knows CUDA " + std::to_string(version / 1000) + "." +
              std::to_string(version % 1000 / 10) + ", and this build needs 13.0; install driver " + kNeededDriver +
              " or a newer one");
}

// The driver, loaded for as long as this lives.
class Driver {
 public:
  Driver() : library_(::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), ::dlclose) {}
  bool is_there() const { return library_ != nullptr; }

  // Null where the driver does not have it.
  template <typename... Arguments>
  auto find(const char* name) const {
    return reinterpret_cast<int (*)(Arguments...)>(::dlsym(library_.get(), name));
  }

 private:
  std::unique_ptr<void, int (*)(void*)> library_;
};

std::string hexadecimal(const std::array<unsigned char, 16>& bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x", byte);
    text += digits.data();
  }
  return text;
}

// Error of the first call that fails.
int describe(const Driver& driver, int index, GpuFacts& facts) {
  using Uuid = std::array<unsigned char, 16>;
  const auto get = driver.find<int*, int>("cuDeviceGet");
  auto uuid_of = driver.find<Uuid*, int>("cuDeviceGetUuid_v2");  // knows the parts of a divided GPU
  if (uuid_of == nullptr) uuid_of = driver.find<Uuid*, int>("cuDeviceGetUuid");
  const auto name_of = driver.find<char*, int, int>("cuDeviceGetName");
  const auto attribute_of = driver.find<int*, int, int>("cuDeviceGetAttribute");
  if (get == nullptr || uuid_of == nullptr || name_of == nullptr || attribute_of == nullptr)
    return kCudaErrorStubLibrary;
  int device = 0;
  Uuid uuid{};
  std::array<char, 128> name{};
  if (const int error = get(&device, index)) return error;
  if (const int error = uuid_of(&uuid, device)) return error;
  if (const int error = name_of(name.data(), static_cast<int>(name.size()) - 1, device)) return error;
  std::size_t memory = 0;
  if (const auto memory_of = driver.find<std::size_t*, int>("cuDeviceTotalMem_v2")) memory_of(&memory, device);
  facts.memory_bytes = memory;
  facts.uuid = hexadecimal(uuid);
  facts.model = name.data();
  return attribute_of(&facts.multiprocessors, kMultiprocessorCount, device);
}

}  // namespace

GpuProbe probe_gpus() {
  const Driver driver;
  if (!driver.is_there()) return none("there is no NVIDIA driver (libcuda.so.1) on this node");
  const auto version_of = driver.find<int*>("cuDriverGetVersion");
  const auto init = driver.find<unsigned>("cuInit");
  const auto device_count = driver.find<int*>("cuDeviceGetCount");
  if (version_of == nullptr || init == nullptr || device_count == nullptr)
    return none("libcuda.so.1 on this node is no NVIDIA driver");
  int version = 0;
  int count = 0;
  if (const int error = version_of(&version)) return failed("cuDriverGetVersion", error);
  if (const int error = init(0)) return failed("cuInit", error);
  if (const int error = device_count(&count)) return failed("cuDeviceGetCount", error);
  if (count == 0) return failed("cuDeviceGetCount", kCudaErrorNoDevice);
  if (version < kNeededVersion) return too_old(version);
  GpuProbe probe;
  for (int index = 0; index < count; ++index) {
    if (const int error = describe(driver, index, probe.gpus.emplace_back()))
      return failed("asking for GPU number " + std::to_string(index), error);
  }
  return probe;
}

GpuProbe probe_gpus_for(const std::filesystem::path& program_folder) {
  if (std::filesystem::exists(program_folder / kGpuWorker)) return probe_gpus();
  return none(std::string("this build has no GPU part (") + kGpuWorker +
              " is missing: it is built where the CUDA toolkit and NCCL are installed)");
}

std::string to_text(const GpuProbe& probe) {
  json gpus = json::array();
  for (const GpuFacts& gpu : probe.gpus) gpus.push_back({gpu.uuid, gpu.model, gpu.multiprocessors, gpu.memory_bytes});
  return json{{"gpus", gpus}, {"problem", probe.problem}, {"out_of_order", probe.is_out_of_order}}.dump(
      -1, ' ', false, json::error_handler_t::replace);
}

GpuProbe probe_from_text(const std::string& text) {
  const json value = json::parse(text);
  GpuProbe probe{.gpus = {}, .problem = value.at("problem"), .is_out_of_order = value.at("out_of_order")};
  for (const json& gpu : value.at("gpus")) probe.gpus.push_back({gpu.at(0), gpu.at(1), gpu.at(2), gpu.at(3)});
  return probe;
}

GpuShares share_gpus(const std::vector<GpuProbe>& probes) {
  GpuShares shares;
  std::set<std::string> taken;
  const GpuFacts* first = nullptr;
  const auto refuse = [](const std::string& why) { return GpuShares{.of_ranks = {}, .problem = why}; };
  const auto sick = std::ranges::find_if(probes, &GpuProbe::is_out_of_order);
  if (sick != probes.end()) return {{}, sick->problem, true};
  for (std::size_t rank = 0; rank < probes.size(); ++rank) {
    const auto& [gpus, problem, out_of_order] = probes[rank];
    if (!problem.empty()) return refuse(problem);
    const auto mine = std::ranges::find_if(gpus, [&](const GpuFacts& gpu) { return !taken.contains(gpu.uuid); });
    if (mine == gpus.end()) {
      return refuse("rank " + std::to_string(rank) + " sees " + std::to_string(gpus.size()) +
                    " GPU(s), each of which a rank before it has (" + visible_devices() +
                    " on rank 0); start one rank a GPU: mpirun --map-by ppr:" + std::to_string(gpus.size()) + ":node");
    }
    taken.insert(mine->uuid);
    if (first == nullptr) first = &*mine;
    shares.memory_bytes = first == &*mine ? mine->memory_bytes : std::min(shares.memory_bytes, mine->memory_bytes);
    if (!mine->is_like(*first)) {
      return refuse("ranks have different GPUs, whose results differ in their last bits: rank 0 " + first->text() +
                    ", rank " + std::to_string(rank) + " " + mine->text() +
                    "; choose GPUs of one kind with CUDA_VISIBLE_DEVICES, or nodes of one kind");
    }
    shares.of_ranks.push_back(static_cast<int>(mine - gpus.begin()));
  }
  return shares;
}

}  // namespace kangpt::launcher
