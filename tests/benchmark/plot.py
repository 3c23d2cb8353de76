#!/usr/bin/env python3
"""Draws the results of compare.py as a picture.

    tests/benchmark/plot.py build/release/bench/results.json tests/benchmark/training_speed.svg
"""
import json
import sys
from html import escape

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 860, 250, 190, 74, 34, 22
OURS, OTHERS, INK, FAINT = "#1f6fb4", "#b9bec5", "#24292f", "#6a737d"
PART_COLOURS = {"head": "#1f6fb4", "feed_forward": "#e08214", "mixer": "#4d9221", "optimizer": "#8073ac",
                "embedding": "#c51b7d", "other": "#b9bec5"}
PART_NAMES = {"head": "head and loss", "feed_forward": "feed-forward", "mixer": "mixer", "optimizer": "optimizer",
              "embedding": "embedding", "other": "other"}


class Picture:
    def __init__(self):
        self.shapes = []

    def text(self, x, y, content, size=13, anchor="start", colour=INK, weight="normal"):
        self.shapes.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
                           f'font-weight="{weight}">{escape(content)}</text>')

    def box(self, x, y, width, height, colour):
        self.shapes.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height}" '
                           f'fill="{colour}"/>')

    def line(self, x1, y1, x2, y2):
        self.shapes.append(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{INK}" stroke-width="1.2"/>')

    def svg(self, height):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
                f'viewBox="0 0 {WIDTH} {height}" font-family="Helvetica, Arial, sans-serif">\n'
                f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n' + "\n".join(self.shapes) + "\n</svg>\n")


def draw_speeds(picture, results, top):
    """A bar an entrant: the median, with the range of its turns."""
    tokens = results["tokens_a_step"]
    scale = (WIDTH - LEFT - RIGHT) / max(tokens / entry["fastest_turn"] for entry in results["entrants"])
    for index, entry in enumerate(results["entrants"]):
        y = top + index * ROW
        middle = y + BAR / 2
        ours = entry["name"].startswith("ours")
        picture.text(LEFT - 10, middle + 4.5, entry["label"], anchor="end", weight="bold" if ours else "normal")
        picture.box(LEFT, y, entry["tokens_per_second"] * scale, BAR, OURS if ours else OTHERS)
        slow, fast = (LEFT + tokens / entry[turn] * scale for turn in ("slowest_turn", "fastest_turn"))
        picture.line(slow, middle, fast, middle)
        for end in (slow, fast):
            picture.line(end, middle - 4, end, middle + 4)
        picture.text(max(fast, LEFT) + 8, middle + 4.5,
                     f"{entry['tokens_per_second']:,.0f} tokens/s · {entry['peak_megabytes'] / 1000:.2f} GB")
    return top + len(results["entrants"]) * ROW


def draw_parts(picture, results, top):
    """For each entrant that tells its parts: microseconds a token, side by side."""
    entries = [entry for entry in results["entrants"] if "part_nanoseconds_a_token" in entry]
    totals = [sum(entry["part_nanoseconds_a_token"].values()) for entry in entries]
    scale = (WIDTH - LEFT - RIGHT) / max(totals)
    for index, (entry, total) in enumerate(zip(entries, totals)):
        y = top + index * ROW
        picture.text(LEFT - 10, y + BAR / 2 + 4.5, entry["label"], anchor="end", weight="bold")
        x = LEFT
        for part, colour in PART_COLOURS.items():
            width = entry["part_nanoseconds_a_token"][part] * scale
            picture.box(x, y, width, BAR, colour)
            x += width
        picture.text(x + 8, y + BAR / 2 + 4.5, f"{total / 1000:.0f} µs a token")
    y = top + len(entries) * ROW + 6
    x = LEFT
    for part, colour in PART_COLOURS.items():
        picture.box(x, y, 11, 11, colour)
        picture.text(x + 16, y + 10, PART_NAMES[part], size=12, colour=FAINT)
        x += 34 + 6.4 * len(PART_NAMES[part])
    return y + 24


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        results = json.load(file)
    picture = Picture()
    picture.text(20, 30, "Training steps of the reference network on the CPU", size=18, weight="bold")
    picture.text(20, 52, f"{results['tokens_a_step']:,} tokens a step: forward, backward and AdamW; "
                         f"{results['threads']} threads, {results['processor']}; median and range of "
                         f"{results['rounds']} turns, peak memory", size=12, colour=FAINT)
    y = draw_speeds(picture, results, TOP)
    picture.text(20, y + 26, "Where the time goes", size=15, weight="bold")
    y = draw_parts(picture, results, y + 42)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(picture.svg(round(y + 8)))


if __name__ == "__main__":
    main()
