#!/usr/bin/env python3
"""Repeats the training runs behind configs/RESULTS.md: what helps a network learn, and what each mixer is worth.

    kangpt_preprocess --input train.txt --validation valid.txt --output data/stories
    tests/learning/experiments.py list
    tests/learning/experiments.py run --data data/stories quality-kan-1      # by name, or a group such as `quality`
    tests/learning/experiments.py table quality                              # of the runs that have ended
    tests/learning/experiments.py speed --data data/stories                  # the mixers in turns
    tests/learning/experiments.py steps --data data/stories                  # the feed-forward parts in turns
    tests/learning/experiments.py mixers > configs/mixers.json               # what mixer_figure.py draws
    tests/learning/experiments.py vocabularies --data data/stories --minutes 10  # steps in that time; before their runs
    tests/learning/experiments.py run --data data/stories long-quality-1     # 20,000 steps, eight epochs: hours
    tests/learning/experiments.py table long batch nanogpt                   # of those under way too, as far as they are
    tests/learning/experiments.py curves long > curves.json                  # validation losses over the steps

The runs of `vocabulary` and `epoch-own` read data/stories-2048 and so on beside data/stories, made with --train-vocabulary
2048 and so on. Every run takes the openings (up to 64 tokens) of 16 stories a step on one rank with one thread, and is
validated on the opening of every story of the validation split, if nothing else is said. nanogpt_recipe.py is the
comparison in PyTorch, which `table` and `curves` show where it is kept in --runs as nanogpt-NAME. A run that was stopped
goes on; one that has ended is not repeated. Needs the standard library and the built programs.
"""
import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMON = {
    "run.device": "CPU", "run.threads": 1, "data.mode": "STORY", "data.sequence_length": 64, "train.batch_size": 16,
    "log.validation_batches": 0, "log.validation_interval_steps": 0, "log.tensorboard": "false",
    "fault.desync_interval_steps": 0,
}
REFERENCE = {  # what PyTorch was measured with: the reference network at a learning rate that suits it better
    "optimizer.learning_rate": 1e-3, "optimizer.schedule": "COSINE", "optimizer.warmup_steps": 200,
    "optimizer.minimum_learning_rate": 1e-4, "train.steps": 1000,
}
IN_BFLOAT16 = {"train.precision": "BF16"}  # to save time
MLP_RATES = {  # the best found for it
    "optimizer.embedding_learning_rate_factor": 30, "optimizer.layer_learning_rate_factor": 0.6,
}
NETWORKS = {
    "kan": {},
    # 81,854 parameters a layer; a KAN of degree 4: 81,920
    "mlp": {**MLP_RATES, "model.feed_forward": "MLP", "model.mlp_hidden": 318},
    "hybrid": {"model.feed_forward": "HYBRID", "model.mlp_hidden": 318},
}
# Feed-forward parts beside each other, each with about 82,000 parameters a layer where its width decides that
FEED_FORWARDS = {
    "gelu": NETWORKS["mlp"],
    "swiglu": {**MLP_RATES, "model.feed_forward": "SWIGLU", "model.mlp_hidden": 213},  # 81,792
    "grouped": {**MLP_RATES, "model.feed_forward": "GROUPED_KAN", "model.mlp_hidden": 320, "model.kan_groups": 8},
    "rational": {**MLP_RATES, "model.feed_forward": "RATIONAL_KAN", "model.mlp_hidden": 320, "model.kan_groups": 8},
}
FEED_FORWARDS |= {f"grouped-degree{degree}": {**FEED_FORWARDS["grouped"], "model.kan_degree": degree} for degree in (2, 8)}
# A KAN layer has 128 x 128 x (degree + 1) parameters; an MLP of `width` has as many
for degree, width in ((2, 191), (3, 255), (4, 318), (5, 382), (6, 446), (7, 510), (8, 573)):
    FEED_FORWARDS[f"kan-degree{degree}"] = {"model.kan_degree": degree}
    FEED_FORWARDS[f"gelu-like-degree{degree}"] = {**NETWORKS["mlp"], "model.mlp_hidden": width}
# What quality.textproto says of any network; the rest of it are the built-in settings, whatever the mixer
LIKE_QUALITY = {"model.final_norm": "false", "train.steps": 1000}
# With the built-in optimizer, Muon too: offsets of DEFORMABLE_CONV settle at about 1 / max_offset
BEST_MIXERS = {"deformable_conv": {"optimizer.offset_learning_rate_factor": 0.03}}
IN_TURNS = {
    "attention-convmod": "[ATTENTION, CONVMOD, CONVMOD, CONVMOD]",
    "attention-separable": "[ATTENTION, SEPARABLE_CONV, SEPARABLE_CONV, SEPARABLE_CONV]",
}
MLP_OF_THE_REFERENCE = {"model.feed_forward": "MLP", "model.mlp_hidden": 768}
WITHOUT_MUON = {"optimizer.muon_learning_rate": 0}
# quality.textproto as it was before the token embedding had a rate of its own
ONE_TABLE_RATE = {
    **WITHOUT_MUON, "model.final_norm": "true", "optimizer.embedding_learning_rate_factor": 1, "optimizer.beta2": 0.95,
    "optimizer.layer_learning_rate_factor": 0.3, "optimizer.kan_learning_rate_factor": 0.2,
}
DEGREE_8 = {**ONE_TABLE_RATE, "model.kan_degree": 8, "optimizer.kan_constant_rate_factor": 1}
ONE_RATE = {**DEGREE_8, "optimizer.layer_learning_rate_factor": 1, "optimizer.kan_learning_rate_factor": 1}
CHANGES = {  # to quality.textproto
    "without-muon-kan": WITHOUT_MUON,
    "without-muon-mlp": {**NETWORKS["mlp"], **WITHOUT_MUON},
    "one-table-rate-kan": {**ONE_TABLE_RATE, **IN_BFLOAT16},
    "one-table-rate-mlp": {**NETWORKS["mlp"], **ONE_TABLE_RATE, **IN_BFLOAT16},
    "no-final-norm-kan": {**ONE_TABLE_RATE, **IN_BFLOAT16, "model.final_norm": "false"},
    "no-final-norm-mlp": {**NETWORKS["mlp"], **ONE_TABLE_RATE, **IN_BFLOAT16, "model.final_norm": "false"},
    "degree-8": DEGREE_8,
    "degree-8-mlp573": {**DEGREE_8, "model.feed_forward": "MLP", "model.mlp_hidden": 573},  # as many parameters
    "kan-rate-as-layers": {**DEGREE_8, "optimizer.kan_learning_rate_factor": 1},
    "one-rate": {**ONE_RATE, "optimizer.learning_rate": 6e-3, "optimizer.minimum_learning_rate": 6e-5},
    "head-dim-2": {**IN_BFLOAT16, "model.head_dim": 2},
}
# All of the training text once, not the openings of its stories
EPOCH = {**IN_BFLOAT16, "data.mode": "PACKED", "train.steps": 2386}
HALF_THE_RATES = {"optimizer.learning_rate": 4e-3, "optimizer.muon_learning_rate": 0.01}
EPOCHS = {
    "kan": {}, "mlp": NETWORKS["mlp"], "kan-final-norm": {"model.final_norm": "true"}, "kan-half-rates": HALF_THE_RATES,
    "kan-half-rates-final-norm": {**HALF_THE_RATES, "model.final_norm": "true"}, "kan-without-muon": WITHOUT_MUON,
}
# The same with vocabularies of the text's own: so many steps of 1,024 tokens read all of it once
OWN_EPOCHS = {4096: 2438, 8192: 2358}
OWN_WINDOWS = {"": {}, "-windows-of-256": {"data.sequence_length": 256, "train.batch_size": 4}}
# Eight times all of the training text; what helps there may be another thing than in one epoch
LONG = {
    **IN_BFLOAT16, "data.mode": "PACKED", "train.steps": 20000, "log.validation_interval_steps": 1000,
    "checkpoint.keep_best": "true",
}
QUARTER_OF_THE_RATES = {"optimizer.learning_rate": 2e-3, "optimizer.muon_learning_rate": 0.005}
DROPOUT = {"model.dropout": 0.1}
CONSTANT_THEN_DOWN = {"optimizer.schedule": "WSD", "optimizer.decay_steps": 4000}
AVERAGE = {"optimizer.ema_decay": 0.999}
LONG_RUNS = {
    "quality": {}, "half-rates": HALF_THE_RATES, "quarter-rates": QUARTER_OF_THE_RATES,
    "dropout": DROPOUT, "dropout-half-rates": {**DROPOUT, **HALF_THE_RATES},
    "weight-decay-0.01": {"optimizer.weight_decay": 0.01}, "weight-decay-0.1": {"optimizer.weight_decay": 0.1},
    "wsd": CONSTANT_THEN_DOWN, "dropout-wsd": {**DROPOUT, **CONSTANT_THEN_DOWN},
    "average": AVERAGE, "dropout-average": {**DROPOUT, **AVERAGE},
    # the average instead of a decay of the rates
    "dropout-average-constant": {**DROPOUT, **AVERAGE, **HALF_THE_RATES, "optimizer.schedule": "CONSTANT"},
}
# All of the training text once, in batches of other sizes: (sequences, tokens of each, steps), at multiples of the rates
BATCHES = ((16, 64, 2386), (64, 64, 596), (64, 256, 149))
BATCH_RATES = (0.5, 1, 2)
HALF_AS_LONG = {"train.steps": 500, "optimizer.warmup_steps": 30}
MIXER_SEEDS = (1, 2)
GPT2 = 50257
VOCABULARIES = (2048, 4096, 8192, 16384, GPT2)
MIXERS = ("attention", "convmod", "conv", "dilated_conv", "separable_conv", "deformable_conv")


def experiments():
    """Name -> (configuration, overrides)."""
    result = {}
    for order, name in (("NONE", "file-order"), ("SAMPLE", "shuffled")):
        for part, network in (("kan", {}), ("mlp768", MLP_OF_THE_REFERENCE)):
            result[f"reference-{part}-{name}"] = ("upstream_parity", {**REFERENCE, **network, "data.shuffle": order})
    for seed in (1, 2, 3):
        for part, overrides in NETWORKS.items():
            result[f"quality-{part}-{seed}"] = ("quality", {**overrides, "run.seed": seed})
    for name, overrides in CHANGES.items():
        for seed in (1, 2):
            result[f"{name}-{seed}"] = ("quality", {**overrides, "run.seed": seed})
    for seed in (1, 2):
        result[f"epoch-reference-{seed}"] = ("upstream_parity", {**REFERENCE, **EPOCH, "run.seed": seed})
        for part, overrides in EPOCHS.items():
            result[f"epoch-{part}-{seed}"] = ("quality", {**overrides, **EPOCH, "run.seed": seed})
        for size, steps in OWN_EPOCHS.items():
            for name, windows in OWN_WINDOWS.items():
                result[f"epoch-own-{size}{name}-{seed}"] = (
                    "quality", {**EPOCH, **windows, "train.steps": steps, "run.seed": seed})
    for seed in (1, 2):
        for name, overrides in LONG_RUNS.items():
            result[f"long-{name}-{seed}"] = ("quality", {**LONG, **overrides, "run.seed": seed})
        for size, length, steps in BATCHES:
            for factor in BATCH_RATES:
                result[f"batch-{size}x{length}-rates-{factor}-{seed}"] = ("quality", {
                    **EPOCH, "train.batch_size": size, "data.sequence_length": length, "train.steps": steps,
                    "optimizer.warmup_steps": max(10, 60 * steps // 2386), "optimizer.learning_rate": 8e-3 * factor,
                    "optimizer.minimum_learning_rate": 8e-5 * factor, "optimizer.muon_learning_rate": 0.02 * factor,
                    "run.seed": seed})
    for mixer in MIXERS:
        # Muon would update most of CONVMOD's weights and none of CONV's
        overrides = {**LIKE_QUALITY, **WITHOUT_MUON, **IN_BFLOAT16, **HALF_AS_LONG}
        for seed in MIXER_SEEDS:
            result[f"mixer-{mixer}-{seed}"] = (f"tinystories_{mixer}", {**overrides, "run.seed": seed})
    for seed in (1, 2, 3):
        for part, overrides in FEED_FORWARDS.items():
            result[f"feed-forward-{part}-{seed}"] = ("quality", {**overrides, **IN_BFLOAT16, "run.seed": seed})
        for mixer in MIXERS:
            overrides = {**LIKE_QUALITY, **IN_BFLOAT16, **BEST_MIXERS.get(mixer, {}), "run.seed": seed}
            result[f"best-mixer-{mixer}-{seed}"] = (f"tinystories_{mixer}", overrides)
        for name, mixers_by_turns in IN_TURNS.items():
            overrides = {"model.mixer": mixers_by_turns, **IN_BFLOAT16, "run.seed": seed}
            result[f"best-mixer-turns-{name}-{seed}"] = ("quality", overrides)
    for seed in (1, 2):
        for size in VOCABULARIES:
            result[f"vocabulary-{size}-{seed}"] = ("quality", {"data.mode": "PACKED", "run.seed": seed})
    return result


def vocabulary_fields(arguments, name):
    """What a run with a vocabulary of its own trains on; one of `vocabulary` also for how long, as far as `vocabularies` has
    measured that."""
    if name.startswith("epoch-own-"):
        return {"data.directory": f"{arguments.data}-{name.split('-')[2]}"}
    if not name.startswith("vocabulary-"):
        return {}
    size = int(name.split("-")[1])
    fields = {} if size == GPT2 else {"data.directory": f"{arguments.data}-{size}"}
    measured = Path(arguments.runs, "vocabularies.json")
    if measured.exists():
        fields["train.steps"] = json.loads(measured.read_text(encoding="utf-8"))[str(size)]["steps"]
    elif arguments.what == "run":
        sys.exit(f"{measured} is missing, which says how many steps {name} takes: run `vocabularies` first")
    return fields


def chosen(patterns):
    found = [name for name in experiments() if any(name == p or name.startswith(p + "-") for p in patterns)]
    if patterns and not found:
        sys.exit(f"no experiment is called {' or '.join(patterns)}; `list` names them all")
    return found if patterns else list(experiments())


def command(arguments, name, extra):
    configuration, overrides = experiments()[name]
    fields = {**COMMON, "data.directory": arguments.data, "run.directory": f"{arguments.runs}/{name}", **overrides,
              **vocabulary_fields(arguments, name), **extra}
    line = [f"{arguments.programs}/kangpt_dist", "--config", f"{ROOT}/configs/{configuration}.textproto"]
    for field, value in fields.items():
        line += ["--set", f"{field}={value}"]
    return line


def run(arguments):
    for name in chosen(arguments.names):
        if Path(arguments.runs, name, "summary.json").exists():
            continue
        print(f"== {name}", flush=True)
        line = ["mpirun", "-np", "1", "--bind-to", "none", *command(arguments, name, {})]
        if code := subprocess.run(line, check=False).returncode:
            sys.exit(f"{name} ended with exit code {code}; the same command goes on from its last checkpoint")


def summary(arguments, name):
    """Of a run that has ended, else None."""
    folder = Path(arguments.runs, name)
    if not (folder / "summary.json").exists():
        return None
    return json.loads((folder / "summary.json").read_text(encoding="utf-8")) | newest(folder)


def validations(folder):
    """Lines of metrics.jsonl, as far as a run has come."""
    if not (folder / "metrics.jsonl").exists():
        return []
    return [line for line in metrics(folder) if "validation_loss" in line]


def newest(folder):
    """What the lines of a run say of its end so far, and of its best; {} before its first validation."""
    found = validations(folder)
    if not found:
        return {}
    best = min(found, key=lambda line: line["validation_loss"])
    return {"steps": found[-1]["step"], "validation_loss": found[-1]["validation_loss"],
            "bits_per_byte": found[-1]["bits_per_byte"], "best_step": best["step"],
            "best_bits_per_byte": best["bits_per_byte"],
            "tokens": max(line.get("tokens", 0) for line in metrics(folder))}


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def table(arguments):
    print("| run | steps | tokens | validation loss | bits a byte | best, at step |\n|---|---|---|---|---|---|")
    for name in with_recipes(arguments):
        folder = Path(arguments.runs, name)
        if result := newest(folder):
            under_way = "" if (folder / "summary.json").exists() else " so far"
            print(f"| {name} | {result['steps']:,}{under_way} | {result['tokens']:,} | {result['validation_loss']:.3f} | "
                  f"{result['bits_per_byte']:.3f} | {result['best_bits_per_byte']:.3f}, {result['best_step']:,} |")


def with_recipes(arguments):
    """The experiments asked for, and the runs of nanogpt_recipe.py if these are."""
    patterns = [name for name in arguments.names if not name.startswith("nanogpt")]
    names = chosen(patterns) if patterns or not arguments.names else []
    wants_recipes = len(patterns) < len(arguments.names) or not arguments.names
    return names + sorted(path.name for path in Path(arguments.runs).glob("nanogpt*") if wants_recipes)


def curves(arguments):
    """Steps, nats a token and bits a byte of each run's validations so far."""
    found = {name: [[line["step"], line["validation_loss"], line["bits_per_byte"]]
                    for line in validations(Path(arguments.runs, name))] for name in with_recipes(arguments)}
    print(json.dumps({name: points for name, points in found.items() if points}, indent=1))


def parameters(arguments, name):
    plan = subprocess.run([*command(arguments, name, {"run.directory": f"{arguments.runs}/plan"}), "--plan"],
                          check=True, capture_output=True, text=True).stdout
    return int(re.search(r"model +([\d,]+) parameters", plan).group(1).replace(",", ""))


def measured(arguments, folder, name, fields):
    """Trains a few steps without a checkpoint to go on from, for their time."""
    extra = {"run.directory": folder, "log.validation_batches": 1, "checkpoint.resume": "NEVER", "train.precision": "FP32",
             **fields}
    subprocess.run(["mpirun", "-np", "1", "--bind-to", "none", *command(arguments, name, extra)],
                   check=True, capture_output=True)


def speed(arguments):
    """Median tokens a second of each mixer, the mixers taking turns, into RUNS/speed.json."""
    seconds = {mixer: [] for mixer in MIXERS}
    for turn in range(arguments.turns):
        for mixer in MIXERS:
            folder = Path(arguments.runs, f"speed-{turn}-{mixer}")
            measured(arguments, folder, f"mixer-{mixer}-1", {"train.steps": 8, "log.interval_steps": 1})
            seconds[mixer] += [line["step_seconds"] for line in metrics(folder)
                               if line["step"] > 2 and "step_seconds" in line]
            print(mixer, [round(value, 3) for value in seconds[mixer][-6:]], flush=True)
    rates = {mixer: round(1008 / statistics.median(values)) for mixer, values in seconds.items()}
    Path(arguments.runs, "speed.json").write_text(json.dumps(rates), encoding="utf-8")


def steps_of_feed_forwards(arguments):
    """Median seconds of a step with each feed-forward part, and against the MLP of as many parameters, in turns."""
    parts = [part for part in FEED_FORWARDS if not part.startswith("gelu-")]
    rivals = {part: part.replace("kan-", "gelu-like-") if part.startswith("kan-") else "gelu" for part in parts}
    seconds = {part: [] for part in {*parts, *rivals.values()}}
    for turn in range(arguments.turns):
        for part, values in sorted(seconds.items()):
            folder = Path(arguments.runs, f"speed-{turn}-{part}")
            measured(arguments, folder, f"feed-forward-{part}-1", {"train.steps": 8, "log.interval_steps": 1})
            values += [line["step_seconds"] for line in metrics(folder) if line["step"] > 2 and "step_seconds" in line]
    medians = {part: statistics.median(values) for part, values in seconds.items()}
    print("| feed-forward | seconds a step | MLP of its size | ratio |\n|---|---|---|---|")
    for part in parts:
        rival = medians[rivals[part]]
        print(f"| {part} | {medians[part]:.3f} | {rival:.3f} | {medians[part] / rival:.2f} |")


def processor_seconds(arguments, folder, name, steps):
    """Of all processes: what else runs on the machine hardly changes them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured(arguments, folder, name, {"train.steps": steps})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def vocabularies(arguments):
    """How many steps each vocabulary makes in --minutes of one processor, into RUNS/vocabularies.json."""
    few, more = 2, 12  # start and end of a run take as long with either
    seconds = {size: [] for size in VOCABULARIES}
    for turn in range(arguments.turns):
        for size in VOCABULARIES:
            name = f"vocabulary-{size}-1"
            folder = f"{arguments.runs}/speed-{turn}-{name}"
            times = [processor_seconds(arguments, f"{folder}-{steps}", name, steps) for steps in (few, more)]
            seconds[size].append((times[1] - times[0]) / (more - few))
            print(name, [round(value, 3) for value in seconds[size]], flush=True)
    result = {size: {"step_seconds": statistics.median(values),
                     "steps": round(60 * arguments.minutes / statistics.median(values))} for size, values in seconds.items()}
    Path(arguments.runs, "vocabularies.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def reach_of_a_layer(mixer):
    """Tokens of the past that one layer sees beside the present one, on average over the layers; 63: the whole row."""
    text = (ROOT / f"configs/tinystories_{mixer}.textproto").read_text(encoding="utf-8")
    if mixer == "attention":
        return 63
    if mixer == "deformable_conv":
        return float(re.search(r"max_offset: (\d+)", text).group(1))
    dilation = re.search(r"dilation: \[(.*?)\]", text)
    gaps = [int(gap) for gap in dilation.group(1).split(",")] if dilation else [1]
    return (int(re.search(r"kernel_size: (\d+)", text).group(1)) - 1) * statistics.mean(gaps)


def mixers(arguments):
    rates = json.loads(Path(arguments.runs, "speed.json").read_text(encoding="utf-8"))
    rows = []
    for mixer in MIXERS:
        names = [f"mixer-{mixer}-{seed}" for seed in MIXER_SEEDS]
        results = [summary(arguments, name) or sys.exit(f"run {name} first") for name in names]
        rows.append({"mixer": mixer.upper(), "parameters": parameters(arguments, names[0]),
                     "tokens_per_second": rates[mixer], "reach_of_a_layer": reach_of_a_layer(mixer),
                     "tokens": results[0]["tokens"],
                     "validation_losses": [round(result["validation_loss"], 3) for result in results]})
    print(json.dumps(rows, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="runs/learning", help="where the runs are kept")
    parser.add_argument("--programs", default=str(ROOT / "build/release/bin"))
    parser.add_argument("--data", default="data/tinystories", help="what kangpt_preprocess wrote")
    parser.add_argument("--turns", type=int, default=3, help="of `speed`, `steps` and `vocabularies`")
    parser.add_argument("--minutes", type=float, default=10, help="of one processor, for each run of `vocabulary`")
    parser.add_argument("what", choices=("list", "run", "table", "curves", "speed", "steps", "mixers", "vocabularies"))
    parser.add_argument("names", nargs="*", help="experiments or groups; none: all")
    arguments = parser.parse_intermixed_args()
    if arguments.what == "list":
        print("\n".join(chosen(arguments.names)))
        return
    commands = {"run": run, "table": table, "curves": curves, "speed": speed, "steps": steps_of_feed_forwards,
                "mixers": mixers, "vocabularies": vocabularies}
    commands[arguments.what](arguments)


if __name__ == "__main__":
    main()
