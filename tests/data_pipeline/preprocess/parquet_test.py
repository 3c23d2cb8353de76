#!/usr/bin/env python3
"""The command for Parquet that README.md has, as it stands there."""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# Python's own, or what the set-up unpacked for tests.
packages = [str(folder) for folder in Path(os.environ["KANGPT_CACHE"]).glob("pyarrow-*")]
sys.path += packages
os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), *packages])
try:
    import pyarrow
    from pyarrow import parquet
except ImportError:
    print("pyarrow is not installed here")
    sys.exit(0)

STORIES = ["One day.", "  Two\nlines, \u00e9 and 'quotes'.", "Three \U0001f600"]

readme = (Path(os.environ["KANGPT_SOURCE"]) / "README.md").read_text(encoding="utf-8")
command = re.search(r"```\n(python3 -c 'import sys, pyarrow.*?)```", readme, re.DOTALL).group(1)
with tempfile.TemporaryDirectory() as folder:
    parquet.write_table(pyarrow.table({"id": [1, 2, 3], "text": STORIES}), Path(folder) / "stories.parquet")
    command = command.replace("python3", sys.executable).replace("build/release/bin", os.environ["KANGPT_BIN"])
    vocabulary = Path(os.environ["KANGPT_CACHE"]) / "gpt2/vocab.bpe"
    subprocess.run(["bash", "-c", "set -o pipefail; " + command.strip() + f" --vocabulary '{vocabulary}'"], cwd=folder,
                   check=True, timeout=100)
    for index, story in enumerate(STORIES):
        shown = subprocess.run([os.environ["KANGPT_BIN"] + "/kangpt_preprocess", "show", "data/parquet", "--story",
                                str(index)], cwd=folder, check=True, timeout=100, capture_output=True).stdout.decode()
        assert shown == story.strip() + "\n", (shown, story)
