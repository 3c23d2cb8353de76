#!/usr/bin/env python3
"""tools/python/to_mlflow.py against a stand-in that notes its calls and, where it is installed, MLflow itself."""
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "tools/python/to_mlflow.py"
STAND_IN = '''
import collections, contextlib, json, os, types
Metric = collections.namedtuple("Metric", "key value timestamp step")
Param = collections.namedtuple("Param", "key value")
def note(*call):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(json.dumps(call) + "\\n")
def set_experiment(name):
    note("experiment", name)
@contextlib.contextmanager
def start_run(run_name, tags):
    note("start", run_name, tags)
    yield types.SimpleNamespace(info=types.SimpleNamespace(run_id="id"))
    note("end")
class MlflowClient:
    def log_batch(self, run_id, metrics=(), params=()):
        assert run_id == "id"
        note("batch", metrics, params)
'''


class ToMlflow(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.run_folder = self.folder / "demo"
        self.run_folder.mkdir()
        lines = [{"step": step, "loss": 9 / step, "time": 1000.5 + step, "profile": {"forward": 0.5}} for step in range(1, 502)]
        lines += [{"step": 501, "validation_loss": 2.5, "perplexity": None}]
        (self.run_folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (self.run_folder / "config.textproto").write_text(
            'run {\n  directory: "runs/a {b}"\n}\nmodel {\n  dilation: 1\n  dilation: 2\n}\n'
            'data {\n  source { directory: "x" weight: 2 }\n}\n')
        (self.run_folder / "summary.json").write_text('{"digest": "beef", "steps": 501}')

    def call(self, *arguments, **environment):
        return subprocess.run([sys.executable, "-B", SCRIPT, *map(str, arguments)], env={**os.environ, **environment},
                              capture_output=True, text=True, check=False, timeout=100)

    def test_all_of_a_run_is_handed_over_in_portions_that_a_server_takes(self):
        (self.folder / "mlflow").mkdir()
        (self.folder / "mlflow/__init__.py").write_text(STAND_IN)
        (self.folder / "mlflow/entities.py").write_text("from mlflow import Metric, Param")
        result = self.call(self.run_folder, "tries", PYTHONPATH=str(self.folder), CALLS=str(self.folder / "calls"))
        self.assertEqual(result.returncode, 0, result.stderr)
        calls = [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]
        self.assertEqual(calls[:2], [["experiment", "tries"], ["start", "demo", {"digest": "beef", "steps": "501"}]])
        self.assertEqual(calls[-1], ["end"])
        metrics = [metric for call in calls[2:-1] for metric in call[1]]
        self.assertTrue(all(len(call[1]) <= 1000 for call in calls[2:-1]))
        self.assertEqual(len(metrics), 501 * 2 + 1, "what is no number is left out")
        self.assertEqual(metrics[2:4], [["loss", 4.5, 1002500, 2], ["seconds/forward", 0.5, 1002500, 2]])
        self.assertEqual(metrics[-1], ["validation_loss", 2.5, 1501500, 501])
        self.assertEqual(dict(calls[-2][2]), {"run.directory": '"runs/a {b}"', "model.dilation": "1, 2",
                                              "data.source": '{ directory: "x" weight: 2 }'})

    @unittest.skipUnless(importlib.util.find_spec("mlflow"), "MLflow is not installed here")
    def test_mlflow_has_it_then(self):
        store = self.folder / "store"
        allowed = {"MLFLOW_TRACKING_URI": store.as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
        result = self.call(self.run_folder, **allowed)
        self.assertEqual(result.returncode, 0, result.stderr)
        names = {path.relative_to(path.parents[1]).as_posix() for path in store.rglob("*") if path.is_file()}
        self.assertLessEqual({"metrics/loss", "metrics/validation_loss", "params/model.dilation", "tags/digest"}, names)
        losses = next(store.rglob("metrics/loss")).read_text().splitlines()
        self.assertEqual(losses[1].split(), ["1002500", "4.5", "2"])

    def test_what_is_no_run_is_refused(self):
        self.assertEqual(self.call().returncode, 64)
        result = self.call(self.folder)
        self.assertEqual(result.returncode, 66)
        self.assertIn("has no metrics.jsonl", result.stderr)


if __name__ == "__main__":
    unittest.main()
