"""Run directories as training writes them, and reports on them as a reader of HTML sees them."""
import json
import re
import subprocess
import urllib.parse
import xml.etree.ElementTree as xml
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br"}
NOW = 1772366584.0


def step_line(step, loss, **others):
    line = {"step": step, "loss": loss, "learning_rate": 1e-3, "gradient_norm": 0.5, "tokens": step * 1000,
            "tokens_per_second": 500.0, "step_seconds": 2.0, "data_seconds": 0.25, "reduce_seconds": 0.5,
            "snapshot_seconds": 0.0, "restarts": 0, "world_size": 2, "time": NOW + 2 * step}
    return {**line, **others}


def validation_line(step, loss):
    return {"step": step, "validation_loss": loss, "perplexity": 9.0}


def start_event(step=0, **others):
    return {"event": "start", "time": NOW, "step": step, "steps_lost": 0, "world_size": 2, "threads": 1, "device": "CPU",
            "host": "node-a", "version": "0.1.0", "new_run": False, "changed_settings": [], "set_aside": [], **others}


def failure_event(step, rank=1, cause="the worker died of SIGSEGV (Segmentation fault)"):
    return {"event": "failure", "time": NOW + 2 * step, "step": step, "rank": rank, "signal": 11, "phase": "reduce",
            "stuck_seconds": 0.0, "exit_code": 70, "cause": cause}


def end_event(step, code=0):
    return {"event": "end", "time": NOW + 2 * step + 1, "step": step, "exit_code": code}


def lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def write_run(folder, metrics=None, events=None, config="train { steps: 40 }", summary=None, samples=()):
    """A run of 40 steps with one crash, or what is given instead. `samples`: (step, bytes)."""
    folder = Path(folder)
    (folder / "samples").mkdir(parents=True)
    if metrics is None:
        metrics = [line for step in range(1, 41) for line in (
            [validation_line(step, 4.5 + abs(step - 30) / 10)] if step % 10 == 0 else []) + [step_line(step, 10 - step / 8)]]
    if events is None:
        events = [start_event(), failure_event(21), {"event": "restart", "time": NOW + 43, "step": 20, "steps_lost": 1},
                  {"event": "recovered", "time": NOW + 50, "step": 21, "seconds": 7.5},
                  {"event": "checkpoint", "time": NOW + 80, "step": 40, "bytes": 9, "seconds": 0.1}, end_event(40)]
    (folder / "metrics.jsonl").write_text(lines(metrics))
    (folder / "events.jsonl").write_text(lines(events))
    (folder / "config.textproto").write_text(config)
    (folder / "summary.json").write_text(json.dumps(summary or {"steps": 40, "digest": "ab" * 32, "parameters": 6586624}))
    for step, text in samples:
        (folder / "samples" / f"step-{step:010}.txt").write_bytes(text)
    return folder


def call(program, *arguments, cwd=None):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


class Page(HTMLParser):
    """Reads a report and fails on what a self-contained, well-formed page has not."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.source = Path(path).read_bytes().decode("utf-8")  # strict
        self.open, self.tags, self.links, self.words = [], [], [], []
        self.feed(self.source)
        self.close()
        assert not self.open, f"not closed: {self.open}"
        self.text = " ".join(" ".join(self.words).split())
        self.drawings = [xml.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", self.source, re.DOTALL)]

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        assert tag not in ("script", "iframe", "object", "link", "img", "base"), tag
        for name, value in attributes:
            assert not name.startswith("on") and name != "src", (tag, name)
            if name == "href":
                assert value.startswith("data:text/csv"), value
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def csv(self):
        return urllib.parse.unquote(self.links[-1].split(",", 1)[1]).splitlines()

    def classes(self, name):
        """Elements of all drawings that are of class `name`."""
        return [e for drawing in self.drawings for e in drawing.iter() if name in e.get("class", "").split()]
