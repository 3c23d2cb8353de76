#!/usr/bin/env python3
"""slurm/kangpt_keep with programs in place of mpirun, kangpt_dist and Slurm's own, which note how they are called."""
import os
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

KEEP = Path(__file__).resolve().parents[2] / "slurm/kangpt_keep"

# Ends with the next of the codes in FOLDER/codes, or waits for a signal and ends with 75, or does not end. "step=N" before a code: the start
# before reached that step.
MPIRUN = """#!/usr/bin/env python3
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["FOLDER"])
with open(folder / "calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if "--save-memory" in sys.argv:
    sys.exit(0)
codes = (folder / "codes").read_text().split()
(folder / "codes").write_text(" ".join(codes[1:]))
step, _, code = codes[0].rpartition("@")
if step:
    with open(folder / "events.jsonl", "a") as events:
        events.write(json.dumps({"event": "start", "logical_shards": 8, "step": int(step), "steps_lost": 0},
                                separators=(",", ":")) + "\\n")
if code == "wait":
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    (folder / "waits").touch()
    time.sleep(60)
if code == "hang":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "waits").touch()
    time.sleep(600)
sys.exit(int(code))
"""
DIST = """#!/bin/bash
printf 'run {\\n  directory: "%s"  # --set\\n}\\n' "$FOLDER"
"""
SRUN = """#!/bin/bash
for word; do [[ $word != --nodelist=* ]] || node=${word#*=}; done
[[ $* != *kangpt_dist* ]] || exec "$FOLDER/real" "$@"
grep -qx "$node" "$FOLDER/answering"
"""
SQUEUE = """#!/bin/bash
case $* in
  *%N*) cat "$FOLDER/allocated" ;;
  *) echo "${STATE:-RUNNING}" ;;
esac
"""
SCONTROL = """#!/bin/bash
tr , '\\n' <<<"$3"
"""


class Keep(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.path = Path(self.temporary.name)
        for name, text in (("mpirun", MPIRUN), ("kangpt_dist", DIST), ("srun", SRUN), ("squeue", SQUEUE),
                           ("scontrol", SCONTROL)):
            (self.path / name).write_text(text)
            (self.path / name).chmod(0o755)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        self.environment |= {"FOLDER": str(self.path), "PATH": f"{self.path}:{os.environ['PATH']}"}

    def tearDown(self):
        self.temporary.cleanup()

    def start(self, codes, *options, ranks="8", container=()):
        (self.path / "codes").write_text(codes)
        count = ["-np", ranks] if ranks else []
        command = [KEEP, *options, "--", "mpirun", "-q", *count, *container, self.path / "kangpt_dist", "--config", "a b"]
        return subprocess.Popen(list(map(str, command)), env=self.environment, stderr=subprocess.PIPE, text=True)

    def keep(self, codes, *options, code, **more):
        process = self.start(codes, *options, **more)
        self.said = process.communicate(timeout=100)[1]
        self.assertEqual(process.returncode, code, self.said)
        return self.calls()

    def calls(self):
        file = self.path / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def wait_for(self, file):
        while not (self.path / file).exists():
            time.sleep(0.02)
        (self.path / file).unlink()


class AnywhereElse(Keep):
    def test_starts_again_what_a_new_start_helps(self):
        calls = self.keep("0@137 40@76 80@1 120@0", code=0)
        first = f"-q -np 8 {self.path}/kangpt_dist --config a b"
        again = first + " --set checkpoint.resume=AUTO --set train.logical_shards=8"
        self.assertEqual(calls, [first, again, again, again])

    def test_ranks_may_be_in_a_container(self):
        (self.path / "apptainer").write_text("#!/bin/bash\nexec \"${@:3}\"\n")
        (self.path / "apptainer").chmod(0o755)
        calls = self.keep("4@137 8@0", code=0, container=("apptainer", "exec", "image"))
        self.assertEqual(calls[0], f"-q -np 8 apptainer exec image {self.path}/kangpt_dist --config a b")
        self.assertTrue(calls[1].startswith(calls[0] + " --set "), calls)

    def test_passes_on_what_would_come_again(self):
        for number, code in enumerate((64, 65, 66, 70, 74, 75, 78, 93), 1):
            self.assertEqual(len(self.keep(str(code), code=code)), number)

    def test_gives_up_without_progress(self):
        self.assertEqual(len(self.keep("0@137 5@137 5@137 5@137 9@0", "--tries", "2", code=76)), 4)
        self.assertIn("came no further than to step 5", self.said)

    def test_gives_up_what_never_starts(self):
        self.assertEqual(len(self.keep("1 1 1 1", "--tries", "2", code=76)), 2)

    def test_stops_when_asked(self):
        for name in ("SIGUSR1", "SIGTERM"):
            process = self.start("wait 0@0")
            self.wait_for("waits")
            process.send_signal(getattr(signal, name))
            self.assertEqual(process.wait(timeout=100), 75)
            process.stderr.close()
        self.assertEqual(len(self.calls()), 2)

    def test_says_how_it_is_used(self):
        for words in ([], ["--min-ranks"], ["--tries", "0", "--", "mpirun", "kangpt_dist"], ["--", "mpirun", "ls"],
                      ["--oops", "--", "mpirun", "kangpt_dist"]):
            result = subprocess.run([KEEP, *words], env=self.environment, capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 64, words)
            self.assertIn("--help", result.stderr)


class InSlurm(Keep):
    def setUp(self):
        super().setUp()
        self.environment |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a,b,c,d", "SLURM_TASKS_PER_NODE": "2(x3),2",
                             "SLURMD_NODENAME": "a"}
        self.nodes("bcd", "abcd")

    def nodes(self, answering, allocated):
        (self.path / "answering").write_text("\n".join(answering))
        (self.path / "allocated").write_text(",".join(allocated))

    def placements(self, calls):
        return [call.split(f" {self.path}")[0] + (" --save-memory" if "--save-memory" in call else "") for call in calls]

    def test_uses_all_nodes(self):
        calls = self.keep("0@0", code=0, ranks="")
        self.assertEqual(self.placements(calls), ["-q -np 8 --host a:2,b:2,c:2,d:2"])

    def test_goes_on_with_fewer_that_divide_the_logical_shards(self):
        self.nodes("bd", "abcd")
        calls = self.keep("0@0", code=0, ranks="")
        self.assertEqual(self.placements(calls), ["-q -np 3 --host a:1,b:1,d:1 --save-memory", "-q -np 4 --host a:2,b:2"])

    def test_knows_which_nodes_slurm_has_taken_away(self):
        self.nodes("bcd", "ad")
        self.assertEqual(self.placements(self.keep("0@0", code=0, ranks="")), ["-q -np 4 --host a:2,d:2"])

    def test_leaves_it_to_another_start_with_fewer_than_wanted(self):
        self.nodes("b", "abcd")
        self.assertEqual(self.keep("0@0", "--min-ranks", "8", code=76), [])
        self.assertIn("4 rank(s) fit on the nodes that answer (a b)", self.said)

    def test_grows_when_nodes_come_back(self):
        self.nodes("b", "abcd")
        process = self.start("0@wait 30@0", "--look-seconds", "1", ranks="")
        self.wait_for("waits")
        self.nodes("bcd", "abcd")
        said = process.communicate(timeout=100)[1]
        self.assertEqual(process.returncode, 0, said)
        self.assertIn("8 rank(s) fit again", said)
        self.assertEqual(self.placements(self.calls()), ["-q -np 4 --host a:2,b:2", "-q -np 8 --host a:2,b:2,c:2,d:2"])

    def test_kills_what_hangs_on_a_node_that_slurm_has_taken_away(self):
        self.nodes("b", "ab")
        process = self.start("0@hang 30@0", "--look-seconds", "1", ranks="")
        self.wait_for("waits")
        self.nodes("", "a")
        said = process.communicate(timeout=100)[1]
        self.assertEqual(process.returncode, 0, said)
        self.assertIn("does not end without b", said)
        self.assertEqual(self.placements(self.calls()), ["-q -np 4 --host a:2,b:2", "-q -np 2 --host a:2"])

    def test_does_not_start_again_what_slurm_ends(self):
        self.environment["STATE"] = "COMPLETING"
        self.assertEqual(len(self.keep("0@1 0@0", code=1)), 1)

    def test_tells_srun_in_its_own_words(self):
        (self.path / "mpirun").rename(self.path / "real")
        self.nodes("b", "abcd")
        (self.path / "codes").write_text("0@0")
        command = [KEEP, "--", "srun", "--mpi=pmix", self.path / "kangpt_dist"]
        self.assertEqual(subprocess.run(command, env=self.environment, check=False).returncode, 0)
        self.assertEqual(self.placements(self.calls()),
                         ["--mpi=pmix --kill-on-bad-exit=1 --ntasks=4 --nodes=2 --nodelist=a,b"])


if __name__ == "__main__":
    unittest.main()
