# What `cmake --install` puts where (cmake/places.cmake), by component: `programs` with vocabulary, named configurations and
# what each tells about itself when it is built, completions for bash and zsh and, where help2man is installed, its man
# page; `libtorch`, the CPU part that they load; `gpu`, kangpt_worker_cuda; `libtorch-gpu`, what that loads of LibTorch on
# top. The programs are the interface: there are no headers, no libraries to link, and no CMake package.
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME programs)
get_property(_programs GLOBAL PROPERTY KANGPT_PROGRAMS)
set(_of_cpu ${_programs})
list(REMOVE_ITEM _of_cpu kangpt_worker_cuda)
install(TARGETS ${_of_cpu} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(KANGPT_HAVE_CUDA)
  install(TARGETS kangpt_worker_cuda RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT gpu)
endif()
list(FILTER _programs EXCLUDE REGEX worker)  # nobody types those

# As in the wheels, where each library finds the others from its own folder.
set(_cuda_part "_cuda|nvrtc|nvshmem")
file(GLOB _libraries ${KANGPT_TORCH_ROOT}/torch/lib/*.so*)
set(_gpu_libraries ${_libraries})
list(FILTER _gpu_libraries INCLUDE REGEX "${_cuda_part}")
list(FILTER _libraries EXCLUDE REGEX "${_cuda_part}|/libshm|/libtorch\\.so|_global_deps|_python")
install(FILES ${_libraries} DESTINATION ${KANGPT_LIBRARIES}/torch/lib COMPONENT libtorch)
install(FILES ${_gpu_libraries} DESTINATION ${KANGPT_LIBRARIES}/torch/lib COMPONENT libtorch-gpu)
foreach(_folder torch.libs nvidia)
  if(EXISTS ${KANGPT_TORCH_ROOT}/${_folder})
    install(DIRECTORY ${KANGPT_TORCH_ROOT}/${_folder} DESTINATION ${KANGPT_LIBRARIES} COMPONENT libtorch)
  endif()
endforeach()

# For pip, what GPUs need of NVIDIA; with the two that came with LibTorch, since pip replaces the folder as a whole.
if(KANGPT_HAVE_CUDA)
  file(STRINGS cmake/wheels-gpu.txt _wheels REGEX "^nvidia")
  file(STRINGS cmake/wheels.txt _wheels_of_torch REGEX "^nvidia")
  list(JOIN _wheels "\n" _wheels)
  list(JOIN _wheels_of_torch "\n" _wheels_of_torch)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/wheels-gpu.txt CONTENT "${_wheels_of_torch}\n${_wheels}\n")
  install(FILES ${CMAKE_BINARY_DIR}/wheels-gpu.txt DESTINATION ${KANGPT_SHARED} COMPONENT gpu)
endif()

install(FILES ${KANGPT_CACHE}/gpt2/vocab.bpe DESTINATION ${KANGPT_SHARED}/gpt2)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/configs DESTINATION ${KANGPT_SHARED} FILES_MATCHING PATTERN *.textproto)
install(FILES LICENSE README.md CHANGELOG.md docs/installing.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

find_program(KANGPT_HELP2MAN help2man)
if(NOT KANGPT_HELP2MAN)
  set(KANGPT_HELP2MAN "")
  message(STATUS "No man pages: help2man is not installed")
endif()

# Sanitized programs are not for installing, and may not start within a build.
if(KANGPT_SANITIZE STREQUAL "")
  set(_folder ${CMAKE_BINARY_DIR}/documentation)
  set(_files "")
  foreach(_program IN LISTS _programs)
    set(_of_program ${_folder}/bash/${_program} ${_folder}/zsh/_${_program})
    if(KANGPT_HELP2MAN)
      list(APPEND _of_program ${_folder}/man/${_program}.1)
    endif()
    add_custom_command(
      OUTPUT ${_of_program}
      COMMAND ${CMAKE_COMMAND} -D PROGRAM=$<TARGET_FILE:${_program}> -D FOLDER=${_folder} -D VERSION=${PROJECT_VERSION}
              -D HELP2MAN=${KANGPT_HELP2MAN} -P ${CMAKE_SOURCE_DIR}/cmake/document_program.cmake
      DEPENDS ${_program} ${CMAKE_SOURCE_DIR}/cmake/document_program.cmake
      VERBATIM)
    list(APPEND _files ${_of_program})
  endforeach()
  add_custom_target(documentation ALL DEPENDS ${_files})
  add_dependencies(programs documentation)
  install(DIRECTORY ${_folder}/bash/ DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(DIRECTORY ${_folder}/zsh/ DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  if(KANGPT_HELP2MAN)
    install(DIRECTORY ${_folder}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  endif()
endif()

# `make bundle`, `make gpu-bundle`: all of this and the system's libraries, packed for other machines.
list(JOIN KANGPT_OWN_RUN_PATH ":" _run_path)
set(_targets bundle)
set(_part_of_bundle cpu)
if(KANGPT_HAVE_CUDA)
  list(APPEND _targets bundle-gpu gpu-bundle)
  set(_part_of_bundle-gpu gpu)
  set(_part_of_gpu-bundle gpu-without-libtorch)
endif()
foreach(_target IN LISTS _targets)
  set(_part ${_part_of_${_target}})
  add_custom_target(${_target}
    COMMAND ${CMAKE_COMMAND} -D BUILD=${CMAKE_BINARY_DIR} -D PART=${_part} -D PROGRAMS=${CMAKE_INSTALL_BINDIR}
            -D LIBRARIES=${KANGPT_LIBRARIES} -D SHARED=${KANGPT_SHARED} -D RUN_PATH=${_run_path}
            -D NAME=kangpt-${PROJECT_VERSION}-${CMAKE_SYSTEM_PROCESSOR}-${_part} -P ${CMAKE_SOURCE_DIR}/cmake/bundle.cmake
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
    VERBATIM)
  add_dependencies(${_target} programs)
endforeach()
