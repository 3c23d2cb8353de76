#!/usr/bin/env python3
"""Speed of the data pipeline beside tiktoken and Hugging Face's tokenizers: all parts in turn, several rounds.

    tests/data_pipeline/benchmark.py build/release [--rounds N] [--json FILE]     (make bench)

Texts: made-up stories, and the real ones of ../shared/data where they are there, repeated to some size. Everything is
in the page cache. tiktoken's token ids are compared with those in the shards. The Python packages go into a virtual
environment in the build folder; what can't be installed is left out.
"""
import argparse
import concurrent.futures
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT_BYTES = 1_000_000_000
ENCODER_BYTES = 200_000_000  # of it, for the encoder in memory
PYTHON_BYTES = 10_000_000    # of it, for the tokenizers in Python
PIECE_BYTES = 4 << 20        # written to the disk at a time
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
END_OF_TEXT = "<|endoftext|>"


def enter_environment(folder):
    """Goes on in a virtual environment with the packages, as far as they can be installed."""
    if sys.prefix == str(folder):
        return
    if not (folder / "bin/python").exists():
        if subprocess.run([sys.executable, "-m", "venv", folder]).returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            return print("Python can't make a virtual environment here: without other tokenizers", file=sys.stderr)
        for package in ("h5py", "tiktoken", "tokenizers"):
            if subprocess.run([folder / "bin/pip", "-q", "install", package]).returncode != 0:
                print(f"{package} can't be installed here: left out", file=sys.stderr)
    os.execv(folder / "bin/python", [folder / "bin/python", *sys.argv])


class Vocabulary:
    """vocab.bpe: bytes in GPT-2's order, each with a character of its own, then one merge of such characters a line."""

    def __init__(self, path):
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        order = printable + [b for b in range(256) if b not in printable]
        characters = [chr(c) for c in printable + [256 + i for i in range(256 - len(printable))]]
        byte_of = dict(zip(characters, order))
        self.merges = [tuple(line.split(" ")) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
        names = characters + ["".join(pair) for pair in self.merges]
        self.id_of_name = {name: i for i, name in enumerate(names)}
        self.id_of_bytes = {bytes(byte_of[c] for c in name): i for i, name in enumerate(names)}


class Tiktoken:
    name = "tiktoken"

    def __init__(self, vocabulary):
        import tiktoken
        self.name += " " + tiktoken.__version__
        self.encode = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=vocabulary.id_of_bytes,
                                        special_tokens={END_OF_TEXT: 50256}).encode_ordinary


class HuggingFace:
    name = "tokenizers"

    def __init__(self, vocabulary):
        import tokenizers
        self.name += " " + tokenizers.__version__
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary.id_of_name, vocabulary.merges))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.encode = lambda story: tokenizer.encode(story, add_special_tokens=False).ids


def python_tokenizers(vocabulary):
    found = []
    for kind in (Tiktoken, HuggingFace):
        try:
            found.append(kind(vocabulary))
        except ImportError:
            print(f"without {kind.name}: it is not installed", file=sys.stderr)
    return found


def first_bytes(path, count):
    """Of whole stories."""
    with path.open("rb") as file:
        text = file.read(count)
    return text[:text.rindex(b"\n" + END_OF_TEXT.encode())]


def first_stories(path):
    text = first_bytes(path, PYTHON_BYTES).decode()
    stories = (story.strip(" \t\n\v\f\r") for story in text.split("\n" + END_OF_TEXT + "\n"))
    return [story for story in stories if story]


def tokens_in_shard(folder, count):
    import h5py
    with h5py.File(folder / "train-00000.h5") as shard:
        return shard["tokens"][:count].tolist()


def google_benchmark(program, selection, **environment):
    command = [program, "--benchmark_format=json", "--benchmark_filter=" + selection, "--benchmark_min_time=0.2"]
    result = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
    return {entry["name"]: entry for entry in json.loads(result.stdout)["benchmarks"]}


def disk_rate(path, count):
    """Megabytes a second that the disk takes, the time of the fsync included."""
    piece = os.urandom(PIECE_BYTES)
    start = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(max(1, count // PIECE_BYTES)):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    rate = path.stat().st_size / 1e6 / seconds
    path.unlink()
    return rate


class Rounds:
    """Measures every part of the pipeline on one text, once a round."""

    def __init__(self, build, work, text, tokenizers):
        self.build, self.work, self.text, self.tokenizers = build, work, text, tokenizers
        self.output = work / "data"
        self.stories = first_stories(text)
        self.sample = work / "sample"
        self.sample.write_bytes(first_bytes(text, ENCODER_BYTES))
        self.parts = {}  # name -> (unit, [values])

    def add(self, name, unit, value):
        self.parts.setdefault(name, (unit, []))[1].append(value)

    def seconds(self, *arguments):
        start = time.perf_counter()
        subprocess.run([self.build / "bin/kangpt_preprocess", *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    def encode(self, selection):
        return google_benchmark(self.build / "bench/encoder_benchmark", selection,
                                KANGPT_BENCHMARK_TEXT=str(self.sample))

    def encoder(self):
        one, two = "BM_Encode/real_time/threads:1", "BM_Encode/real_time/threads:2"
        found = self.encode(".")
        for name, key in (("UTF-8 check", "BM_ValidateUtf8"), ("scanner, scalar", "scan/scalar"),
                          ("scanner, AVX2", "scan/avx2"), ("encoder", one), ("encoder, two threads", two)):
            self.add(name, "MB/s", found[key]["bytes_per_second"] / 1e6)
        with concurrent.futures.ThreadPoolExecutor(2) as processes:
            pair = list(processes.map(self.encode, [one + "$"] * 2))
        self.add("encoder, two processes at once", "MB/s", sum(f[one]["bytes_per_second"] for f in pair) / 1e6)

    def program(self):
        megabytes = self.text.stat().st_size / 1e6
        for workers in (2, 1):
            shutil.rmtree(self.output, ignore_errors=True)
            seconds = self.seconds("--workers", str(workers), "--input", self.text, "--output", self.output)
            self.add(f"kangpt_preprocess --workers {workers}", "MB/s", megabytes / seconds)
        shards = sum(shard.stat().st_size for shard in self.output.glob("*.h5"))
        self.add("the disk, writing its output", "MB/s", disk_rate(self.work / "disk", shards))
        self.add("kangpt_preprocess verify", "MB/s", shards / 1e6 / self.seconds("verify", self.output))

    def loader(self):
        found = google_benchmark(self.build / "bench/loader_benchmark", "RandomWindows")
        for length in (64, 512):
            self.add(f"loader, windows of {length}", "M tokens/s", found[f"BM_RandomWindows/{length}"]["tokens"] / 1e6)

    def tokenizer(self, tokenizer):
        start = time.perf_counter()
        ids = [tokenizer.encode(story) for story in self.stories]
        seconds = time.perf_counter() - start
        self.add(tokenizer.name, "MB/s", sum(len(story.encode()) for story in self.stories) / 1e6 / seconds)
        expected = [token for story in ids for token in [*story, 50256]]
        if expected != tokens_in_shard(self.output, len(expected)):
            sys.exit(f"{tokenizer.name} gives other token ids than the shards have")
        return len(expected)

    def run(self):
        self.encoder()
        self.program()
        self.loader()
        return [self.tokenizer(tokenizer) for tokenizer in self.tokenizers]


def print_table(parts):
    rates = {name: statistics.median(values) for name, (_, values) in parts.items()}
    reference = next((rate for name, rate in rates.items() if name.startswith("tiktoken")), None)
    for name, (unit, values) in parts.items():
        line = f"  {name:<32}{rates[name]:10,.1f} {unit:<11} ({min(values):,.1f} to {max(values):,.1f})"
        if reference and unit == "MB/s" and "verify" not in name and "disk" not in name:
            line += f"  {rates[name] / reference:,.1f} x tiktoken"
        print(line)


def print_ratios(parts):
    def ratio(above, below):
        return statistics.median(a / b for a, b in zip(parts[above][1], parts[below][1]))
    print(f"  kangpt_preprocess --workers 1 runs at {ratio('kangpt_preprocess --workers 1', 'encoder'):.0%} of the "
          f"encoder's rate; two encoding threads make {ratio('encoder, two threads', 'encoder'):.2f} times one, "
          f"two processes {ratio('encoder, two processes at once', 'encoder'):.2f} times")


def texts(build, work):
    """The paths of the texts to measure with, written to `work`."""
    made_up = work / "made-up stories"
    subprocess.run([build / "bin/kangpt_stories", "--bytes", str(TEXT_BYTES), "--output", made_up], check=True)
    yield made_up
    real = REPOSITORY / "../shared/data/tinystories/train.txt"
    if real.exists():
        content = real.read_bytes()
        repeated = work / "TinyStories"
        repeated.write_bytes(content * (TEXT_BYTES // len(content)))
        yield repeated


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="build folder with programs and benchmarks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all values here")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    enter_environment(build / "bench-python")
    cache = Path(os.environ.get("KANGPT_CACHE", Path.home() / ".cache/kangpt"))
    tokenizers = python_tokenizers(Vocabulary(cache / "gpt2/vocab.bpe"))
    work = build / "bench-data"
    work.mkdir(exist_ok=True)
    everything = {}
    try:
        for text in texts(build, work):
            rounds = Rounds(build, work, text, tokenizers)
            compared = [rounds.run() for _ in range(arguments.rounds)][0]
            print(f"{text.name}, {text.stat().st_size / 1e6:.0f} MB, median of {arguments.rounds} rounds (and range); "
                  f"Python: the first {PYTHON_BYTES / 1e6:.0f} MB", flush=True)
            print_table(rounds.parts)
            print_ratios(rounds.parts)
            for tokenizer, count in zip(tokenizers, compared):
                print(f"  {count:,} token ids of {tokenizer.name} are those in the shards")
            everything[text.name] = {name: {"unit": unit, "values": values}
                                     for name, (unit, values) in rounds.parts.items()}
    finally:
        shutil.rmtree(work)
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
