#!/bin/bash
# A bundle of `make gpu-bundle` on a bare machine, Debian as debootstrap leaves it: no MPI, no HDF5, no spdlog, no ssh. Two
# ranks train on its CPU and a story is written:
#
#   tests/distributions/bare_machine.sh BUNDLE.tar.zst LIBTORCH [SUITE]     as root; exit code 0: all of it worked
#
# LIBTORCH is a folder with torch/ and nvidia/, as ~/.cache/kangpt/torch-2.11.0; SUITE (bookworm) is to be the one that the
# bundle was made on. The chroot is removed at the end.
set -euo pipefail
bundle=$(readlink -f "${1:?the bundle}")
libtorch=$(readlink -f "${2:?the folder of LibTorch}")
suite=${3:-bookworm}
(($(id -u) == 0)) || { echo "debootstrap and chroot need root. Try: sudo $0 $*" >&2; exit 66; }
command -v debootstrap >/dev/null || { echo "debootstrap is missing. Install it with: apt-get install debootstrap" >&2; exit 66; }

machine=$(mktemp -d)
mounted=()
remove_machine() {
  local folder
  for folder in "${mounted[@]}"; do umount "$folder"; done
  rm -rf --one-file-system "$machine"
}
trap remove_machine EXIT
debootstrap --variant=minbase "$suite" "$machine" http://deb.debian.org/debian >"$machine.log" || { tail "$machine.log"; exit 74; }
rm -f "$machine.log"
mkdir -p "$machine/opt/kangpt" "$machine/root/work"
tar -C "$machine/opt/kangpt" --strip-components=1 --zstd -xf "$bundle"
for folder in torch nvidia; do
  mkdir -p "$machine/opt/kangpt/lib/kangpt/$folder"
  mount --bind -o ro "$libtorch/$folder" "$machine/opt/kangpt/lib/kangpt/$folder"
  mounted+=("$machine/opt/kangpt/lib/kangpt/$folder")
done
mount -t proc proc "$machine/proc"
mount -t sysfs sysfs "$machine/sys"
mount --bind /dev "$machine/dev"
mounted+=("$machine/proc" "$machine/sys" "$machine/dev")

# The commands of the bare machine stand in single quotes.
# shellcheck disable=SC2016
chroot "$machine" env -i PATH=/opt/kangpt/bin:/usr/bin:/bin HOME=/root \
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 bash -euo pipefail -c '
    cd /root/work
    kangpt_stories --bytes 400000 --output stories.txt
    kangpt_preprocess --input stories.txt --output shards
    mpirun -np 2 kangpt_dist --config configs/tiny_cpu.textproto --set data.directory=shards --set run.directory=run \
      --set train.steps=5
    kangpt_generate --checkpoint run --prompt "Once upon a time" --tokens 5 --seed 1'
echo "bare_machine: trained on a bare $suite with $(basename "$bundle"), $(($(stat -c %s "$bundle") / 1048576)) MiB"
