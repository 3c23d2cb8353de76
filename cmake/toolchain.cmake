# How everything is compiled: compiler cache, linker, warnings, sanitizers.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # The sloppiness that ccache documents for precompiled headers; a base folder so that clones share results.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=true ${CCACHE_PROGRAM})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

# mold before 2.4 makes programs that do not start: where the path of a library has an unlucky length, the segment that
# the loader protects after relocation lies outside its page (rui314/mold issue 1151; programs_start_test).
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  execute_process(COMMAND ${MOLD_PROGRAM} --version OUTPUT_VARIABLE _mold_version ERROR_QUIET)
  string(REGEX MATCH "[0-9]+\\.[0-9]+(\\.[0-9]+)?" _mold_version "${_mold_version}")
  if(_mold_version VERSION_GREATER_EQUAL 2.4)
    add_link_options(-fuse-ld=mold)
  endif()
endif()

# At most two compilers at once: the machines this is built on are small, and LibTorch files take 1-2 GB each.
set_property(GLOBAL PROPERTY JOB_POOLS compile=2 link=1)
set(CMAKE_JOB_POOL_COMPILE compile)
set(CMAKE_JOB_POOL_LINK link)

set(CMAKE_CXX_FLAGS_RELEASE "-O3")
add_compile_options($<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-fpch-preprocess>)
set(KANGPT_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wpedantic $<$<BOOL:${KANGPT_WERROR}>:-Werror>
    # GCC 12 warns about std::string in vain (GCC bugs 105651, 105329)
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow>
    -Wno-missing-field-initializers)      # designated initializers leave the rest at their defaults on purpose

if(KANGPT_SANITIZE)
  add_compile_options(-fsanitize=${KANGPT_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${KANGPT_SANITIZE})
endif()
