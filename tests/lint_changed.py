#!/usr/bin/env python3
"""clang-tidy on what has changed, for CI: the programs' files that are free of LibTorch, for as long as there is time.

    tests/lint_changed.py BUILD [SECONDS]     BUILD holds compile_commands.json; SECONDS: begin no file after them (120)

Changed is what differs from the place where this branch left origin's main branch; on that branch itself, or without a
remote, from the commit before (of a merge: all that it brought); and what is not committed. A changed header stands for
the .cpp file of its name, or for one that includes it. Exit code 0: nothing found; 1: findings, which are printed.
"""
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CLANG_TIDY = "clang-tidy-16"
FOLDERS = ("src/", "sharding/", "data_pipeline/", "launcher/", "tools/")
PROCESSES = 2
# A file of LibTorch takes a minute or more, since clang-tidy looks at all of its headers.
LIBTORCH = re.compile(r"-isystem \S*/torch/include|-I\S*/torch/include")


def git(root, *arguments):
    """What git prints, line by line; None where it fails."""
    result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return result.stdout.splitlines() if result.returncode == 0 else None


def base_commit(root):
    """What to compare with; None in a clone of a single commit."""
    head = git(root, "rev-parse", "HEAD")
    for branch in ("origin/HEAD", "origin/main", "origin/master"):
        base = git(root, "merge-base", "HEAD", branch)
        if base and base != head:
            return base[0]
    before = git(root, "rev-parse", "--verify", "--quiet", "HEAD^1")
    return before[0] if before else None


def changed_paths(root):
    """The programs' changed sources, sorted; committed or not."""
    base = base_commit(root)
    committed = git(root, "diff", "--name-only", "--diff-filter=d", base) if base else []
    new = git(root, "ls-files", "--others", "--exclude-standard")
    paths = {*(committed or []), *(new or [])}
    return sorted(path for path in paths if path.startswith(FOLDERS) and path.endswith((".cpp", ".hpp")))


def unit_of(root, path, units):
    """The file among `units` by which clang-tidy sees `path`; None where there is none."""
    source = Path(path).with_suffix(".cpp").as_posix()
    if source in units:
        return source
    name = path.removeprefix("src/")
    return next((unit for unit in units if f'#include "{name}"' in (root / unit).read_text(encoding="utf-8")), None)


def units_free_of_libtorch(root, build):
    commands = json.loads(Path(build, "compile_commands.json").read_text(encoding="utf-8"))
    files = [Path(c["file"]) for c in commands if c["file"].endswith(".cpp") and not LIBTORCH.search(c["command"])]
    return sorted(file.relative_to(root).as_posix() for file in files if file.is_relative_to(root) and not file.is_relative_to(build))


def lint(root, build, unit):
    command = [CLANG_TIDY, "-p", str(build), "-quiet", "-extra-arg=-Wno-unknown-warning-option", str(root / unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main():
    root = Path(__file__).resolve().parent.parent
    build = Path(sys.argv[1]).resolve()
    end = time.monotonic() + (float(sys.argv[2]) if len(sys.argv) > 2 else 120)
    units = units_free_of_libtorch(root, build)
    wanted = sorted({unit for path in changed_paths(root) if (unit := unit_of(root, path, units))})

    def in_time(unit):
        return lint(root, build, unit) if time.monotonic() < end else None

    with ThreadPoolExecutor(PROCESSES) as pool:
        results = list(pool.map(in_time, wanted))
    for result in results:
        if result and result.returncode != 0:
            print(result.stdout or result.stderr)
    done = [result for result in results if result]
    print(f"clang-tidy looked at {len(done)} of {len(wanted)} changed files that are free of LibTorch; `make lint` looks at all")
    return 1 if any(result.returncode != 0 for result in done) else 0


if __name__ == "__main__":
    sys.exit(main())
