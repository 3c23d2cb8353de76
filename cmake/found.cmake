# Says which MPI, HDF5 and protobuf were found, and refuses an MPI that is not supported or whose mpirun is another MPI's.
string(REGEX REPLACE "[,\n].*" "" _library "${MPI_C_LIBRARY_VERSION_STRING}")  # "Open MPI v4.1.4, package: ..."
list(GET MPI_C_LIBRARIES 0 _mpi_file)
list(GET HDF5_C_LIBRARIES 0 _hdf5_file)
message(STATUS "MPI: ${_library} (${_mpi_file}), started by ${MPIEXEC_EXECUTABLE}")
message(STATUS "HDF5: ${HDF5_VERSION} (${_hdf5_file})")
message(STATUS "protobuf: ${Protobuf_VERSION} (${Protobuf_LIBRARIES}), protoc ${Protobuf_PROTOC_EXECUTABLE}")

if(NOT CMAKE_CROSSCOMPILING AND _library)
  if(NOT _library MATCHES "^Open MPI v(4\\.1|[5-9])")
    message(FATAL_ERROR "MPI is '${_library}' (${_mpi_file}). Supported are Open MPI 4.1 and 5: the programs rely on "
                        "what mpirun does with signals and exit codes, and no other has passed the tests of whole jobs. Load one "
                        "of them, or name its folder with -DMPI_HOME=folder, in a new build folder")
  endif()
  execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE _launcher ERROR_VARIABLE _launcher)
  string(REGEX MATCH "v([0-9]+\\.[0-9]+)" _ignored "${_library}")
  string(REPLACE "." "\\." _version "${CMAKE_MATCH_1}")
  if(NOT _launcher MATCHES "\\((Open MPI|OpenRTE)\\) ${_version}")
    string(REGEX REPLACE "\n.*" "" _launcher "${_launcher}")
    message(FATAL_ERROR "${MPIEXEC_EXECUTABLE} is '${_launcher}', but the MPI library is '${_library}' (${_mpi_file}): a mixture "
                        "would start jobs of one rank each. Load one MPI alone, or name its folder with -DMPI_HOME=folder, in a "
                        "new build folder")
  endif()
endif()
