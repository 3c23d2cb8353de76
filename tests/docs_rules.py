#!/usr/bin/env python3
"""Reads the project's pages and fails where one names a file, folder or function of the repository that does not exist.

    tests/docs_rules.py [REPOSITORY]     exit code 0: all names exist; 1: each that does not is printed, one a line

Names are looked for in `backticks`, in blocks of commands, in diagrams and in links. A page may name a file by the end of
its path (`kan.hpp`, `preprocess/progress.hpp`), several at once (`cmake/packages*.txt`, `agent.{hpp,cpp}`), and a function
as `Trainer::step()` or `step()`. What a run or a build makes is no file of the repository.
"""
import fnmatch
import os
import re
import sys
from pathlib import Path

PAGES = ["*.md", "docs/*.md", "slurm/*.md", "src/io/*.md", "data_pipeline/shards/*.md", "configs/*.md"]
NOT_OURS = {".git", "build", "data", "runs", "__pycache__"}
# By these endings alone a name is one of a source file; `metrics.jsonl` or `stories.txt` may be anybody's.
SOURCES = (".cpp", ".hpp", ".py", ".sh", ".proto", ".sbatch", ".cmake", ".in", ".md")
HOLDS_CODE = (".cpp", ".hpp", ".py", ".proto", ".in", ".cmake", ".txt", ".sh")

FENCE = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
BACKTICKS = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
PATH = re.compile(r"(?<![\w./$~<-])[\w.*{},-]+(?:/[\w.*{},-]+)*/?")
FUNCTION = re.compile(r"(?<![\w:.])((?:\w+::)*\w+)\(\)")


class Repository:
    """The paths below a folder, and what its sources are written of."""

    def __init__(self, root):
        self.root = Path(root).resolve()
        self.paths = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in NOT_OURS]
            self.paths += [Path(folder, name).relative_to(self.root).as_posix() for name in folders + files]
        self.top = {path for path in self.paths if "/" not in path}
        self.sources = [self.text(path) for path in self.paths if path.endswith(HOLDS_CODE) and (self.root / path).is_file()]

    def text(self, path):
        return (self.root / path).read_text(encoding="utf-8")

    def pages(self):
        return sorted({path.relative_to(self.root).as_posix() for pattern in PAGES for path in self.root.glob(pattern)})

    def has(self, name):
        """Whether `name`, which may hold *, is a path or the end of one."""
        return any(fnmatch.fnmatchcase(path, name) or fnmatch.fnmatchcase(path, "*/" + name) for path in self.paths)

    def has_function(self, name):
        """Whether some source calls or defines its last part, and names its class."""
        parts = [re.compile(rf"\b{part}\b") for part in name.split("::")]
        return any(re.search(parts[-1].pattern + r"\s*\(", text) and all(part.search(text) for part in parts) for text in self.sources)


def expand(name):
    """"a.{hpp,cpp}" -> "a.hpp", "a.cpp"."""
    braces = re.search(r"\{([^{}]*)\}", name)
    if not braces:
        return [name]
    return [full for choice in braces[1].split(",") for full in expand(name[: braces.start()] + choice + name[braces.end() :])]


def names_in(text):
    """What is in backticks, and the lines of blocks; both without web addresses."""
    blocks = FENCE.findall(text)
    pieces = BACKTICKS.findall(FENCE.sub("", text)) + [line for block in blocks for line in block.split("\n")]
    return [re.sub(r"\w+://\S+", "", piece) for piece in pieces]


def is_ours(name, repository):
    first, _, rest = name.partition("/")
    return (first in repository.top and (rest != "" or name.endswith("/"))) or name.endswith(SOURCES)


def missing_in(page, repository):
    text = repository.text(page)
    for piece in names_in(text):
        for found in PATH.findall(piece):
            for name in (full.rstrip("/.,") for full in expand(found) if is_ours(full.rstrip(".,"), repository)):
                if not repository.has(name):
                    yield f"{page}: there is no {name}"
        for name in FUNCTION.findall(piece):
            if not repository.has_function(name):
                yield f"{page}: there is no function {name}()"
    for target in LINK.findall(text):
        if "://" not in target and not (repository.root / page).parent.joinpath(target).exists():
            yield f"{page}: the link to {target} leads nowhere"


def breaches(root):
    repository = Repository(root)
    pages = repository.pages()
    if not pages:
        return [f"no pages in {root}"]
    return list(dict.fromkeys(breach for page in pages for breach in missing_in(page, repository)))


def main():
    found = breaches(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    print("\n".join(found) or "the pages name what there is")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
