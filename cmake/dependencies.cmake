# Everything the project builds on. System packages come from packages.txt and, for tests, packages-tests.txt; LibTorch
# from wheels.txt (see setup.sh).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
set(MPI_DETERMINE_LIBRARY_VERSION ON)
find_package(MPI REQUIRED COMPONENTS C)  # mpi.h alone: Open MPI 5 has no libmpi_cxx any more
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(Protobuf REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
if(BUILD_TESTING)
  find_package(GTest REQUIRED)
  find_package(benchmark REQUIRED)
  pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
endif()

add_library(kangpt_hdf5 INTERFACE)
target_include_directories(kangpt_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(kangpt_hdf5 INTERFACE ${HDF5_C_LIBRARIES})
if(HDF5_IS_PARALLEL)
  target_link_libraries(kangpt_hdf5 INTERFACE MPI::MPI_C)  # its hdf5.h includes mpi.h
endif()

# --- LibTorch: the unpacked PyPI wheel. Its own CMake package insists on a CUDA toolkit, hence this small target. ---
set(KANGPT_TORCH_VERSION 2.11.0)
if(NOT "$ENV{KANGPT_CACHE}" STREQUAL "")
  set(_kangpt_cache $ENV{KANGPT_CACHE})
elseif("$ENV{HOME}" STREQUAL "" AND NOT DEFINED KANGPT_CACHE)
  message(FATAL_ERROR "Neither KANGPT_CACHE nor HOME is set. Set KANGPT_CACHE to the folder that `make setup` filled")
else()
  set(_kangpt_cache $ENV{HOME}/.cache/kangpt)
endif()
set(KANGPT_CACHE ${_kangpt_cache} CACHE PATH "Where cmake/setup.sh put LibTorch and the GPT-2 vocabulary")
set(_torch_folder torch-${KANGPT_TORCH_VERSION})
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  string(APPEND _torch_folder -aarch64)
endif()
set(KANGPT_TORCH_ROOT ${KANGPT_CACHE}/${_torch_folder} CACHE PATH "Folder with torch/ and nvidia/")
if(NOT EXISTS ${KANGPT_TORCH_ROOT}/torch/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch ${KANGPT_TORCH_VERSION} is not in ${KANGPT_TORCH_ROOT}. Run: make setup")
endif()

add_library(kangpt_torch INTERFACE)
target_include_directories(kangpt_torch SYSTEM INTERFACE ${KANGPT_TORCH_ROOT}/torch/include
                           ${KANGPT_TORCH_ROOT}/torch/include/torch/csrc/api/include)
# -L, and no link directory: an installed program has LibTorch of its own and shall not name this one (cmake/install.cmake).
target_link_options(kangpt_torch INTERFACE -Wl,--allow-shlib-undefined -L${KANGPT_TORCH_ROOT}/torch/lib
                    -L${KANGPT_TORCH_ROOT}/nvidia/cu13/lib)
target_link_libraries(kangpt_torch INTERFACE torch_cpu c10 Threads::Threads)
list(APPEND CMAKE_BUILD_RPATH ${KANGPT_TORCH_ROOT}/torch/lib ${KANGPT_TORCH_ROOT}/nvidia/cu13/lib)
# In every kind of build, as the wheel itself was compiled: without it some of LibTorch's classes have other members.
target_compile_definitions(kangpt_torch INTERFACE NDEBUG)
# at::parallel_for() is a template on OpenMP: it runs on one thread in files compiled without. The run path above makes
# the programs share LibTorch's own libgomp.so.1, and so its threads.
target_compile_options(kangpt_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
target_link_options(kangpt_torch INTERFACE -fopenmp)

# --- The GPU part ---
set(KANGPT_HAVE_CUDA OFF)
if(NOT KANGPT_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit QUIET)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
  if(CUDAToolkit_FOUND AND NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
    set(KANGPT_HAVE_CUDA ON)
  elseif(KANGPT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "KANGPT_CUDA=ON, but the CUDA toolkit or NCCL was not found")
  endif()
endif()
if(KANGPT_HAVE_CUDA)
  # LibTorch's CUDA part registers its operators when it is loaded, so the linker must not drop it. It needs cuBLAS, cuDNN
  # and others at run time, from their wheels (`make setup-gpu`) or from the system; only kangpt_worker_cuda does.
  add_library(kangpt_cuda INTERFACE)
  target_include_directories(kangpt_cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS} ${NCCL_INCLUDE_DIR})
  target_link_libraries(kangpt_cuda INTERFACE -Wl,--push-state,--no-as-needed torch_cuda c10_cuda -Wl,--pop-state
                        CUDA::cudart ${NCCL_LIBRARY})
  foreach(_wheel cu13 cudnn cusparselt nccl nvshmem)
    list(APPEND CMAKE_BUILD_RPATH ${KANGPT_CACHE}/cuda-${KANGPT_TORCH_VERSION}/nvidia/${_wheel}/lib)
  endforeach()
endif()
set(KANGPT_WITH_GPU ${KANGPT_HAVE_CUDA} CACHE INTERNAL "What KANGPT_CUDA came to; .ci/run reads it")
message(STATUS "GPU part: ${KANGPT_HAVE_CUDA}")
