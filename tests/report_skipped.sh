#!/bin/bash
# Names and counts the tests that skipped themselves in CTest's last run; GoogleTest counts them as passed.
# Usage: report_skipped.sh BUILD_FOLDER
set -euo pipefail
skipped=$(tr -d '\r' <"$1/Testing/Temporary/LastTest.log" | sed -n 's/^\[  SKIPPED \] \(.*\) ([0-9]* ms)$/\1/p' | sort -u)
[[ -z $skipped ]] || echo "$skipped"
echo "skipped tests: $(grep -c . <<<"$skipped" || true)"
