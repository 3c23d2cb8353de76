# What `--version` prints (src/base/version.cpp.in): versions of the libraries, and the commit at configure time.
find_package(Git QUIET)
set(KANGPT_REVISION "")
if(Git_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} describe --always --dirty WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
                  OUTPUT_VARIABLE _revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(_revision)
    set(KANGPT_REVISION " (configured at ${_revision})")
  endif()
endif()

# "Open MPI v4.1.4, package: ..." -> "Open MPI v4.1.4"
string(REGEX REPLACE "[,\n].*" "" KANGPT_MPI_VERSION "${MPI_C_LIBRARY_VERSION_STRING}")

set(KANGPT_NCCL_VERSION "not built")
if(KANGPT_HAVE_CUDA)
  file(STRINGS ${NCCL_INCLUDE_DIR}/nccl.h _lines REGEX "^#define NCCL_(MAJOR|MINOR|PATCH) [0-9]+$")
  string(REGEX REPLACE "[^0-9;]" "" _numbers "${_lines}")
  list(JOIN _numbers . KANGPT_NCCL_VERSION)
endif()
