# The three kinds of target in this project.

# kangpt_library(NAME SOURCES a.cpp... [PUBLIC targets...] [PRIVATE targets...])
function(kangpt_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  kangpt_common_(${name})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# kangpt_program(NAME SOURCES a.cpp... LINK targets...)
function(kangpt_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  kangpt_common_(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
endfunction()

# kangpt_test(NAME SOURCES a.cpp... LINK targets... [TIMEOUT seconds]): a GoogleTest program, one CTest entry.
# The program sees the environment variables of the entry: KANGPT_BIN (programs), KANGPT_SOURCE (repository).
function(kangpt_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  kangpt_common_(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  kangpt_test_environment_(${name} ${ARG_TIMEOUT})
endfunction()

function(kangpt_test_environment_ name timeout)
  set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} ENVIRONMENT
      "KANGPT_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};KANGPT_SOURCE=${CMAKE_SOURCE_DIR};KANGPT_CACHE=${KANGPT_CACHE};OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1")
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
    target_precompile_headers(kangpt_torch_prefix PRIVATE ${CMAKE_SOURCE_DIR}/src/model/torch_prefix.hpp)
  endif()
  target_precompile_headers(${name} REUSE_FROM kangpt_torch_prefix)
endfunction()
