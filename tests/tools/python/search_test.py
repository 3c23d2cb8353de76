#!/usr/bin/env python3
"""tools/python/search.py with a program in place of training whose losses are known.

    search_test.py -v AtRandom | WithOptuna
"""
import importlib.util
import json
import math
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SEARCH = Path(__file__).resolve().parents[3] / "tools/python/search.py"

# The loss is lowest at a learning rate of 1e-2 and four layers. Counts its calls in RUN/calls.
TRAINING = """
import json, math, pathlib, sys
settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
run = pathlib.Path(settings["run.directory"])
run.mkdir(parents=True, exist_ok=True)
with open(run / "calls", "a") as calls:
    calls.write("x")
layers, rate = int(settings["model.layers"]), float(settings["optimizer.learning_rate"])
if layers == 8:
    sys.exit(78)
if (pathlib.Path(sys.argv[1]) / "stop").exists():
    sys.exit(75)
loss = 2 + abs(math.log10(rate / 1e-2)) + abs(layers - 4)
(run / "summary.json").write_text(json.dumps({"best_validation_loss": loss, "settings": settings}))
"""


class Search(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        (self.path / "train.py").write_text(TRAINING)

    def tearDown(self):
        self.folder.cleanup()

    def search(self, *flags, code=0, layers="2,4,8"):
        command = [sys.executable, "-B", SEARCH, "--runs", self.path / "runs", "--choose", "optimizer.learning_rate=1e-4..1",
                   "--choose", f"model.layers={layers}", *flags, "--", sys.executable, self.path / "train.py", self.path]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return re.findall(r"^(\d+\.\d{4})  .*/(\d{3})  (.*)$", result.stdout, re.MULTILINE)

    def calls(self):
        return sum(len(file.read_text()) for file in self.path.glob("runs/*/calls"))


class AtRandom(Search):
    def expect_all_counted(self, found, trials):
        summaries = {path.parent.name: json.loads(path.read_text()) for path in self.path.glob("runs/*/summary.json")}
        self.assertEqual(self.calls(), trials)
        self.assertEqual({number for _, number, _ in found}, set(summaries), "those with 8 layers failed")
        self.assertEqual([loss for loss, _, _ in found], sorted(loss for loss, _, _ in found), "the best is the first")
        for loss, number, settings in found:
            self.assertEqual(float(loss), round(summaries[number]["best_validation_loss"], 4))
            for setting in settings.split():
                field, value = setting.split("=")
                self.assertEqual(summaries[number]["settings"][field], value)
            rate = float(summaries[number]["settings"]["optimizer.learning_rate"])
            self.assertTrue(1e-4 <= rate <= 1, rate)
        rates = [math.log10(float(s["settings"]["optimizer.learning_rate"])) for s in summaries.values()]
        self.assertTrue(min(rates) < -2 < max(rates), "spread over the decades")

    def test_random_choices_are_all_counted(self):
        self.expect_all_counted(self.search("--trials", "30"), 30)

    def test_the_same_command_goes_on(self):
        first = self.search("--trials", "5", layers="2,4")
        found = self.search("--trials", "8", layers="2,4")
        self.assertTrue(set(first) < set(found))
        self.assertEqual(self.calls(), 8)

    def test_a_stopped_run_stops_the_search_and_is_resumed(self):
        (self.path / "stop").touch()
        self.search("--trials", "2", code=75, layers="4")
        (self.path / "stop").unlink()
        self.assertEqual(len(self.search("--trials", "2", layers="4")), 2)
        self.assertEqual(self.calls(), 3)

    def test_what_can_not_work_is_said(self):
        self.search("--trials", "2", code=65, layers="8")
        self.search("--choose", "a.b=3..1", code=64)
        self.search("--trials", "many", code=64)


@unittest.skipUnless(importlib.util.find_spec("optuna"), "Optuna is not installed here")
class WithOptuna(Search):
    def test_it_comes_near_the_best_and_goes_on(self):
        first = self.search("--optuna", "--trials", "12")
        found = self.search("--optuna", "--trials", "40")
        self.assertTrue(set(first) <= set(found), "the same choices again")
        self.assertEqual(len(list(self.path.glob("runs/*/calls"))), 40, "a run for each trial")
        self.assertLess(float(found[0][0]), 2.2)


if __name__ == "__main__":
    unittest.main()
