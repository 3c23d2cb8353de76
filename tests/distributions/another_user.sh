#!/bin/bash
# The demonstration from a bundle, as a user without a home, in a folder that nobody can write to, and without a network:
#
#   tests/distributions/another_user.sh BUNDLE.tar.zst [RANKS]      as root; exit code 0: it trained and wrote a story
#
# Unpacks it into a folder of /opt, which is mounted read-only in a namespace of its own and removed at the end.
# The commands of the other user stand in single quotes.
# shellcheck disable=SC2016
set -euo pipefail
bundle=$(readlink -f "${1:?the bundle}")
ranks=${2:-2}
readonly nobody=65534

# --- Within the namespaces, as root: what `mount` and `unshare` made goes with them. ---
if [[ ${KANGPT_WITHIN_NAMESPACES:-} ]]; then
  mount --bind "$3" "$3"
  mount -o remount,bind,ro "$3"
  python3 -c 'import fcntl, socket, struct  # the loopback alone, which Open MPI needs: SIOCSIFFLAGS, IFF_UP
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 1))'
  if touch "$3/written" 2>/dev/null; then echo "another_user: $3 is not read-only"; exit 1; fi
  if [[ -s /proc/net/route ]] && (($(wc -l </proc/net/route) > 1)); then echo "another_user: there is a route"; exit 1; fi
  exec setpriv --reuid "$nobody" --regid "$nobody" --clear-groups env -i PATH="$3/bin:/usr/bin:/bin" TMPDIR="$4" \
    OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe bash -euo pipefail -c '
      cd "$TMPDIR"
      began=$(date +%s%N)
      kangpt_generate --version >version.txt
      echo "another_user: LibTorch loaded and a version printed in $((($(date +%s%N) - began) / 1000000)) ms"
      kangpt_stories --bytes 400000 --output stories.txt
      kangpt_preprocess --input stories.txt --output shards
      # Without a HOME, if only an empty one, the mpirun of Open MPI 5 starts nothing.
      HOME="" mpirun -np "$1" kangpt_dist --config configs/tiny_cpu.textproto --set data.directory=shards \
        --set run.directory=run --set train.steps=20
      kangpt_generate --checkpoint run --prompt "Once upon a time" --tokens 20 --seed 1' _ "$2"
fi

(($(id -u) == 0)) || { echo "another_user: mounting and changing the user need root. Try: sudo $0 $*" >&2; exit 66; }
mkdir -p /opt
opt=$(mktemp -d /opt/kangpt-try.XXXXXX)
work=$(mktemp -d)
trap 'rm -rf "$opt" "$work"' EXIT
chmod 755 "$opt"
chown "$nobody:$nobody" "$work"
tar -C "$opt" --strip-components=1 --zstd -xf "$bundle"
KANGPT_WITHIN_NAMESPACES=1 unshare --mount --net --propagation private "$0" "$bundle" "$ranks" "$opt" "$work"
