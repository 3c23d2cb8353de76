#!/usr/bin/env python3
"""Plants mistakes in the pages of a small tree: tests/docs_rules.py must find each, and nothing else."""
import tempfile
import unittest
from pathlib import Path

import docs_rules

CLEAN = {
    "src/model/kan.hpp": "class Kan {\n  void forward();\n};\n",
    "src/model/mlp.cpp": "",
    "launcher/agent/agent.cpp": "int Agent::decide() { return 0; }\n",
    "cmake/packages-tests.txt": "libgtest-dev\n",
    "docs/picture.svg": "<svg/>",
    "slurm/README.md": "`slurm/train.sbatch` writes `runs/NAME/metrics.jsonl`.\n",
    "slurm/train.sbatch": "",
    "docs/step.md": "[Back](../README.md), ![a picture](picture.svg), `Kan::forward()`\n",
    "README.md": "Read `src/model/kan.hpp`, `mlp.cpp`, `model/mlp.cpp`, `cmake/packages*.txt`, `src/model/`, [a page](docs/step.md).\n"
    "```\nbuild/release/bin/kangpt_stories --output data/stories.txt    # see docs/step.md\n```\n"
    "Neither `http://example.org/src/nothing.hpp` nor `/dev/shm` nor `a.json` is ours; `launcher/agent/agent.{cpp,cpp}` is.\n",
}


class DocsRulesTest(unittest.TestCase):
    def breaches_with(self, page, planted):
        with tempfile.TemporaryDirectory() as root:
            for path, text in CLEAN.items():
                file = Path(root, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text + (planted if path == page else ""), encoding="utf-8")
            return docs_rules.breaches(root)

    def assert_found(self, page, planted, message):
        found = self.breaches_with(page, planted)
        self.assertEqual(len(found), 1, found)
        self.assertEqual(found[0], f"{page}: {message}")

    def test_true_pages_pass(self):
        self.assertEqual(self.breaches_with("README.md", ""), [])

    def test_files_and_folders_that_moved_away(self):
        self.assert_found("README.md", "`src/kan.hpp`\n", "there is no src/kan.hpp")
        self.assert_found("docs/step.md", "`src/modell/`\n", "there is no src/modell")
        self.assert_found("slurm/README.md", "see `launcher/agent.cpp`\n", "there is no launcher/agent.cpp")
        self.assert_found("README.md", "`cnn.hpp`\n", "there is no cnn.hpp")
        self.assert_found("README.md", "`model/cnn.hpp`, \n", "there is no model/cnn.hpp")

    def test_one_of_several_at_once(self):
        self.assert_found("README.md", "`launcher/agent/agent.{cpp,hpp}`\n", "there is no launcher/agent/agent.hpp")
        self.assert_found("README.md", "`cmake/wheels*.txt`\n", "there is no cmake/wheels*.txt")

    def test_commands_and_diagrams(self):
        self.assert_found("README.md", "```\npython3 tests/plot.py\n```\n", "there is no tests/plot.py")
        self.assert_found("docs/step.md", "```mermaid\nflowchart\n  a[src/model/cnn.cpp] --> b\n```\n", "there is no src/model/cnn.cpp")

    def test_links(self):
        self.assert_found("README.md", "[steps](docs/steps.md)\n", "the link to docs/steps.md leads nowhere")
        self.assert_found("docs/step.md", "![x](other.svg)\n", "the link to other.svg leads nowhere")

    def test_functions(self):
        self.assert_found("docs/step.md", "`Kan::backward()`\n", "there is no function Kan::backward()")
        self.assert_found("docs/step.md", "`Agent::decide()` calls `give_up()`\n", "there is no function give_up()")

    def test_a_folder_without_pages_is_a_mistake(self):
        with tempfile.TemporaryDirectory() as root:
            self.assertEqual(len(docs_rules.breaches(root)), 1)


if __name__ == "__main__":
    unittest.main()
