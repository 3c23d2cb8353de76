#!/bin/bash
# The project on other systems, each from nothing, in a chroot that debootstrap makes and that is removed at the end:
#
#   tests/distributions/run.sh [SUITE...]     as root; bookworm and trixie of Debian, noble of Ubuntu where its archive can
#                                             be reached (all three, if none is named)
#
# In each: `make demo`, which installs what is missing; a bundle, tried by another user; the tests of whole jobs and of MPI.
# KANGPT_DISTRIBUTIONS (/var/tmp/kangpt-distributions) is the folder they lie in; what compilers made stays there, in
# ccache-SUITE, for the next time, and the wheels of this user's cache are not fetched again.
# Commands for other shells stand in single quotes.
# shellcheck disable=SC2016
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
folder=${KANGPT_DISTRIBUTIONS:-/var/tmp/kangpt-distributions}
cache=${KANGPT_CACHE:-${HOME:?}/.cache/kangpt}
readonly root folder cache debian=http://deb.debian.org/debian ubuntu=http://archive.ubuntu.com/ubuntu

say() { printf '\n=== %s\n' "$*"; }

# Within a mount namespace of its own, so that nothing stays mounted whatever happens.
in_chroot() {
  unshare --mount --propagation private bash -euo pipefail -c '
    suite=$1 cache=$2 compiled=$3
    shift 3
    mount --bind "$suite" "$suite"  # so that its root is a mount, of which namespaces can be made within
    mount -t proc proc "$suite/proc"
    mount -t sysfs sysfs "$suite/sys"
    mount --rbind /dev "$suite/dev"
    mount -t tmpfs -o size=2g shm "$suite/dev/shm"
    mkdir -p "$suite/root/.cache/ccache" "$suite/root/.cache/kangpt/downloads"
    mount --bind "$compiled" "$suite/root/.cache/ccache"
    mount --bind "$cache/downloads" "$suite/root/.cache/kangpt/downloads"
    exec chroot "$suite" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 bash -euo pipefail -c "cd; $1"
  ' _ "$suite" "$cache" "$folder/ccache-$name" "$@"
}

mirror_of() { case $1 in bookworm | trixie | forky | sid) echo "$debian" ;; *) echo "$ubuntu" ;; esac; }

is_reachable() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=20)' "$1" 2>/dev/null; }

make_chroot() {
  local components=()
  [[ $(mirror_of "$name") == "$debian" ]] || components=("--components=main,universe")
  debootstrap --variant=minbase "${components[@]}" "$name" "$suite" "$(mirror_of "$name")" >"$suite.log" ||
    { tail "$suite.log"; return 74; }
  cp /etc/resolv.conf "$suite/etc/resolv.conf"
  mkdir -p "$suite/root/kangpt"
  git -C "$root" ls-files -z --cached --others --exclude-standard | tar -C "$root" --null -T - -c | tar -C "$suite/root/kangpt" -x
}

try() {
  local name=$1 suite=$folder/$1
  say "$name: a system of its own"
  rm -rf "$suite"
  mkdir -p "$folder/ccache-$name" "$cache/downloads"
  make_chroot
  say "$name: two commands"
  in_chroot 'apt-get -qq update && apt-get -qq install --yes --no-install-recommends ca-certificates git make python3 python3-pip zstd >/dev/null
    cd kangpt && make demo && mpirun --version && gcc --version'
  say "$name: a bundle, another user"
  in_chroot 'cd kangpt && make bundle && tests/distributions/another_user.sh build/release/kangpt-*-cpu.tar.zst'
  say "$name: tests of whole jobs and of MPI"
  in_chroot 'cd kangpt && make with-tests && cmake --build build/release --target whole_jobs
    ctest --test-dir build/release --output-on-failure --no-tests=error --label-regex "end_to_end|mpi" --label-exclude long'
  rm -rf "$suite"
}

(($(id -u) == 0)) || { echo "debootstrap and chroot need root. Try: sudo make test-distributions" >&2; exit 66; }
command -v debootstrap >/dev/null || { echo "debootstrap is missing. Install it with: apt-get install debootstrap" >&2; exit 66; }
mkdir -p "$folder"
suites=("$@")
((${#suites[@]})) || suites=(bookworm trixie noble)
for suite in "${suites[@]}"; do
  if ! is_reachable "$(mirror_of "$suite")/dists/$suite/Release"; then
    say "$suite: left out, $(mirror_of "$suite") cannot be reached"
    continue
  fi
  try "$suite"
done
