#!/bin/sh
# keep_output.sh FILE COMMAND...: runs the command, its output goes to FILE, and is shown where the command fails.
file=$1
shift
"$@" >"$file" 2>&1 && exit
code=$?
cat "$file" >&2
exit "$code"
