#!/usr/bin/env python3
"""Speed of `kangpt_vocabulary train` beside the trainer of Hugging Face's tokenizers, one thread each, on the same text.

    tests/data_pipeline/vocabulary_benchmark.py build/release --text train.txt [--megabytes 1000] [--size 8192]

The text is that file again and again, each time with other words in its stories, so that there are many distinct ones. Both
have to find the same merges. Processor seconds are compared: other work on the machine hardly changes them.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
END = "\n<|endoftext|>\n"
SYLLABLES = [a + b for a in "bdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "ay")]


def made_up_word(chance):
    """A few of them are frequent, most are rare."""
    rank, word = int(chance.paretovariate(0.7)), ""
    while rank:
        rank, syllable = divmod(rank, len(SYLLABLES))
        word += SYLLABLES[syllable]
    return word


def write_text(source, target, megabytes):
    stories = [(story, story.split()) for story in source.read_text(encoding="utf-8").split(END)]
    chance = random.Random(1)
    with target.open("w", encoding="utf-8") as file:
        written = 0
        while written < megabytes * 1e6:
            for story, words in stories:
                for word in chance.choices(words, k=2) if words else ():
                    story = story.replace(word, made_up_word(chance))
                written += file.write(story + END)
                if written >= megabytes * 1e6:
                    break


def measure(name, command):
    """Runs it and says what it took."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                               env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"})
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name} failed")
    processor = used.ru_utime + used.ru_stime
    print(f"{name:<24}{processor:9.2f} processor seconds {time.perf_counter() - start:9.2f} s "
          f"{used.ru_maxrss / 1024:9,.0f} MiB of memory", flush=True)
    return processor


def train_with_tokenizers(text, size, output):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    def stories():
        lines = []
        with open(text, encoding="utf-8", newline="\n") as file:
            for line in file:
                if line == "<|endoftext|>\n":
                    yield "".join(lines).strip(" \t\n\v\f\r")
                    lines.clear()
                else:
                    lines.append(line)

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(stories(), trainers.BpeTrainer(
        vocab_size=int(size), special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.save(output)


def merges(file):
    found = json.loads(file.read_text(encoding="utf-8"))["model"]["merges"]
    return [" ".join(merge) if isinstance(merge, list) else merge for merge in found]


def main():
    if sys.argv[1] == "train-with-tokenizers":
        return train_with_tokenizers(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="build folder with the programs")
    parser.add_argument("--text", type=Path, required=True, help="stories, each followed by a line <|endoftext|>")
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--size", default="8192")
    parser.add_argument("--python", default=sys.executable, help="a Python that has tokenizers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.build) as folder:
        text, ours, theirs = (Path(folder, name) for name in ("text", "ours.json", "theirs.json"))
        write_text(arguments.text, text, arguments.megabytes)
        print(f"{text.stat().st_size / 1e6:,.0f} MB, {arguments.size} tokens, one thread each")
        first = measure("kangpt_vocabulary train", [arguments.build / "bin/kangpt_vocabulary", "train", "--input", text,
                                                    "--size", arguments.size, "--workers", "1", "--output", ours])
        second = measure("tokenizers", [arguments.python, "-B", HERE / "vocabulary_benchmark.py", "train-with-tokenizers",
                                        text, arguments.size, theirs])
        if merges(ours) != merges(theirs):
            sys.exit("the merges differ")
        print(f"the same {len(merges(ours)):,} merges in {second / first:.1f} times less processor time", flush=True)


if __name__ == "__main__":
    main()
