#!/usr/bin/env python3
"""What step_model.py makes of counts."""
import unittest

import step_model


def launch(name, launches=1, size=0, flops=0):
    return {"name": name, "launches": launches, "bytes": size, "flops": flops}


class StepModelTest(unittest.TestCase):
    def test_a_launch_takes_the_longest_of_bytes_products_and_a_fixed_time(self):
        self.assertAlmostEqual(step_model.seconds_of(launch("a", size=2.9e9)), 1e-3)
        self.assertAlmostEqual(step_model.seconds_of(launch("a", size=22e6)), 4e-6)
        self.assertAlmostEqual(step_model.seconds_of(launch("a", size=22e6, flops=450e9)), 1e-3)
        self.assertEqual(step_model.seconds_of(launch("a", size=100)), step_model.LAUNCH_SECONDS)

    def test_products_of_muon_are_of_fp32(self):
        self.assertAlmostEqual(step_model.seconds_of(launch("muon_products", size=22e6, flops=25e9)), 1e-3)
        self.assertEqual(step_model.part_of("muon_products"), "Muon")

    def test_parts_add_up_all_their_launches_of_any_size(self):
        parts = step_model.table([launch("product", 3, 2.9e9, 1), launch("product", 2, 100, 5), launch("adamw", 1, 7)])
        count, moved, flops, seconds, in_graph = parts["products of matrices"]
        self.assertEqual((count, moved, flops), (5, 3 * 2.9e9 + 200, 13))
        self.assertAlmostEqual(seconds, 3e-3 + 2 * step_model.LAUNCH_SECONDS)
        self.assertLess(in_graph, seconds)
        self.assertEqual(parts["optimizer"][:2], (1, 7))
        self.assertEqual(next(iter(parts)), "products of matrices", "the longest first")

    def test_every_kernel_has_a_part(self):
        for name in ("classify", "chebyshev_basis", "pack_constants", "attention_backward", "layer_norm", "take_weights", "embed",
                     "squared_norms", "aten::embedding_dense_backward", "aten::addmm"):
            self.assertNotEqual(step_model.part_of(name), step_model.REST, name)
        self.assertEqual(step_model.part_of("aten::add"), step_model.REST)

    def test_the_table_ends_with_the_step(self):
        text = "\n".join(step_model.lines([launch("product", 1, 2.9e12)]))
        self.assertRegex(text, r"step +1 2900.00 +0 +1000.00")
        self.assertIn("tokens/s, predicted: 0.02 million", text)


if __name__ == "__main__":
    unittest.main()
