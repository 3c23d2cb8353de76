#!/usr/bin/env python3
"""Reports in headless Chromium: they load without a word on the console, and show something, light, dark and narrow.

    report_browser_test.py KANGPT_REPORT      CHROMIUM: the browser, else the first of those below that is installed
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib
from pathlib import Path

from report_runs import write_run

PROGRAM = sys.argv.pop(1)
NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
DARK = "--blink-settings=preferredColorScheme=0"


def colours(png):
    """How many pixels have which colour, of a PNG with 8 bits a channel that is not interlaced."""
    data, at, packed = Path(png).read_bytes(), 8, b""
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at:at + 4]), data[at + 4:at + 8]
        content = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
            assert depth == 8 and interlaced == 0 and colour in (2, 6)
        packed += content if kind == b"IDAT" else b""
        at += length + 12
    channels = 3 if colour == 2 else 4
    raw, stride, counts = zlib.decompress(packed), width * channels, {}
    above = bytes(stride)
    for row in range(height):
        begin = row * (stride + 1)
        line = unfiltered(raw[begin], bytearray(raw[begin + 1:begin + 1 + stride]), above, channels)
        for x in range(0, stride, channels * 4):  # each fourth pixel is enough
            pixel = bytes(line[x:x + 3])
            counts[pixel] = counts.get(pixel, 0) + 1
        above = line
    return counts


def unfiltered(kind, line, above, channels):
    for i in range(len(line)):
        a = line[i - channels] if i >= channels else 0
        b, c = above[i], above[i - channels] if i >= channels else 0
        if kind == 1:
            add = a
        elif kind == 2:
            add = b
        elif kind == 3:
            add = (a + b) // 2
        elif kind == 4:
            add = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
        else:
            return line
        line[i] = (line[i] + add) & 255
    return line


class BrowserTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = Path(cls.folder.name)
        run = write_run(cls.path / "alpha", samples=[(20, b"Once upon a time <script>console.log('bad')</script>")])
        cls.page = cls.path / "page.html"
        subprocess.run([PROGRAM, run, "--output", cls.page], check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def browse(self, page, *flags):
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
                 f"--user-data-dir={self.path}/profile", *flags, page.as_uri())
        result = subprocess.run([BROWSER, *flags], capture_output=True, text=True, timeout=240)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.console = re.findall(r".*CONSOLE.*", result.stderr)
        return result.stdout

    def screenshot(self, name, *flags):
        self.browse(self.page, f"--screenshot={self.path / name}", *flags)
        self.assertEqual(self.console, [])
        return colours(self.path / name)

    def test_the_console_is_watched(self):
        noisy = self.path / "noisy.html"
        noisy.write_text("<script>console.error('heard')</script>")
        self.browse(noisy, "--dump-dom")
        self.assertIn("heard", " ".join(self.console))

    def test_the_text_is_there(self):
        text = re.sub(r"<[^>]*>", " ", self.browse(self.page, "--dump-dom"))
        self.assertEqual(self.console, [])
        for words in ("Training and validation loss", "in reduce: the worker died of SIGSEGV", "Once upon a time"):
            self.assertIn(words, text)

    def test_it_shows_something_in_every_light(self):
        for name, flags, page, curve in (("light.png", ["--window-size=1000,1400"], "ffffff", "0072b2"),
                                         ("dark.png", ["--window-size=1000,1400", DARK], "12161c", "56b4e9"),
                                         ("narrow.png", ["--window-size=500,1400"], "ffffff", "0072b2")):
            counts = self.screenshot(name, *flags)
            total = sum(counts.values())
            self.assertGreater(counts[bytes.fromhex(page)], total / 3, f"{name}: the page")
            self.assertGreater(counts.get(bytes.fromhex(curve), 0), 20, f"{name}: the curve of the training loss")
            self.assertGreater(len(counts), 50, f"{name}: text")


if __name__ == "__main__":
    if not BROWSER:
        print(f"skipped: no Chromium here (none of {', '.join(NAMES)} is installed, and CHROMIUM is not set)")
    else:
        unittest.main()
