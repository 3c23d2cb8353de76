# A folder that runs on other machines, packed: the targets `bundle` and `bundle-gpu` (cmake/install.cmake), which pass
# BUILD (where this is started), PART, NAME, PROGRAMS, LIBRARIES, SHARED and RUN_PATH. Writes BUILD/NAME.tar.zst: what `cmake --install` installs
# and the libraries of this system that the programs load, but not
#   - what every system has: the C and C++ libraries, zlib, OpenSSL 3. A bundle runs where they are as new as here;
#   - MPI, which has to be that of the mpirun over there, and knows its network;
#   - NVIDIA's driver and, of what GPUs need, NVIDIA's libraries (docs/installing.md says how to get them).
# PART gpu-without-libtorch, the target `gpu-bundle`, is for one bare machine that has LibTorch: without that, but with
# OpenSSL, zlib and an Open MPI of its own.
cmake_minimum_required(VERSION 3.25)
set(_folder ${BUILD}/${NAME})
file(REMOVE_RECURSE ${_folder})
set(_components_of_cpu programs libtorch)
set(_components_of_gpu programs libtorch gpu libtorch-gpu)
set(_components_of_gpu-without-libtorch programs gpu)
set(_components ${_components_of_${PART}})
set(_of_system "^ld-linux" "^lib(c|m|dl|rt|pthread|resolv|util|stdc\\+\\+|gcc_s)\\.so")
set(_left_out ${_of_system} "^lib(cu(da|dnn|blas|fft|rand|solver|sparse|pti|file)|nv|nccl)")
if(PART STREQUAL "gpu-without-libtorch")
  list(APPEND _left_out "^lib(torch|c10)")
else()
  list(APPEND _left_out "^lib(z|ssl|crypto)\\.so" "^lib(mpi|open-rte|open-pal)")
endif()
foreach(_component IN LISTS _components)
  execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${_folder} --component ${_component} --strip
                  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endforeach()

file(GLOB _programs ${_folder}/${PROGRAMS}/*)
file(GET_RUNTIME_DEPENDENCIES
  EXECUTABLES ${_programs}
  RESOLVED_DEPENDENCIES_VAR _needed
  UNRESOLVED_DEPENDENCIES_VAR _missing
  PRE_EXCLUDE_REGEXES ${_left_out}
  POST_EXCLUDE_REGEXES "^${_folder}/")
if(_missing)
  message(FATAL_ERROR "libraries that the programs load were not found: ${_missing}")
endif()
file(COPY ${_needed} DESTINATION ${_folder}/${LIBRARIES} FOLLOW_SYMLINK_CHAIN)
foreach(_program IN LISTS _programs)
  file(RPATH_SET FILE ${_program} NEW_RPATH "${RUN_PATH}")  # nothing of this machine
endforeach()
if(PART STREQUAL "gpu-without-libtorch")
  include(${CMAKE_CURRENT_LIST_DIR}/bundle_mpi.cmake)
endif()

file(ARCHIVE_CREATE OUTPUT ${BUILD}/${NAME}.tar.zst PATHS ${NAME} FORMAT gnutar COMPRESSION Zstd COMPRESSION_LEVEL 9)
file(REMOVE_RECURSE ${_folder})
file(SIZE ${BUILD}/${NAME}.tar.zst _bytes)
math(EXPR _megabytes "${_bytes} / 1000000")
message("${BUILD}/${NAME}.tar.zst: ${_megabytes} MB")
