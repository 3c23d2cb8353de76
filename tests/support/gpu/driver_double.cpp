// Stands in for the NVIDIA driver, as libcuda.so.1 in a folder of LD_LIBRARY_PATH. Settings in the environment:
//   KANGPT_DOUBLE_GPUS            how many it shows (8)
//   KANGPT_DOUBLE_GPU_MODELS      their models, separated by commas; the last one holds for the rest
//   KANGPT_DOUBLE_GPU_PER_TASK    "1": each rank sees one, its own, as under `srun --gpus-per-task=1`
//   KANGPT_DOUBLE_GPU_BYTES       how much memory each has (80e9)
//   KANGPT_DOUBLE_DRIVER_VERSION  what CUDA it knows (13000)
//   KANGPT_DOUBLE_DRIVER_ERROR    what cuInit gives (0)
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::string setting(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

bool is_per_task() {
  return setting("KANGPT_DOUBLE_GPU_PER_TASK", "0") == "1";
}

// Where all are shown, `device` itself.
int number_on_node(int device) {
  return is_per_task() ? std::stoi(setting("OMPI_COMM_WORLD_LOCAL_RANK", "0")) : device;
}

}  // namespace

extern "C" {

int cuDriverGetVersion(int* version) {
  *version = std::stoi(setting("KANGPT_DOUBLE_DRIVER_VERSION", "13000"));
  return 0;
}

int cuInit(unsigned /*flags*/) {
  return std::stoi(setting("KANGPT_DOUBLE_DRIVER_ERROR", "0"));
}

int cuDeviceGetCount(int* count) {
  *count = is_per_task() ? 1 : std::stoi(setting("KANGPT_DOUBLE_GPUS", "8"));
  return 0;
}

int cuDeviceGet(int* device, int index) {
  *device = index;
  return 0;
}

int cuDeviceGetUuid_v2(void* uuid, int device) {
  std::memset(uuid, number_on_node(device) + 1, 16);
  return 0;
}

int cuDeviceGetName(char* name, int length, int device) {
  std::string models = setting("KANGPT_DOUBLE_GPU_MODELS", "NVIDIA Double");
  for (int i = number_on_node(device); i > 0 && models.find(',') != std::string::npos; --i)
    models.erase(0, models.find(',') + 1);
  std::strncpy(name, models.substr(0, models.find(',')).c_str(), static_cast<std::size_t>(length));
  return 0;
}

int cuDeviceTotalMem_v2(std::size_t* bytes, int /*device*/) {
  *bytes = static_cast<std::size_t>(std::stod(setting("KANGPT_DOUBLE_GPU_BYTES", "80e9")));
  return 0;
}

int cuDeviceGetAttribute(int* value, int /*attribute*/, int /*device*/) {
  *value = 132;
  return 0;
}

}  // extern "C"
