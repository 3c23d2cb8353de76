#!/bin/sh
# mpirun of a bundle for bare machines: Open MPI as it lies here, on this machine alone.
bin=$(dirname "$(readlink -f "$0")")
lib=$bin/../lib/kangpt
share=$bin/../share/kangpt/openmpi
export OPAL_PREFIX="$bin/.." OPAL_BINDIR="$bin" OPAL_LIBDIR="$lib" OPAL_PKGLIBDIR="$lib/openmpi"
export OPAL_PKGDATADIR="$share" OPAL_SYSCONFDIR="$share"
export OMPI_MCA_plm="${OMPI_MCA_plm:-isolated}" PMIX_MCA_pcompress_base_silence_warning=1
export LD_LIBRARY_PATH="$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$bin/orterun" "$@"
