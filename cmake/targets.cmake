# The kinds of target in this project. Three more gather them: `programs`; `without_libtorch`, the programs and tests that
# sanitizers can check in little time; `whole_jobs`, the programs and the tests labelled end_to_end or mpi.
add_custom_target(programs)
add_custom_target(without_libtorch)
add_custom_target(whole_jobs DEPENDS programs)

# kangpt_library(NAME SOURCES a.cpp... [PUBLIC targets...] [PRIVATE targets...])
function(kangpt_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  kangpt_common_(${name})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# kangpt_protobuf(NAME schema.proto): the code that protoc makes of a schema in this folder, included by its place in the
# repository: "configs/run_config.pb.h". A target of its own: our warnings are not for it.
function(kangpt_protobuf name schema)
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/generated)
  cmake_path(RELATIVE_PATH schema BASE_DIRECTORY ${CMAKE_SOURCE_DIR})
  string(REGEX REPLACE "\\.proto$" ".pb" code ${generated}/${schema})
  add_custom_command(
    OUTPUT ${code}.cc ${code}.h
    COMMAND ${CMAKE_COMMAND} -E make_directory ${generated}
    COMMAND protobuf::protoc --cpp_out=${generated} -I ${CMAKE_SOURCE_DIR} ${schema}
    DEPENDS ${CMAKE_SOURCE_DIR}/${schema}
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    VERBATIM)
  add_library(${name} STATIC ${code}.cc)
  target_include_directories(${name} SYSTEM PUBLIC ${generated})
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf)
endfunction()

# kangpt_program(NAME SOURCES a.cpp... LINK targets...)
function(kangpt_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  kangpt_common_(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  add_dependencies(programs ${name})
  set_property(GLOBAL APPEND PROPERTY KANGPT_PROGRAMS ${name})
  kangpt_sort_by_libtorch_(${name} unused)
endfunction()

# kangpt_test(NAME SOURCES a.cpp... LINK targets... [TIMEOUT seconds] [PROCESSORS n] [LABELS long...]): a GoogleTest
# program, one CTest entry. PROCESSORS: how many it keeps busy (1); CTest runs no more at once than there are.
# Labels: `long` keeps it out of `make test`; `libtorch`, `end_to_end` and, for kangpt_mpi_test(), `mpi` come by themselves.
# The program sees the environment variables of the entry: KANGPT_BIN (programs), KANGPT_SOURCE (repository).
# OMP_WAIT_POLICY: threads that wait actively slow small networks down 50 times where tests share processors.
function(kangpt_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT;PROCESSORS" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  kangpt_common_(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  kangpt_sort_by_libtorch_(${name} label)
  kangpt_test_properties_(${name} "${ARG_TIMEOUT}" "${ARG_PROCESSORS}" "${ARG_LABELS};${label}")
  get_test_property(${name} LABELS labels)
  if("end_to_end" IN_LIST labels AND NOT "long" IN_LIST labels)
    add_dependencies(whole_jobs ${name})
  endif()
endfunction()

# kangpt_benchmark(NAME SOURCES a.cpp... LINK targets...): a Google Benchmark program, built and run by `make bench`.
add_custom_target(benchmarks)
function(kangpt_benchmark name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  kangpt_common_(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
  target_link_libraries(${name} PRIVATE ${ARG_LINK} benchmark::benchmark benchmark::benchmark_main)
  add_dependencies(benchmarks ${name})
endfunction()

function(kangpt_test_properties_ name timeout processors labels)
  if(NOT timeout)
    set(timeout 120)
  endif()
  if(NOT processors)
    set(processors 1)
  endif()
  if(CMAKE_CURRENT_SOURCE_DIR MATCHES "/tests/end_to_end$")
    list(APPEND labels end_to_end)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} PROCESSORS ${processors} LABELS "${labels}" ENVIRONMENT
      "GTEST_COLOR=no;KANGPT_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};KANGPT_SOURCE=${CMAKE_SOURCE_DIR};KANGPT_CACHE=${KANGPT_CACHE};OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_hwloc_base_binding_policy=none;PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe;PRTE_MCA_hwloc_default_binding_policy=none;OMP_WAIT_POLICY=passive;LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/cmake/leaks.supp:print_suppressions=0")
endfunction()

# Sets LABEL in the caller: `libtorch` where the target links it, itself or through a library. Else without_libtorch
# builds it.
function(kangpt_sort_by_libtorch_ name label)
  set(${label} "" PARENT_SCOPE)
  set(pending ${name})
  set(seen "")
  while(pending)
    list(POP_FRONT pending target)
    list(APPEND seen ${target})
    foreach(property LINK_LIBRARIES INTERFACE_LINK_LIBRARIES)
      get_target_property(libraries ${target} ${property})
      foreach(library IN LISTS libraries)
        string(REGEX REPLACE "^\\$<LINK_ONLY:(.*)>$" "\\1" library "${library}")
        if(TARGET "${library}" AND NOT library IN_LIST seen)
          list(APPEND pending ${library})
        endif()
      endforeach()
    endforeach()
  endwhile()
  if(kangpt_torch IN_LIST seen)
    set(${label} libtorch PARENT_SCOPE)
  else()
    add_dependencies(without_libtorch ${name})
  endif()
endfunction()

function(kangpt_common_ name)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${KANGPT_WARNINGS}>)
endfunction()

# kangpt_torch_library(NAME ...): kangpt_library() with LibTorch and its precompiled header (7-20 s a file without).
function(kangpt_torch_library name)
  kangpt_library(${name} ${ARGN})
  target_link_libraries(${name} PUBLIC kangpt_torch)
  kangpt_precompile_torch_(${name})
endfunction()

# One precompiled header, shared by all LibTorch targets: kangpt_torch_prefix compiles it.
function(kangpt_precompile_torch_ name)
  if(NOT TARGET kangpt_torch_prefix)
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/torch_prefix.cpp CONTENT "// compiles the precompiled header\n")
    add_library(kangpt_torch_prefix STATIC ${CMAKE_BINARY_DIR}/torch_prefix.cpp)
    kangpt_common_(kangpt_torch_prefix)
    target_link_libraries(kangpt_torch_prefix PUBLIC kangpt_torch)
    # In brackets: CMake then writes no absolute path into it, and other clones find it in the compiler cache.
    target_precompile_headers(kangpt_torch_prefix PRIVATE <operations/torch_prefix.hpp>)
  endif()
  target_precompile_headers(${name} REUSE_FROM kangpt_torch_prefix)
endfunction()

# kangpt_mpi_test(NAME RANKS 1 2 4 SOURCES a.cpp... LINK targets...): one program with a main() of its own, run under
# mpirun once for each number of ranks. Leaks don't count: those of Open MPI's modules have no name left when they are
# found.
function(kangpt_mpi_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;RANKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  kangpt_common_(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest GTest::gmock)
  add_dependencies(whole_jobs ${name})
  kangpt_sort_by_libtorch_(${name} label)
  foreach(ranks IN LISTS ARG_RANKS)
    add_test(NAME ${name}_np${ranks} COMMAND ${MPIEXEC_EXECUTABLE} -np ${ranks} $<TARGET_FILE:${name}>)
    kangpt_test_properties_(${name}_np${ranks} "${ARG_TIMEOUT}" 2 "mpi;${label}")
    set_property(TEST ${name}_np${ranks} APPEND PROPERTY ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
  endforeach()
endfunction()
