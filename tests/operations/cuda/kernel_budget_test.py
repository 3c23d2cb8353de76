#!/usr/bin/env python3
"""What kernel_budget.py has to find."""
import tempfile
import unittest
from pathlib import Path

import kernel_budget

SYMBOL = "_ZN6kangpt10operations4cuda46_GLOBAL__N__fa0634d4_13_classifier_cu_05108c1312classify_rowIfEEvNS1_10ClassifierE"
REPORT = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{symbol}' for 'sm_90'
ptxas info    : Function properties for {symbol}
    {stack} bytes stack frame, {spilled} bytes spill stores, 0 bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers, 64 bytes smem, 416 bytes cmem[0]
"""


def found(registers=32, stack=0, spilled=0, symbol=SYMBOL):
    with tempfile.TemporaryDirectory() as folder:
        report = REPORT.format(symbol=symbol, registers=registers, stack=stack, spilled=spilled)
        Path(folder, "classifier.o.resources").write_text(report, encoding="utf-8")
        return kernel_budget.resources(Path(folder))


def breaches(resources, wide=None):
    return [line for line in kernel_budget.breaches(resources, wide) if "not compiled for" not in line]


class KernelBudgetTest(unittest.TestCase):
    def test_reads_what_ptxas_says(self):
        self.assertEqual(found(), {("classify_row<float>", "sm_90"): (32, 0)})
        self.assertEqual(breaches(found()), [])

    def test_finds_spilled_registers_and_stacks(self):
        self.assertIn("8 bytes are spilled", breaches(found(spilled=8))[0])
        self.assertIn("16 bytes are spilled", breaches(found(stack=16))[0])

    def test_finds_too_many_registers(self):
        self.assertIn("41 registers, of 40", breaches(found(registers=41))[0])

    def test_finds_a_kernel_without_a_budget(self):
        self.assertIn("has no line", breaches(found(symbol=SYMBOL.replace("12classify_row", "12classify_all")))[0])

    def test_finds_a_kernel_that_is_missing_for_a_kind_of_gpu(self):
        lines = list(kernel_budget.breaches(found(), None))
        self.assertIn("classify_row<float>: not compiled for sm_80", lines)
        self.assertNotIn("classify_row<float>: not compiled for sm_90", lines)

    def test_finds_narrow_accesses(self):
        wide = {name: kernel_budget.WIDE_STORES.get(name, 1) for name in kernel_budget.WIDE}
        self.assertEqual(breaches(found(), wide), [])
        self.assertEqual(breaches(found(), wide | {"look_up<4>": 0}), ["look_up<4>: does not read and write 16 bytes at once"])
        self.assertEqual(len(breaches(found(), wide | {"update_parts": 1})), 1, "one of four places")


if __name__ == "__main__":
    unittest.main()
