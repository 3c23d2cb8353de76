#!/usr/bin/env python3
"""Runs the demonstration (`make demo`) in a pseudo-terminal and draws what its screen shows as SVG: while it trains
(terminal_training.svg) and at the end of training (terminal_end.svg), beside this script.

    docs/pictures/terminal.py        about two minutes on two cores"""
import os
import re
import sys
from html import escape
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from terminal import Terminal

COLUMNS = 100
CELL, LINE, MARGIN = 7.8, 18, 14  # pixels, for a font of 13
COLOURS = {"": "#d8dee9", "32": "#8fce6a", "1;33": "#e9c46a", "1;31": "#ff6b6b"}
PROGRESS = re.compile(r"\[.*\] step (\d+)/(\d+) ")


def draw(lines, path):
    """`lines` of (character, colour code), as Screen has them."""
    width, height = COLUMNS * CELL + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" font-size="13" '
             'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace">',
             f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#20242c"/>']
    for row, line in enumerate(lines):
        column = 0
        for colour, cells in groupby(line, key=lambda cell: cell[1]):
            cells = list(cells)
            text = "".join(character for character, _ in cells)
            begin = column + len(text) - len(text.lstrip())
            column += len(cells)
            if text.strip():
                parts.append(f'<text x="{MARGIN + begin * CELL:.1f}" y="{MARGIN + row * LINE + 13}" '
                             f'textLength="{len(text.strip()) * CELL:.1f}" fill="{COLOURS.get(colour, COLOURS[""])}" '
                             f'xml:space="preserve">{escape(text.strip())}</text>')
    path.write_text("\n".join(parts + ["</svg>", ""]), encoding="utf-8")


def from_training_on(screen):
    """The lines from the command that trains on, without make's own behind it."""
    text = screen.text()
    first = next(i for i, line in enumerate(text) if line.startswith("mpirun "))
    return screen.lines[first:]


def main():
    programs = ROOT / "build" / os.environ.get("PRESET", "release") / "bin"  # found there, nothing says where they are
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "LC_ALL")}
    environment |= {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PATH": f"{programs}:{os.environ['PATH']}"}
    terminal = Terminal(["make", "--no-print-directory", "demo"], COLUMNS, environment, ROOT)
    picture = {}

    def look(screen):
        shown = PROGRESS.match(screen.text()[-1])
        if shown and "training" not in picture and int(shown[1]) * 5 > int(shown[2]) * 3:
            picture["training"] = list(map(list, from_training_on(screen)))
    terminal.wait(look, seconds=3600)
    if terminal.end() != 0 or "training" not in picture:
        sys.exit("the demonstration failed:\n" + "\n".join(terminal.screen.text()[-30:]))
    lines = from_training_on(terminal.screen)
    text = ["".join(character for character, _ in line) for line in lines]
    done = next(i for i, line in enumerate(text) if " done: " in line)
    draw(picture["training"], Path(__file__).with_name("terminal_training.svg"))
    draw([line for line in lines[done:] if line], Path(__file__).with_name("terminal_end.svg"))


if __name__ == "__main__":
    main()
