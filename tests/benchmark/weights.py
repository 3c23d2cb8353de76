"""Reads .safetensors files of fp32 tensors (https://github.com/huggingface/safetensors)."""
import json
import struct

import numpy

VOCABULARY, CHANNELS, TIME, LAYERS, HEADS, HEAD_DIM, TERMS = 50257, 128, 64, 16, 8, 2, 9
SEQUENCES = 16
FEATURES = HEADS * HEAD_DIM
LEARNING_RATE, BETA1, BETA2, EPSILON, WEIGHT_DECAY = 1e-5, 0.9, 0.999, 1e-8, 1e-3


def read_weights(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = numpy.frombuffer(data[begin:end], dtype=numpy.float32).reshape(entry["shape"])
    return tensors


def read_batch(path):
    """Inputs and targets, each [SEQUENCES, TIME]: the first rows of the file."""
    rows = numpy.fromfile(path, dtype=numpy.int64).reshape(-1, TIME + 1)[:SEQUENCES]
    return rows[:, :-1].copy(), rows[:, 1:].copy()
