#!/bin/bash
# Draws the README's pictures of what a run looks like: `make pictures`.
#
#   docs/pictures/report.sh PROGRAMS      PROGRAMS: where kangpt_dist and the others are
#
# Trains as `make demo` does, but for a crash and some samples, in runs/pictures (5 minutes on two cores), and takes
# the pictures of that run. Exit code 66: Chromium is missing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
readonly programs=$1 data=data/demo run=runs/pictures

browser=${CHROMIUM:-$(command -v chromium-headless-shell chromium google-chrome | head -n 1 || true)}
[[ -n $browser ]] || {
  echo "pictures: no Chromium here. Debian: apt-get install chromium-headless-shell; elsewhere set CHROMIUM" >&2
  exit 66
}

prepare_data() {
  mkdir -p "$data"
  "$programs/kangpt_stories" --bytes 4000000 --seed 1 --output "$data/stories.txt"
  "$programs/kangpt_stories" --bytes 100000 --seed 2 --output "$data/validation.txt"
  "$programs/kangpt_preprocess" --input "$data/stories.txt" --validation "$data/validation.txt" --train-vocabulary 900 \
    --output "$data/shards"
}

train() {
  mpirun -np 2 "$programs/kangpt_dist" --config configs/tiny_cpu.textproto --set data.directory="$data/shards" \
    --set run.directory="$run" --set log.profile=true --set log.sample_interval_steps=100 \
    --set log.validation_interval_steps=50 --set fault.inject=segv@rank=1,step=120,phase=reduce
}

# screenshot HTML PNG WIDTH,HEIGHT
screenshot() {
  "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=0.9 \
    --window-size="$3" --screenshot="$2" "file://$(readlink -f "$1")" 2>/dev/null
}

[[ -d $data/shards ]] || prepare_data
train
"$programs/kangpt_report" "$run" >/dev/null  # a finished run is not trained again, nor reported
screenshot "$run/report.html" docs/pictures/report.png 1000,1040
