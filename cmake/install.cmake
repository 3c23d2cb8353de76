# What `cmake --install` puts where: the programs, and what each tells about itself when it is built: completions for bash and
# zsh, and its man page where help2man is installed.
include(GNUInstallDirs)
get_property(_programs GLOBAL PROPERTY KANGPT_PROGRAMS)
install(TARGETS ${_programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
list(FILTER _programs EXCLUDE REGEX worker)  # nobody types those

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
