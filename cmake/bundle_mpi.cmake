# Puts this system's Open MPI 4.1 into the bundle of cmake/bundle.cmake, as much of it as one machine needs: mpirun, what
# that starts, its plugins and what these load.
find_program(_info ompi_info)
if(NOT _info)
  message(FATAL_ERROR "ompi_info of Open MPI 4.1 was not found; it is in Debian's openmpi-bin")
endif()
execute_process(COMMAND ${_info} --path all --parsable OUTPUT_VARIABLE _paths COMMAND_ERROR_IS_FATAL ANY)
foreach(_kind bindir pkglibdir pkgdatadir)
  string(REGEX MATCH "path:${_kind}:([^\n]+)" _match "${_paths}")
  set(_${_kind} ${CMAKE_MATCH_1})
endforeach()
if(NOT EXISTS ${_bindir}/orterun)
  message(FATAL_ERROR "${_bindir}/orterun does not exist: a bundle for bare machines can be made with Open MPI 4.1 alone")
endif()

# Without networks, batch systems, files, one-sided transfers and starting on other machines.
file(GLOB _plugins ${_pkglibdir}/mca_*.so)
list(FILTER _plugins EXCLUDE REGEX
  "_(ofi|ucx|openib|usnic|psm2?|slurm|gridengine|tm|flux|jsm|monitoring|cuda|cm)\\.so|mca_(io|fbtl|fcoll|fs|sharedfp|osc|spml|sshmem|scoll|atomic|memheap|mtl|crs|topo|vprotocol)_|mca_plm_rsh")
file(COPY ${_plugins} DESTINATION ${_folder}/${LIBRARIES}/openmpi)
file(GLOB _texts ${_pkgdatadir}/*.txt)
file(COPY ${_texts} DESTINATION ${_folder}/${SHARED}/openmpi)
set(_starters ${_bindir}/orterun ${_bindir}/orted)
file(COPY ${_starters} DESTINATION ${_folder}/${PROGRAMS})
file(GET_RUNTIME_DEPENDENCIES
  EXECUTABLES ${_starters}
  MODULES ${_plugins}
  RESOLVED_DEPENDENCIES_VAR _needed
  UNRESOLVED_DEPENDENCIES_VAR _missing
  PRE_EXCLUDE_REGEXES ${_of_system})
if(_missing)
  message(FATAL_ERROR "libraries that Open MPI loads were not found: ${_missing}")
endif()
file(COPY ${_needed} DESTINATION ${_folder}/${LIBRARIES} FOLLOW_SYMLINK_CHAIN)
file(COPY_FILE ${CMAKE_CURRENT_LIST_DIR}/bundled_mpirun.sh ${_folder}/${PROGRAMS}/mpirun)
