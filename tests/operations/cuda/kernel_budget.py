#!/usr/bin/env python3
"""Holds the kernels for GPUs to a budget: registers a thread, none of them spilled, vectors of 16 bytes where they should be.

    tests/operations/cuda/kernel_budget.py OBJECTS [--nvcc NVCC]    # OBJECTS: the folder with attention.o.resources

Reads what ptxas said of each kernel when it was compiled, for each kind of GPU; with --nvcc also the PTX that it makes of
the files. Prints a table. Exit code 0: all is within the budget; 1: each breach is printed, one a line.
"""
import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[3] / "src/operations/cuda"
ARCHITECTURES = {"sm_80", "sm_90", "sm_100"}
# Registers a thread, at most. A multiprocessor has 65,536: with 64 of them it holds 1,024 threads at once, with 128 half.
REGISTERS = {
    "attend<2, float>": 32, "attend<2, Bfloat16>": 32, "attend<4, float>": 40, "attend<4, Bfloat16>": 40,
    "attend<8, float>": 56, "attend<8, Bfloat16>": 56, "attend<16, float>": 64, "attend<16, Bfloat16>": 64,
    "attend<32, float>": 128, "attend<32, Bfloat16>": 128, "attend_backward<2, float>": 48, "attend_backward<2, Bfloat16>": 48,
    "attend_backward<4, float>": 64, "attend_backward<4, Bfloat16>": 64, "attend_backward<8, float>": 88,
    "attend_backward<8, Bfloat16>": 80, "attend_backward<16, float>": 136, "attend_backward<16, Bfloat16>": 144,
    "attend_backward<32, float>": 248, "attend_backward<32, Bfloat16>": 248,
    "basis_of_rows<1>": 32, "basis_of_rows<4>": 48, "backward_of_rows<1>": 40, "backward_of_rows<4>": 56,
    "pack": 40, "add_up_constants": 80, "add_gradient": 40,
    "classify_row<float>": 40, "classify_row<Bfloat16>": 48,
    "normalise<1, float>": 32, "normalise<1, Bfloat16>": 32, "normalise<2, float>": 32, "normalise<2, Bfloat16>": 32,
    "normalise<4, float>": 40, "normalise<4, Bfloat16>": 40, "normalise<8, float>": 64, "normalise<8, Bfloat16>": 48,
    "normalise<12, float>": 80, "normalise<12, Bfloat16>": 64, "normalise<16, float>": 80, "normalise<16, Bfloat16>": 72,
    "normalise<24, float>": 120, "normalise<24, Bfloat16>": 104, "normalise<32, float>": 128, "normalise<32, Bfloat16>": 104,
    "normalise_backward<1, float>": 88, "normalise_backward<1, Bfloat16>": 72, "normalise_backward<2, float>": 96,
    "normalise_backward<2, Bfloat16>": 88, "normalise_backward<4, float>": 128, "normalise_backward<4, Bfloat16>": 104,
    "normalise_backward<8, float>": 160, "normalise_backward<8, Bfloat16>": 128, "normalise_backward<12, float>": 168,
    "normalise_backward<12, Bfloat16>": 144, "normalise_backward<16, float>": 176, "normalise_backward<16, Bfloat16>": 160,
    "normalise_backward<24, float>": 216, "normalise_backward<24, Bfloat16>": 192, "normalise_backward<32, float>": 248,
    "normalise_backward<32, Bfloat16>": 224, "copy_rows<1, float>": 40, "copy_rows<1, Bfloat16>": 32,
    "copy_rows<2, float>": 56, "copy_rows<2, Bfloat16>": 32, "copy_rows<4, float>": 88, "copy_rows<4, Bfloat16>": 32,
    "copy_rows<8, float>": 56, "copy_rows<8, Bfloat16>": 48, "copy_rows<12, float>": 56, "copy_rows<12, Bfloat16>": 48,
    "copy_rows<16, float>": 64, "copy_rows<16, Bfloat16>": 56, "copy_rows<24, float>": 64, "copy_rows<24, Bfloat16>": 72,
    "copy_rows<32, float>": 80, "copy_rows<32, Bfloat16>": 88,
    "take_all<float>": 40, "take_all<Bfloat16>": 40, "add_parts": 32,
    "map<GeluOf>": 40, "map<GeluGradientOf>": 40, "round_all": 32, "look_up<1>": 32, "look_up<4>": 32,
    "add_up_rows": 40, "add_up_parts": 32,
    "take_directions": 32, "add_matrix_squares": 32, "copy_matrices": 40, "change_parameters": 32,
    "square<false>": 64, "square<true>": 64, "multiply_copies": 64,
    "sum_columns": 40, "sum_in_double": 40,
    "drop_elements": 40, "gate": 40, "gate_backward": 40,
    "apply<ChebyshevOfGroup<5>, 1>": 40, "apply<ChebyshevOfGroup<5>, 4>": 48, "apply<ChebyshevOfGroup<9>, 1>": 40,
    "apply<ChebyshevOfGroup<9>, 4>": 48, "apply<ChebyshevOfGroup<17>, 1>": 48, "apply<ChebyshevOfGroup<17>, 4>": 64,
    "apply<RationalOfGroup, 1>": 40, "apply<RationalOfGroup, 4>": 48,
    "apply_backward<ChebyshevOfGroup<5>, 1>": 64, "apply_backward<ChebyshevOfGroup<5>, 4>": 64,
    "apply_backward<ChebyshevOfGroup<9>, 1>": 64, "apply_backward<ChebyshevOfGroup<9>, 4>": 64,
    "apply_backward<ChebyshevOfGroup<17>, 1>": 96, "apply_backward<ChebyshevOfGroup<17>, 4>": 96,
    "apply_backward<RationalOfGroup, 1>": 64, "apply_backward<RationalOfGroup, 4>": 64,
    "update_parts": 48, "add_squares": 32, "add_hashes": 40, "add_blocks<double>": 40, "add_blocks<unsigned long>": 40,
}
# Kernels whose work is to move memory: they read and write it 16 bytes at a time.
WIDE = ["basis_of_rows<4>", "backward_of_rows<4>", "classify_row<float>", "classify_row<Bfloat16>", "normalise<4, float>",
        "normalise_backward<4, float>", "map<GeluOf>", "map<GeluGradientOf>", "look_up<4>",
        "update_parts", "take_directions", "square<false>", "square<true>", "multiply_copies", "gate", "gate_backward",
        "apply<ChebyshevOfGroup<9>, 4>", "apply_backward<ChebyshevOfGroup<9>, 4>", "apply<RationalOfGroup, 4>",
        "apply_backward<RationalOfGroup, 4>"]
# Of those that write to several places, how often at least; a single one would not show that all are written so.
WIDE_STORES = {"update_parts": 4, "take_directions": 4, "square<false>": 8, "square<true>": 8, "multiply_copies": 4}


def kernel_names(mangled):
    """From what the compiler calls them to what the source does, without namespaces and arguments."""
    lines = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True).stdout
    names = {}
    for symbol, line in zip(mangled, lines.splitlines()):
        text = re.sub(r"\(anonymous namespace\)::|kangpt::operations::cuda::|_GLOBAL__N__\w+::|^void |\(int\)", "", line)
        names[symbol] = re.sub(r"\(.*$", "", text)
    return names


def resources(folder):
    """(kernel, architecture) -> registers and bytes that are spilled or kept on a stack."""
    found = {}
    for file in sorted(folder.glob("*.resources")):
        text = file.read_text(encoding="utf-8")
        kernels = re.findall(r"Compiling entry function '(\S+)' for '(\w+)'\n.*\n\s*(\d+) bytes stack frame, (\d+) bytes "
                             r"spill stores, (\d+) bytes spill loads\n.*Used (\d+) registers", text)
        names = kernel_names([kernel[0] for kernel in kernels])
        for symbol, architecture, stack, stores, loads, registers in kernels:
            found[names[symbol], architecture] = (int(registers), int(stack) + int(stores) + int(loads))
    return found


def wide_kernels(nvcc):
    """The kernels that read 16 bytes at once, and in how many places they write as many."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(SOURCES.glob("*.cu")):
            ptx = Path(folder, "kernels.ptx")
            subprocess.run([nvcc, "-std=c++20", "-O3", "-DNDEBUG", "-I", SOURCES.parents[1], "-ptx", "-arch=compute_90", "-o",
                            ptx, source], check=True)
            bodies = re.split(r"\.entry (\w+)\(", ptx.read_text(encoding="utf-8"))[1:]
            names = kernel_names(bodies[::2])
            found |= {names[symbol]: len(re.findall(r"st\.global[.a-z]*\.v4\.[fu]32", body))
                      for symbol, body in zip(bodies[::2], bodies[1::2]) if re.search(r"ld\.global[.a-z]*\.v4\.[fu]32", body)}
    return found


def breaches(found, wide):
    """wide: as wide_kernels() gives it, or None where that was not looked at."""
    for architecture in sorted(ARCHITECTURES):
        missing = sorted(set(REGISTERS) - {name for name, of in found if of == architecture})
        yield from (f"{name}: not compiled for {architecture}" for name in missing)
    for (name, architecture), (registers, spilled) in sorted(found.items()):
        if spilled:
            yield f"{name}, {architecture}: {spilled} bytes are spilled or on a stack; every kernel keeps to its registers"
        if name not in REGISTERS:
            yield f"{name}: has no line in {Path(__file__).name}"
        elif registers > REGISTERS[name]:
            yield f"{name}, {architecture}: {registers} registers, of {REGISTERS[name]} in the budget"
    if wide is not None:
        yield from (f"{name}: does not read and write 16 bytes at once" for name in WIDE
                    if wide.get(name, 0) < WIDE_STORES.get(name, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("objects", type=Path)
    parser.add_argument("--nvcc")
    arguments = parser.parse_args()
    found = resources(arguments.objects)
    for name in sorted({name for name, _ in found}):
        most = max(registers for (other, _), (registers, _) in found.items() if other == name)
        print(f"{name:26} {most:4} registers of {REGISTERS.get(name, 0)}")
    wrong = list(breaches(found, wide_kernels(arguments.nvcc) if arguments.nvcc else None))
    print("\n".join(wrong) or "all kernels keep to their budget")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
