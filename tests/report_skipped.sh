#!/bin/bash
# Names and counts what was skipped in CTest's last run: tests that skipped themselves, which GoogleTest counts as passed,
# and whole programs that CTest skipped (SKIP_REGULAR_EXPRESSION).
# Usage: report_skipped.sh BUILD_FOLDER
set -euo pipefail
tr -d '\r' <"$1/Testing/Temporary/LastTest.log" | awk '
  function end_program() { if (is_skipped && !has_named) names[program]; is_skipped = has_named = 0 }
  /^[0-9]+\/[0-9]+ Test: / { end_program(); program = $3 }
  match($0, /\[  SKIPPED \] .* \([0-9]+ ms\)$/) {
    name = substr($0, RSTART + 13); sub(/ \([0-9]+ ms\)$/, "", name); names[name]; has_named = 1
  }
  /^Skip regular expression found in output/ { is_skipped = 1 }
  END {
    end_program()
    for (name in names) { print name | "sort"; ++count }
    close("sort")
    print "skipped tests: " count + 0
  }'
