#!/usr/bin/env python3
"""kangpt_report against run directories whose content is known: whole, hostile, damaged, long, several at once.

    report_page_test.py KANGPT_REPORT
"""
import json
import re
import resource
import sys
import tempfile
import unittest
from pathlib import Path

from report_runs import Page, call, end_event, failure_event, start_event, step_line, validation_line, write_run

PROGRAM = sys.argv.pop(1)


class ReportTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def report(self, *runs, code=0):
        output = self.path / "page.html"
        self.result = call(PROGRAM, *runs, "--output", output)
        self.assertEqual(self.result.returncode, code, self.result.stderr)
        return Page(output) if code == 0 else None


class OneRun(ReportTest):
    def test_what_happened_is_there(self):
        page = self.report(write_run(self.path / "alpha", samples=[(20, b"Once upon a time a cat.\n")]))
        for text in ("alpha", "done", "40 of 40", "5.0000 from 9.8750", "Best validation loss 4.5000 at step 30", "ab" * 32,
                     "6,586,624", "node-a", "in reduce: the worker died of SIGSEGV", "1 step computed again, 7.5 s to recover",
                     "Once upon a time a cat.", "train.steps 40 0", "forward, backward, update"):
            self.assertIn(text, page.text)
        self.assertEqual(self.result.stderr, "")

    def test_it_lies_in_the_run_directory(self):
        run = write_run(self.path / "alpha")
        result = call(PROGRAM, run)
        self.assertEqual(result.stdout, f"{run}/report.html\n")
        Page(run / "report.html")

    def test_marks_are_where_it_happened(self):
        page = self.report(write_run(self.path / "alpha"))
        loss = page.drawings[[d.get("class") for d in page.drawings].index("wide")]
        titles = [e.text for e in loss.iter() if e.tag.endswith("title")]
        self.assertIn("checkpoint of step 40", titles)
        self.assertIn("alpha: best validation loss 4.5000, step 30", titles)
        self.assertTrue(any(t.startswith("step 21: rank 1 in reduce") for t in titles), titles)
        line = next(e for e in loss.iter() if e.get("class") == "line c0 d0").get("d")
        self.assertEqual(line.count("M"), 2, "broken once, at the restart")

    def test_the_link_has_every_value(self):
        run = write_run(self.path / "alpha")
        header, *rows = [row.split(",") for row in self.report(run).csv()]
        values = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(len(rows), len(values))
        for row, line in zip(rows, values):
            for name, text in zip(header, row):
                self.assertEqual(float(text) if text else None, line.get(name), name)

    def test_profile_is_summed_by_phase(self):
        metrics = [step_line(s, 3.0, profile={"forward": 1.5, "reduce": 0.5}) for s in range(1, 11)]
        page = self.report(write_run(self.path / "alpha", metrics=metrics))
        self.assertIn("forward 15.0 s 75.0 % reduce 5.0 s 25.0 %", page.text)

    def test_ends_are_told_apart(self):
        for code, word in ((75, "stopped"), (76, "gave up"), (93, "no progress"), (74, "failed"), (None, "no end noted")):
            events = [start_event()] + ([end_event(40, code)] if code is not None else [])
            page = self.report(write_run(self.path / f"run{code}", events=events))
            self.assertIn(word, page.text)

    def test_what_an_earlier_run_here_did_is_not_on_the_curves(self):
        first = [start_event(), failure_event(900), end_event(1000, 76)]
        for name, fresh in (("anew", {"new_run": True}), ("purged", {"set_aside": ["metrics-before-1.jsonl"]})):
            page = self.report(write_run(self.path / name, events=[*first, start_event(**fresh), end_event(40)]))
            self.assertNotIn("step 900: ", page.source)
            self.assertEqual("SIGSEGV" in page.text, name == "purged", "events.jsonl goes on, and so does the list")

    def test_a_later_start_goes_on(self):
        events = [start_event(), end_event(20, 75), start_event(20, host="node-b", world_size=4, changed_settings=[
            {"field": "optimizer.learning_rate", "before": "0.01", "now": "0.02"}]), end_event(40)]
        page = self.report(write_run(self.path / "alpha", events=events))
        self.assertEqual(len(page.classes("resume")), 2, "in the picture and in the legend")
        self.assertEqual(len(page.classes("run")), 2, "a bar for each start")
        for text in ("node-a, node-b", "4 x 1", "optimizer.learning_rate changes from 0.01 to 0.02"):
            self.assertIn(text, page.text)


class HostileText(ReportTest):
    def test_it_is_text_and_nothing_else(self):
        evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;<!-- ]]> </style></svg>"
        run = write_run(self.path / ("a\"'<b>&" + "x"), samples=[(5, evil.encode() + b"\xff\xfe\x00\x1b[31m\xed\xa0\x80\xe2\x80\xae")],
                        events=[start_event(host=evil, version=evil), failure_event(3, rank=evil, cause=evil), end_event(3, 76),
                                {"event": evil, "time": 1.0, "what": evil}],
                        config="log { sample_prompt: '<script>alert(1)</script>' } data { directory: '</code><script>' }")
        page = self.report(run)  # Page fails on any script, image or handler
        self.assertEqual(page.text.count("<script>alert(1)</script>"), page.source.count("&lt;script&gt;alert(1)"))
        self.assertIn("onerror=alert(2)>&amp;<!-- ]]> </style></svg>", page.text)
        self.assertIn("\ufffd\ufffd\u2400\u241b[31m\ufffd\ufffd\ufffd", page.text)
        self.assertIn("a\"'<b>&x", page.text)

    def test_names_stay_apart_in_the_table_of_values(self):
        runs = [write_run(self.path / "a,\"b"), write_run(self.path / "c")]
        self.assertTrue(self.report(*runs).csv()[1].startswith('"a,""b",1,'))


class Damage(ReportTest):
    def damaged(self, name, content, says):
        self.runs = getattr(self, "runs", 0) + 1
        run = write_run(self.path / f"run{self.runs}")
        (run / name).unlink() if content is None else (run / name).write_bytes(content)
        page = self.report(run)
        self.assertIn(says, page.text)
        self.assertEqual(says in self.result.stderr, bool(says) and "no step yet" not in says and "no start" not in says)

    def test_whatever_is_there_is_shown(self):
        self.damaged("metrics.jsonl", None, "metrics.jsonl has no step yet")
        self.damaged("metrics.jsonl", b"", "metrics.jsonl has no step yet")
        self.damaged("metrics.jsonl", b"\0" * 5000, "metrics.jsonl: 1 line(s) are damaged")
        self.damaged("metrics.jsonl", b'[1]\n{"step":"x","loss":1}\n{"step":1}\n{"step":-1,"loss":2}\nnull\n', "metrics.jsonl: 5 line(s)")
        self.damaged("events.jsonl", None, "events.jsonl notes no start")
        self.damaged("events.jsonl", b'{"event":"start"}\n{"event":7,"time":1}\n{"event":"failure","time":1,"rank":[[]]', "3 line(s)")
        self.damaged("config.textproto", None, "config.textproto is missing")
        self.damaged("config.textproto", b"train { steps: ", "config.textproto")
        self.damaged("config.textproto", b"no_such { a: 1 }", "unknown")
        self.damaged("summary.json", b'{"digest": "abc"', "summary.json")
        self.damaged("summary.json", b"[]", "summary.json")

    def test_a_half_written_end_is_left_out(self):
        run = write_run(self.path / "alpha")
        with open(run / "metrics.jsonl", "a") as file:
            file.write('{"step":41,"lo')
        page = self.report(run)
        self.assertIn("Step 40", page.text)
        self.assertIn("1 line(s) are damaged or not written to their end", page.text)

    def test_damaged_checkpoints_cost_no_report(self):
        run = write_run(self.path / "alpha", summary={"steps": 40, "digest": "x"})
        checkpoint = run / "checkpoints/step-0000000040"
        checkpoint.mkdir(parents=True)
        (checkpoint / "manifest.textproto").write_text("torn")
        self.assertIn("checkpoints: ", self.report(run).text)

    def test_values_of_any_size_are_drawn(self):
        losses = [None, 1e308, -1e308, 0.0, 5e-324, 1e99, 3.0]
        metrics = [step_line(10**17 * (i + 1), loss, learning_rate=loss) for i, loss in enumerate(losses)]
        page = self.report(write_run(self.path / "alpha", metrics=metrics))
        for drawing in page.drawings:
            for element in drawing.iter():
                self.assertFalse(re.search("nan|inf", element.get("d", "") + element.get("cy", "")))

    def test_steps_computed_again_count_with_their_later_values(self):
        metrics = [step_line(1, 9.0), step_line(2, 8.0), validation_line(3, 1.0), step_line(3, 7.0), step_line(2, 6.0),
                   validation_line(3, 5.5), step_line(3, 5.0)]
        page = self.report(write_run(self.path / "alpha", metrics=metrics))
        self.assertEqual([row.split(",")[:3] for row in page.csv()[1:]],
                         [["1", "9.0", ""], ["2", "6.0", ""], ["3", "", "5.5"], ["3", "5.0", ""]])
        self.assertIn("Best validation loss 5.5000", page.text)

    def test_what_is_no_run_is_said(self):
        (self.path / "empty").mkdir()
        self.report(self.path / "empty", code=66)
        self.assertIn("is no run directory", self.result.stderr)
        self.report(self.path / "missing", code=66)
        self.report(write_run(self.path / "alpha"), self.path / "missing", code=66)
        self.assertEqual(call(PROGRAM).returncode, 64)
        self.assertEqual(call(PROGRAM, self.path / "alpha", "--output", self.path / "no/such/folder.html").returncode, 74)
        (self.path / "alpha/metrics.jsonl").unlink()
        (self.path / "alpha/metrics.jsonl").mkdir()
        self.report(self.path / "alpha", code=74)


class LongRun(ReportTest):
    STEPS, SPIKE = 500_000, 333_333

    def test_it_stays_small_and_keeps_extremes(self):
        run = write_run(self.path / "alpha", metrics=[])
        with open(run / "metrics.jsonl", "w") as file:
            for step in range(1, self.STEPS + 1):
                loss = 2.5 + (step * 7919 % 1000) / 1000 + (9 if step == self.SPIKE else 0)
                file.write(f'{{"step":{step},"loss":{loss:.3f},"gradient_norm":0.5,"tokens":{step},"tokens_per_second":1.0}}\n')
        page = self.report(run)
        self.assertLess(len(page.source), 300_000)
        memory_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest
        self.assertLess(memory_kb, 600_000 if "asan" in PROGRAM else 60_000)
        band = page.classes("band")[0].get("d")
        points = [tuple(map(float, p.split())) for p in re.findall(r"[ML]([-\d.]+ [-\d.]+)", band)]
        highest = min(points, key=lambda point: point[1])
        left, right = min(points)[0], max(points)[0]
        self.assertAlmostEqual((highest[0] - left) / (right - left), self.SPIKE / self.STEPS, delta=0.01)
        self.assertLess(len(page.csv()), 1000)
        self.assertEqual(page.csv()[1].split(",")[:2], ["1", "3.419"])


class SeveralRuns(ReportTest):
    def test_results_and_differing_settings_lie_beside_each_other(self):
        one = write_run(self.path / "one", config="train { steps: 40 } optimizer { learning_rate: 0.5 }")
        two = write_run(self.path / "two", config="train { steps: 40 } model { layers: 3 } run { directory: 'two' }",
                        metrics=[step_line(1, 7.0), validation_line(1, 2.25)])
        page = self.report(one, two)
        for text in ("2 runs compared", "optimizer.learning_rate 0.5 0.008", "model.layers 16 3", "one done 40 5.0000 4.5000 30",
                     "two done 1 7.0000 2.2500 1"):
            self.assertIn(text, page.text)
        differing = page.text.split("Settings that differ", 1)[1].split("Training and validation loss")[0]
        self.assertNotIn("train.steps", differing)
        self.assertNotIn("run.directory", differing)
        self.assertEqual(len({e.get("class") for e in page.classes("line")}), 2, "a colour each")
        self.assertEqual({row.split(",")[0] for row in page.csv()[1:]}, {"one", "two"})

    def test_equal_names_are_told_apart_by_their_paths(self):
        page = self.report(write_run(self.path / "x/run"), write_run(self.path / "y/run"))
        self.assertIn(str(self.path / "x/run"), page.text)

    def test_fifty_runs_stay_below_a_megabyte(self):
        metrics = [step_line(s, 9 - s / 500) for s in range(1, 2001)]
        runs = [write_run(self.path / f"run{i}", metrics=metrics) for i in range(50)]
        self.assertLess(len(self.report(*runs).source), 1_000_000)


if __name__ == "__main__":
    unittest.main()
