#!/usr/bin/env python3
"""PyTorch's and JAX's side of compare.py: reads numbers of steps, answers with JSON as kangpt_contestant does.

    contestant.py eager|tuned|compiled|jax --weights F.safetensors --batch F --threads N
"""
import argparse
import importlib
import json
import resource
import sys
import time

from weights import read_batch, read_weights


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("eager", "tuned", "compiled", "jax"))
    parser.add_argument("--weights", required=True)
    parser.add_argument("--batch", required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    module = importlib.import_module("jax_contestant" if arguments.kind == "jax" else "pytorch_contestants")
    contestant = module.Contestant(arguments.kind, read_weights(arguments.weights), read_batch(arguments.batch),
                                   arguments.threads)
    for line in sys.stdin:
        answer = {"seconds": [], "losses": []}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(int(line)):
            start = time.perf_counter()
            answer["losses"].append(contestant.step())
            answer["seconds"].append(time.perf_counter() - start)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        answer["page_faults"] = usage.ru_minflt - before
        answer["peak_megabytes"] = usage.ru_maxrss * 1024 / 1e6
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
