#!/usr/bin/env python3
"""Reads every #include and fails on a breach of the project's rules: who may include whom, where each C interface is
called, what must stay free of LibTorch and protobuf, how long a file may be.

    tests/include_rules.py [REPOSITORY]     exit code 0: all rules are kept; 1: each breach is printed, one a line
"""
import re
import sys
from pathlib import Path

# Who may include whom, beside itself: a line a room. A file belongs to the longest of these folders that it lies in; a
# folder that stands in no line but its own may be included by nobody else.
CORE = ["src/model", "src/model/sublayers", "src/model/parameters", "src/operations", "src/io", "src/config", "src/base", "src/base/processor"]
DATA = [f"data_pipeline/{room}" for room in ("tokenizer", "text", "shards", "preprocess", "batches")]
LAUNCHER = ["launcher", "launcher/job", "launcher/agent", "launcher/worker", "launcher/report", "launcher/record"]
LOWER = ["sharding", "sharding/mpi", "sharding/workplace", *DATA, "src/training", *CORE]
ALLOWED = {
    "src/base/processor": [],
    "src/base": ["src/base/processor"],
    "src/message": ["src/base"],
    "src/config": ["src/message", "src/base"],
    "src/io": ["src/message", "src/base"],
    "src/operations": ["src/config", "src/base", "src/base/processor"],
    "src/operations/cpu": ["src/operations", "src/config", "src/base"],
    "src/operations/aten": ["src/operations", "src/config", "src/base"],
    "src/model/parameters": ["src/io", "src/config", "src/base"],
    "src/model/sublayers": ["src/model/parameters", "src/operations", "src/config", "src/base"],
    "src/model": ["src/model/sublayers", "src/model/parameters", "src/operations", "src/config", "src/base"],
    "src/training": CORE,
    "sharding": ["src/training", *CORE],
    "sharding/mpi": ["sharding", "src/base"],
    "sharding/workplace": ["sharding", "src/training", *CORE],
    "data_pipeline/tokenizer": ["src/base"],
    "data_pipeline/text": ["data_pipeline/tokenizer", "src/base"],
    "data_pipeline/shards": ["data_pipeline/text", "src/io", "src/message", "src/base"],
    "data_pipeline/preprocess": ["data_pipeline/shards", "data_pipeline/text", "data_pipeline/tokenizer", "src/base",
                                 "src/base/processor"],
    "data_pipeline/batches": ["data_pipeline/shards", "data_pipeline/tokenizer", "src/training", "src/config", "src/base"],
    "launcher/record": ["src/io", "src/base"],
    "launcher/report": ["launcher/record", "src/config", "src/io", "src/base"],
    "launcher/agent": ["launcher/record", "sharding/mpi", "sharding", "src/training", *CORE],
    "launcher/job": ["launcher/agent", "launcher/report", "launcher/record", *LOWER],
    "launcher/worker": ["launcher/job", *LOWER],
    "launcher": [*LAUNCHER, *LOWER],
    "tools": [*LAUNCHER, *LOWER],
    "tools/chaos": [*LAUNCHER, *LOWER],
    "tools/checkpoint": [*LAUNCHER, *LOWER],
    "tools/evaluation": ["tools", *LAUNCHER, *LOWER],
    "tools/generation": ["tools", *LAUNCHER, *LOWER],
    "tools/preprocess": ["tools", *LAUNCHER, *LOWER],
    "tools/report": [*LAUNCHER, *LOWER],
    "tools/simulation": [*LAUNCHER, *LOWER],
    "tools/stories": [*LAUNCHER, *LOWER],
    "tools/vocabulary": ["tools", *LAUNCHER, *LOWER],
}
# C interfaces: each is called by one .cpp file (tests use them as oracles).
ONE_CALLER = ["mpi.h", "nccl.h", "hdf5.h"]
# Folders whose files reach no LibTorch header, not even through others.
NO_LIBTORCH = re.compile(r"^(src/(base|config|io)|data_pipeline|launcher/(job|agent|record|report)|tools/(preprocess|checkpoint|chaos|report|simulation|stories|vocabulary))/")
LIBTORCH = re.compile(r"^(torch|ATen|c10)/")
PROTOBUF = re.compile(r"^google/protobuf/|\.pb\.h$")
# Files that may reach protobuf: the configuration's own, the .cpp files that read and write manifests or
# TensorBoard's files, and what they share.
MAY_REACH_PROTOBUF = re.compile(r"^src/config/|manifest\w*\.cpp$|^src/message/|/tensorboard_writer\.cpp$|^tests/")
LONGEST_FILE_LINES = 400
LONGEST_MAIN_LINES = 60

SOURCE_FOLDERS = ["src", "sharding", "data_pipeline", "launcher", "tools", "tests"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
MAIN = re.compile(r"^int main\(", re.MULTILINE)


def room_of(path):
    """The longest folder of the table that `path` lies in; where there is none, its own folder. All of tests/ is one."""
    folders = [parent.as_posix() for parent in Path(path).parents]
    if "tests" in folders:
        return "tests"
    return next((folder for folder in folders if folder in ALLOWED), folders[0])


class SourceFile:
    """One file: its room (a key of ALLOWED), its text, what it includes of this project and from outside."""

    def __init__(self, root, path):
        self.path = path.relative_to(root).as_posix()
        self.room = room_of(self.path)
        self.text = path.read_text(encoding="utf-8")
        self.own, self.outside, self.unknown = [], [], []
        for bracket, name in INCLUDE.findall(self.text):
            candidates = [root / name, root / "src" / name]
            found = next((c for c in candidates if c.is_file()), None)
            if found:
                self.own.append(found.relative_to(root).as_posix())
            elif bracket == "<" or PROTOBUF.search(name):
                self.outside.append(name)
            else:
                self.unknown.append(name)


def reached(files, path, pattern, seen):
    """The chain of includes by which `path` reaches an outside header that `pattern` matches, or None."""
    seen.add(path)
    for name in files[path].outside:
        if pattern.search(name):
            return [path, name]
    for included in files[path].own:
        if included in files and included not in seen:
            chain = reached(files, included, pattern, seen)
            if chain:
                return [path] + chain
    return None


def edge_breaches(files):
    for file in files.values():
        if file.room != "tests" and file.room not in ALLOWED:
            yield f"{file.path}: the folder {file.room} has no line in the table of allowed includes"
            continue
        for name in file.unknown:
            yield f'{file.path}: "{name}" is no file relative to the repository or to src/'
        for name in file.own:
            if file.room != "tests" and room_of(name) not in [file.room, *ALLOWED[file.room]]:
                yield f"{file.path}: {file.room} may not include {name}"
            if name.endswith(".cpp"):
                yield f"{file.path}: includes the source file {name}"


def interface_breaches(files):
    for header in ONE_CALLER:
        users = sorted(f.path for f in files.values() if header in f.outside and f.room != "tests")
        yield from (f"{path}: {header} belongs into one .cpp file, not into a header" for path in users if not path.endswith(".cpp"))
        if len(users) > 1:
            yield f"{header} is included by more than one file: {', '.join(users)}"


def library_breaches(files):
    for path, file in files.items():
        torch = reached(files, path, LIBTORCH, set())
        protobuf = reached(files, path, PROTOBUF, set())
        if torch and NO_LIBTORCH.search(path):
            yield f"{path}: {file.room} is free of LibTorch, but: {' -> '.join(torch)}"
        if protobuf and not MAY_REACH_PROTOBUF.search(path):
            yield f"{path}: protobuf stays in the configuration, manifest and TensorBoard files, but: {' -> '.join(protobuf)}"
        if torch and protobuf:
            yield f"{path}: reaches LibTorch ({' -> '.join(torch)}) and protobuf ({' -> '.join(protobuf)})"


def length_breaches(files):
    for file in files.values():
        lines = file.text.count("\n")
        if lines > LONGEST_FILE_LINES:
            yield f"{file.path}: {lines} lines; a file has at most {LONGEST_FILE_LINES}"
        if file.room != "tests" and MAIN.search(file.text) and lines > LONGEST_MAIN_LINES:
            yield f"{file.path}: {lines} lines; a file with a main has at most {LONGEST_MAIN_LINES}"


def breaches(root):
    root = Path(root).resolve()
    paths = [p for folder in SOURCE_FOLDERS for p in sorted((root / folder).rglob("*")) if p.suffix in (".cpp", ".hpp", ".cu")]
    files = {file.path: file for file in (SourceFile(root, path) for path in paths)}
    if not files:
        return [f"no sources in {root}"]
    checks = (edge_breaches, interface_breaches, library_breaches, length_breaches)
    return [breach for check in checks for breach in check(files)]


def main():
    found = breaches(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    print("\n".join(found) or "all include rules are kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
