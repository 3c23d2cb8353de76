#!/bin/bash
# Runs the batch scripts of slurm/ on a private Slurm cluster of two nodes: `make test-slurm`.
#
#   tests/slurm/run.sh [PROGRAMS [PROOF...]]    PROGRAMS: where kangpt_dist and the others are (default
#                                               build/release/bin); PROOF: functions of proofs.sh (default all)
#
# The cluster lives in namespaces of its own: its network is a loopback device that nothing else sees, and whatever it
# started ends with this script. Its files are in a temporary directory that is removed at the end.
# Exit codes: 0 all proofs passed, 1 some failed, 66 something is missing here, 124 out of time.
set -euo pipefail
readonly limit_seconds=900

fail() {
  echo "test-slurm: $*" >&2
  exit 66
}

here=$(dirname "$(readlink -f "$0")")
cd "$here/../.."
programs=$(readlink -f "${1:-build/release/bin}")
[[ $(id -u) == 0 ]] || fail "slurmctld and slurmd have to be started by root. Try: sudo make test-slurm"
for command in slurmctld slurmd munged sbatch mpirun ip unshare "$programs/kangpt_dist"; do
  command -v "$command" >/dev/null || fail "$command is missing. make test-slurm installs and builds what is needed"
done
readonly namespaces=(unshare --net --pid --mount --uts --fork --kill-child --mount-proc)
"${namespaces[@]}" true ||
  fail "this root may not make namespaces (see above). In a container, start it with --privileged"

work=$(mktemp -d "${TMPDIR:-/tmp}/kangpt-slurm.XXXXXX")
trap 'rm -rf "$work" 2>/dev/null || { sleep 1 && rm -rf "$work"; }' EXIT
# Process 1 inside is a shell, since somebody has to reap the orphans; Slurm waits for that.
# shellcheck disable=SC2016
"${namespaces[@]}" bash -c 'timeout --foreground "$@"; exit $?' init "$limit_seconds" "$here/proofs.sh" "$work" "$programs" "${@:2}" &
inside=$!
trap 'kill -KILL "$inside"' INT TERM HUP  # takes all processes inside along
wait "$inside" && code=0 || code=$?
wait "$inside" 2>/dev/null || true  # the first wait ends early after a signal
((code == 124)) && echo "test-slurm: not done after $limit_seconds s"
exit "$code"
