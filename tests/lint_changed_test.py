#!/usr/bin/env python3
"""What tests/lint_changed.py takes for changed, in small repositories: with and without a remote, a history, a merge."""
import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import lint_changed


class LintChangedTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name, "clone")
        self.root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("src/old.cpp")

    def tearDown(self):
        self.folder.cleanup()

    def git(self, *arguments):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(self.root), *identity, *arguments], check=True, capture_output=True)

    def write(self, path, text="\n"):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def commit(self, *paths):
        for path in paths:
            self.write(path)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A change")

    def changed(self):
        return lint_changed.changed_paths(self.root)

    def test_a_single_commit_has_no_base(self):
        self.assertIsNone(lint_changed.base_commit(self.root))
        self.assertEqual(self.changed(), [])

    def test_the_last_commit_where_there_is_no_remote(self):
        self.commit("src/before.cpp")
        self.commit("src/last.cpp", "src/README.md", "tests/last_test.cpp")
        self.assertEqual(self.changed(), ["src/last.cpp"])

    def test_all_of_a_branch_behind_the_remotes_main(self):
        self.git("update-ref", "refs/remotes/origin/main", "HEAD")
        self.commit("src/first.cpp")
        self.commit("src/second.hpp")
        self.assertEqual(self.changed(), ["src/first.cpp", "src/second.hpp"])

    def test_the_last_commit_on_the_remotes_main_itself(self):
        self.commit("src/before.cpp")
        self.commit("src/last.cpp")
        self.git("update-ref", "refs/remotes/origin/main", "HEAD")
        self.assertEqual(self.changed(), ["src/last.cpp"])

    def test_all_that_a_merge_brought(self):
        self.git("checkout", "--quiet", "-b", "branch")
        self.commit("src/first.cpp")
        self.commit("src/second.cpp")
        self.git("checkout", "--quiet", "main")
        self.commit("src/other.cpp")
        self.git("merge", "--quiet", "--no-edit", "branch")
        self.assertEqual(self.changed(), ["src/first.cpp", "src/second.cpp"])

    def test_what_is_not_committed_and_nothing_that_is_gone(self):
        self.commit("src/last.cpp", "src/gone.cpp")
        self.write("src/new.cpp")
        self.write("src/old.cpp", "int changed;\n")
        Path(self.root, "src/gone.cpp").unlink()
        self.assertEqual(self.changed(), ["src/last.cpp", "src/new.cpp", "src/old.cpp"])

    def test_a_header_is_seen_through_its_source_or_through_one_that_includes_it(self):
        self.write("src/a.cpp", '#include "b.hpp"\n')
        self.write("sharding/c.cpp", '#include "sharding/d.hpp"\n')
        units = ["sharding/c.cpp", "src/a.cpp"]
        units_of = [lint_changed.unit_of(self.root, path, units) for path in ("src/a.hpp", "src/b.hpp", "sharding/d.hpp", "src/e.hpp")]
        self.assertEqual(units_of, ["src/a.cpp", "src/a.cpp", "sharding/c.cpp", None])

    def test_units_are_the_repositorys_own_without_libtorch(self):
        build = self.root / "build"
        commands = {"src/a.cpp": "c++ -Isrc", "src/t.cpp": "c++ -isystem /x/torch/include", "build/g.cpp": "c++", "../else.cpp": "c++"}
        self.write("build/compile_commands.json", json.dumps([{"file": str((self.root / f).resolve()), "command": c} for f, c in commands.items()]))
        self.assertEqual(lint_changed.units_free_of_libtorch(self.root.resolve(), build.resolve()), ["src/a.cpp"])


if __name__ == "__main__":
    unittest.main()
