#!/bin/bash
# What the Dockerfile and kangpt.def do to build: in a bare Debian or Ubuntu, as root, from the repository that this file
# lies in. Puts a bundle into the folder named (/opt/kangpt), which runs where Open MPI is installed.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
prefix=${1:-/opt/kangpt}

export DEBIAN_FRONTEND=noninteractive KANGPT_CACHE=${KANGPT_CACHE:-/var/cache/kangpt}
apt-get -qq update
apt-get -qq install --yes --no-install-recommends ca-certificates make python3 python3-pip zstd >/dev/null
make bundle
mkdir -p "$prefix"
tar -C "$prefix" --strip-components=1 -xf build/release/kangpt-*-cpu.tar.zst
