#!/usr/bin/env python3
"""What only a GPU can show, in one command, the cheapest first:

    tests/gpu/measure.py [--build build/release] [--output gpu_results.jsonl] [--quick]

1 operations against fp64, workplace (collectives and divided state)   2 digests on 1, 2, 4, 8 GPUs, and the same one twice   3 recovery from
SEGV and SIGKILL, in seconds   4 memory   5 speed, FP32 and BF16, beside PyTorch where Python has it with CUDA.
Each result is a JSON line, written as soon as it is there, so that a time limit takes nothing of what was measured.
Exit code 0: all that ran was right; 1: something was wrong; 2: there is no GPU."""
import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
TINY = ["data.mode=PACKED", "data.sequence_length=16", "model.d_model=8", "model.layers=2", "model.heads=2",
        "model.head_dim=4", "model.kan_degree=3", "train.batch_size=8", "train.steps=12", "train.logical_shards=8",
        "checkpoint.interval_steps=4", "fault.desync_interval_steps=1", "log.interval_steps=1",
        "log.validation_interval_steps=0", "log.sample_interval_steps=0", "optimizer.warmup_steps=2"]
MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
       "OMPI_MCA_hwloc_base_binding_policy": "none"}
EAGER_PROBE = "import torch, sys; sys.exit(0 if torch.cuda.is_available() else 1)"


def gpu_count():
    """As the driver says; 0 without one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


class Measurement:
    """A folder to work in, the programs, and the file of results."""

    def __init__(self, arguments, folder):
        self.bin = arguments.build / "bin"
        self.tests = arguments.build / "tests"
        self.output = arguments.output
        self.quick = arguments.quick
        self.folder = folder
        self.gpus = min(8, gpu_count())
        self.is_right = True

    def sizes(self):
        return [n for n in (1, 2, 4, 8) if n <= self.gpus]

    def note(self, what, right=None, **values):
        line = {"what": what, **({} if right is None else {"right": right}), **values}
        with open(self.output, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(json.dumps(line), flush=True)
        self.is_right = self.is_right and right is not False

    def call(self, words, timeout=900):
        environment = {**os.environ, **MPI}
        return subprocess.run([str(word) for word in words], cwd=self.folder, env=environment, text=True,
                              capture_output=True, timeout=timeout, check=False)

    def prepare(self, size):
        """Made-up stories as shards in `data`."""
        self.call([self.bin / "kangpt_stories", "--bytes", size, "--seed", 1, "--output", "stories.txt"])
        made = self.call([self.bin / "kangpt_preprocess", "--input", "stories.txt", "--output", "data"])
        self.note("data", made.returncode == 0, **({} if made.returncode == 0 else {"said": made.stderr[-2000:]}))

    def train(self, ranks, run, settings):
        words = ["mpirun", "-q", "-np", ranks, self.bin / "kangpt_dist"]
        for setting in ["data.directory=data", f"run.directory={run}", "run.device=CUDA", *settings]:
            words += ["--set", setting]
        return self.call(words)

    def digest(self, run):
        found = self.call([self.bin / "kangpt_checkpoint", "digest", run])
        return found.stdout.strip() if found.returncode == 0 else None

    def lines(self, run, name):
        return [json.loads(line) for line in (self.folder / run / name).read_text(encoding="utf-8").splitlines()]


def operations(m):
    for program in (m.tests / "gpu_operations_test", m.tests / "gpu_muon_operations_test"):
        if not program.exists():
            m.note("operations", left_out=f"{program} was not built")
            continue
        found = m.call([program])
        right = found.returncode == 0 and "SKIPPED" not in found.stdout
        m.note("operations", right, program=program.name, **({} if right else {"said": (found.stdout + found.stderr)[-4000:]}))


def workplace(m):
    program = m.tests / "gpu_workplace_test"
    if not program.exists():
        return m.note("workplace", left_out=f"{program} was not built")
    for ranks in m.sizes():
        found = m.call(["mpirun", "-q", "-np", ranks, program])
        right = found.returncode == 0 and "SKIPPED" not in found.stdout
        m.note("workplace", right, ranks=ranks, **({} if right else {"said": (found.stdout + found.stderr)[-2000:]}))


def digests(m):
    seen = {}
    for run, ranks in [("again", 1)] + [(f"np{n}", n) for n in m.sizes()]:
        found = m.train(ranks, run, TINY)
        seen[run] = m.digest(run) if found.returncode == 0 else None
        right = seen[run] is not None and seen[run] == seen["again"]
        m.note("digest", right, ranks=ranks, digest=seen[run],
               **({} if found.returncode == 0 else {"said": found.stderr[-2000:]}))


def recovery(m):
    for kind in ("segv", "kill"):
        ranks = m.sizes()[-1]
        found = m.train(ranks, kind, TINY + [f"fault.inject={kind}@rank={ranks - 1},step=6,phase=reduce"])
        events = m.lines(kind, "events.jsonl") if found.returncode == 0 else []
        seconds = [event.get("seconds") for event in events if event["event"] == "recovered"]
        right = len(seconds) == 1 and m.digest(kind) == m.digest("np1")
        m.note("recovery", right, kind=kind, ranks=ranks, seconds=seconds,
               **({} if right else {"said": found.stderr[-2000:]}))


class MemoryWatch(threading.Thread):
    """The most that nvidia-smi shows of all processes of one GPU, in MiB; None where there is none."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.ends = None, threading.Event()

    def run(self):
        while not self.ends.wait(0.5):
            try:
                shown = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                                       capture_output=True, text=True, timeout=10, check=True).stdout.split()
            except (OSError, subprocess.SubprocessError):
                return
            self.most = max([self.most or 0, *map(int, shown)])


def reference_network(m, precision):
    steps = 6 if m.quick else 60
    tokens = 1024 if m.quick else 16384
    return ["train.precision=" + precision, f"train.steps={steps}", f"train.batch_size={tokens // 64}",
            "log.interval_steps=1", "log.validation_interval_steps=0", "log.sample_interval_steps=0"], tokens


def speed(m):
    config = SOURCE / "configs/upstream_parity.textproto"
    for precision in ("FP32", "BF16"):
        settings, tokens = reference_network(m, precision)
        watch = MemoryWatch()
        watch.start()
        words = ["mpirun", "-q", "-np", 1, m.bin / "kangpt_dist", "--config", config]
        run = f"speed-{precision}"
        for setting in ["data.directory=data", f"run.directory={run}", "run.device=CUDA", *settings]:
            words += ["--set", setting]
        found = m.call(words)
        watch.ends.set()
        steps = [line for line in m.lines(run, "metrics.jsonl") if "loss" in line] if found.returncode == 0 else []
        later = [line["step_seconds"] for line in steps[len(steps) // 2:]]
        m.note("speed", found.returncode == 0, precision=precision, tokens=tokens,
               **({"tokens_per_second": tokens / statistics.median(later), "seconds": later} if later else {}),
               gpu_memory_mib=watch.most, **({} if found.returncode == 0 else {"said": found.stderr[-2000:]}))
    planned = m.call([m.bin / "kangpt_dist", "--config", config, "--set", "data.directory=data", "--plan"])
    m.note("plan", planned.returncode == 0, said=planned.stdout)


def pytorch(m):
    if subprocess.run([sys.executable, "-c", EAGER_PROBE], capture_output=True, check=False).returncode != 0:
        return m.note("pytorch", left_out="this Python has no PyTorch with CUDA")
    found = m.call([sys.executable, SOURCE / "tests/gpu/pytorch_steps.py"], timeout=1200)
    for line in found.stdout.splitlines():
        m.note("pytorch", **json.loads(line))
    if found.returncode != 0:
        m.note("pytorch", False, said=found.stderr[-2000:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=SOURCE / "build/release")
    parser.add_argument("--output", type=Path, default=Path("gpu_results.jsonl"))
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    arguments = parser.parse_args()
    arguments.build, arguments.output = arguments.build.resolve(), arguments.output.resolve()
    with tempfile.TemporaryDirectory(prefix="kangpt-gpu-") as folder:
        m = Measurement(arguments, Path(folder))
        m.note("gpus", count=m.gpus, time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        if m.gpus == 0:
            print("there is no GPU here, so there is nothing to measure", file=sys.stderr)
            return 2
        m.prepare(200_000 if m.quick else 20_000_000)
        for part in (operations, workplace, digests, recovery, speed, pytorch):
            try:
                part(m)
            except (subprocess.TimeoutExpired, OSError, KeyError, ValueError) as error:
                m.note(part.__name__, False, said=str(error))
        return 0 if m.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
