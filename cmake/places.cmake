# Where things lie once they are installed, and where programs look for them: LibTorch, vocabulary and configurations are
# found from the program's own folder, so that an installed tree may be moved as a whole. Sets, relative to the prefix,
# KANGPT_LIBRARIES and KANGPT_SHARED; and KANGPT_OWN_RUN_PATH, the run path of a program that knows nothing but that.
include(GNUInstallDirs)
set(KANGPT_LIBRARIES ${CMAKE_INSTALL_LIBDIR}/kangpt)
set(KANGPT_SHARED ${CMAKE_INSTALL_DATADIR}/kangpt)

# kangpt_from_programs(VARIABLE FOLDER): FOLDER, relative to the prefix, as seen from the folder of the programs.
function(kangpt_from_programs variable folder)
  cmake_path(ABSOLUTE_PATH folder BASE_DIRECTORY /prefix OUTPUT_VARIABLE _target)
  cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_BINDIR BASE_DIRECTORY /prefix OUTPUT_VARIABLE _programs)
  cmake_path(RELATIVE_PATH _target BASE_DIRECTORY ${_programs} OUTPUT_VARIABLE _relative)
  set(${variable} ${_relative} PARENT_SCOPE)
endfunction()

kangpt_from_programs(_libraries ${KANGPT_LIBRARIES})
set(KANGPT_OWN_RUN_PATH "")
foreach(_folder "" torch/lib nvidia/cu13/lib nvidia/cudnn/lib nvidia/cusparselt/lib nvidia/nccl/lib nvidia/nvshmem/lib)
  string(REGEX REPLACE "/$" "" _path "${_libraries}/${_folder}")
  list(APPEND KANGPT_OWN_RUN_PATH "$ORIGIN/${_path}")
endforeach()

# Behind them the folders of libraries that were found outside the system's: of modules, conda and the like. All as
# RPATH, which unlike a RUNPATH holds for the libraries of libraries too.
set(CMAKE_INSTALL_RPATH ${KANGPT_OWN_RUN_PATH})
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
add_link_options(-Wl,--disable-new-dtags)
