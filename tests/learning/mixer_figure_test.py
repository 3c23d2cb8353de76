#!/usr/bin/env python3
"""configs/mixers.svg is what mixer_figure.py draws from configs/mixers.json, and shows every mixer's numbers."""
import json
import statistics
import subprocess
import sys
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "configs/mixers.json"


def drawn():
    script = ROOT / "tests/learning/mixer_figure.py"
    return subprocess.run([sys.executable, "-B", script, DATA], check=True, capture_output=True, text=True).stdout


class MixerFigureTest(unittest.TestCase):
    def test_the_picture_is_up_to_date(self):
        self.assertEqual(drawn(), (ROOT / "configs/mixers.svg").read_text(encoding="utf-8"))

    def test_every_row_is_shown(self):
        words = [element.text for element in xml.fromstring(drawn()).iter() if element.text]
        for row in json.loads(DATA.read_text(encoding="utf-8")):
            self.assertIn(row["mixer"], words)
            self.assertIn(f"{statistics.mean(row['validation_losses']):.2f}", words)
            self.assertIn(f"{row['tokens_per_second']:,}", words)


if __name__ == "__main__":
    unittest.main()
