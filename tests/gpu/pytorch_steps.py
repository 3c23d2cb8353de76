"""Steps of the reference network in PyTorch on a GPU: a JSON line for each way to write it, as soon as it is timed."""
import json
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmark"))
from pytorch_contestants import DegreeMajorKan, Kan, Network  # noqa: E402
from weights import TIME, VOCABULARY  # noqa: E402

TOKENS, WARM_UP, STEPS = 16384, 10, 30


def seconds_of_steps(kan, compiled, rounds):
    torch.manual_seed(1)
    network = Network(kan).cuda()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    forward = torch.compile(network) if compiled else network
    ids = torch.randint(VOCABULARY, (TOKENS // TIME, TIME), device="cuda")
    seconds = []
    for step in range(WARM_UP + STEPS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=rounds):
            loss = forward(ids, ids.view(-1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - begin)
    return seconds


def main():
    for kan, compiled, rounds in ((Kan, False, False), (DegreeMajorKan, False, True), (DegreeMajorKan, True, True)):
        seconds = seconds_of_steps(kan, compiled, rounds)
        print(json.dumps({"kan": kan.__name__, "compiled": compiled, "precision": "BF16" if rounds else "FP32",
                          "tokens_per_second": TOKENS / statistics.median(seconds), "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
