#!/usr/bin/env python3
"""Draws configs/mixers.svg from configs/mixers.json: loss, speed, size and reach of every mixer, one row each.

    tests/learning/mixer_figure.py configs/mixers.json > configs/mixers.svg

The same input gives the same bytes. Needs the standard library alone.
"""
import json
import statistics
import sys
from xml.sax.saxutils import escape

WIDTH, LEFT, TOP, ROW, GAP, PANEL = 900, 170, 92, 34, 26, 156
INK, FAINT, TRACK = "#1f2933", "#7b8794", "#edf0f3"
COLOURS = ("#2f6fde", "#c2571a", "#2a8f5b", "#7a4fbf")


def text(x, y, words, size=13, anchor="start", colour=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def rectangle(x, y, width, height, colour, radius=3):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}" fill="{colour}"/>'


def loss_of(row):
    return statistics.mean(row["validation_losses"])


def panels(rows):
    """Title, unit, (value, label, single runs behind the value) of each row, and the value at a panel's left edge."""
    losses = [loss_of(row) for row in rows]
    cells = [(loss, f"{loss:.2f}", row["validation_losses"]) for loss, row in zip(losses, rows)]
    yield "Validation loss", "nats a token; less is better", cells, min(losses) - 0.25 * (max(losses) - min(losses))
    rates = [row["tokens_per_second"] for row in rows]
    yield "Speed", "tokens a second, one core", [(rate, f"{rate:,}", ()) for rate in rates], 0
    sizes = [row["parameters"] / 1e6 for row in rows]
    yield "Parameters", "millions", [(size, f"{size:.2f}", ()) for size in sizes], 0
    reaches = [min(row["reach_of_a_layer"], 63) for row in rows]
    yield "Reach of a layer", "tokens of the past", [(reach, f"{reach:g}", ()) for reach in reaches], 0


def draw_panel(index, title, unit, cells, origin):
    left = LEFT + index * (PANEL + GAP)
    bar = PANEL - 44  # the rest is for the number behind a bar
    longest = max(value for value, *_ in cells) - origin
    yield text(left, TOP - 34, title, 14, weight="600")
    yield text(left, TOP - 17, unit, 11, colour=FAINT)
    for row, (value, label, runs) in enumerate(cells):
        y = TOP + row * ROW
        length = bar * (value - origin) / longest
        yield rectangle(left, y + 7, bar, 14, TRACK)
        yield rectangle(left, y + 7, max(length, 2), 14, COLOURS[index])
        for run in runs:
            yield rectangle(left + bar * (run - origin) / longest - 0.75, y + 5, 1.5, 18, INK, 0)
        yield text(left + bar + 6, y + 19, label, 12)


def figure(rows):
    height = TOP + len(rows) * ROW + 40
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           'font-family="Helvetica, Arial, sans-serif" role="img">')
    yield "<title>Validation loss, speed, parameters and reach of the six mixers</title>"
    yield rectangle(0, 0, WIDTH, height, "#ffffff", 8)
    yield text(24, 32, f"Six causal mixers after {rows[0]['tokens']:,} tokens", 17, weight="600")
    for row, entry in enumerate(rows):
        yield text(24, TOP + row * ROW + 19, entry["mixer"], 12.5)
    for index, panel in enumerate(panels(rows)):
        yield from draw_panel(index, *panel)
    yield text(24, height - 14, "KAN feed-forward, 16 layers of 128 channels, rows of 64 tokens. Loss: mean of the "
               "runs that the ticks mark; its axis does not start at 0.", 11, colour=FAINT)
    yield "</svg>"


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = sorted(json.load(file), key=loss_of)
    print("\n".join(figure(rows)))


if __name__ == "__main__":
    main()
