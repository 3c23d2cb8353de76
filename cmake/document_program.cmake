# What a program tells about itself, in files: cmake -D PROGRAM=path -D FOLDER=folder -D VERSION=1.2.3 -D HELP2MAN=path-or-empty
# -P document_program.cmake writes FOLDER/bash/NAME, FOLDER/zsh/_NAME and, with help2man, FOLDER/man/NAME.1.
get_filename_component(name ${PROGRAM} NAME)

function(print_to file)
  file(MAKE_DIRECTORY ${FOLDER}/bash ${FOLDER}/zsh ${FOLDER}/man)
  execute_process(COMMAND ${ARGN} OUTPUT_FILE ${file} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

print_to(${FOLDER}/bash/${name} ${PROGRAM} --print-completion bash)
print_to(${FOLDER}/zsh/_${name} ${PROGRAM} --print-completion zsh)
if(HELP2MAN)
  execute_process(COMMAND ${PROGRAM} --help OUTPUT_VARIABLE help COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCH "^[^\n]*" summary "${help}")
  string(REGEX REPLACE "\\. .*|\\.$" "" summary "${summary}")
  set(option --help)
  if(help MATCHES "--help-all")
    set(option --help-all)
  endif()
  print_to(${FOLDER}/man/${name}.1 ${HELP2MAN} --no-info --help-option=${option} --version-string=${VERSION} --name=${summary} ${PROGRAM})
endif()
