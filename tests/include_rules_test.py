#!/usr/bin/env python3
"""Plants one breach of each rule in a small tree: tests/include_rules.py must find it, and nothing else."""
import tempfile
import unittest
from pathlib import Path

import include_rules

CLEAN = {
    "src/base/error.hpp": "#include <string>\n",
    "src/message/message_fields.hpp": "#include <google/protobuf/message.h>\n",
    "src/config/run_config.cpp": '#include <google/protobuf/message.h>\n#include "base/error.hpp"\n',
    "src/model/network.hpp": "#include <torch/torch.h>\n",
    "sharding/partition.hpp": '#include "base/error.hpp"\n',
    "sharding/mpi_exchange.cpp": "#include <mpi.h>\n",
    "data_pipeline/tokenizer/unicode.cpp": '#include "data_pipeline/tokenizer/unicode_table.inc"\n',
    "data_pipeline/tokenizer/unicode_table.inc": "1, 2, 3\n",
    "data_pipeline/shards/manifest_file.cpp": '#include "data_pipeline/shards/manifest.pb.h"\n',
    "launcher/main.cpp": '#include "sharding/partition.hpp"\nint main() {}\n',
    "tests/sharding/partition_test.cpp": '#include <mpi.h>\n#include "sharding/partition.hpp"\n',
}


class IncludeRulesTest(unittest.TestCase):
    def breaches_with(self, planted):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**CLEAN, **planted}.items():
                file = Path(root, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            return include_rules.breaches(root)

    def assert_found(self, planted, message):
        found = self.breaches_with(planted)
        self.assertEqual(len(found), 1, found)
        self.assertIn(message, found[0])

    def test_a_clean_tree_passes(self):
        self.assertEqual(self.breaches_with({}), [])

    def assert_edge_refused(self, room, included):
        self.assert_found({f"{room}/a.cpp": f'#include "{included.removeprefix("src/")}/b.hpp"\n', f"{included}/b.hpp": ""},
                          f"{room} may not include")

    def test_forbidden_edges(self):
        self.assert_edge_refused("src/base", "src/config")
        self.assert_edge_refused("src/operations", "src/model")
        self.assert_edge_refused("src/training", "launcher/worker")
        self.assert_edge_refused("launcher", "tests")

    def test_sharding_and_data_never_meet(self):
        self.assert_edge_refused("sharding", "data_pipeline/batches")
        self.assert_edge_refused("data_pipeline/batches", "sharding")

    def test_edges_between_the_rooms_of_a_folder(self):
        self.assert_edge_refused("src/operations/cpu", "src/operations/aten")
        self.assert_edge_refused("data_pipeline/tokenizer", "data_pipeline/text")
        self.assert_edge_refused("data_pipeline/text", "data_pipeline/preprocess")
        self.assert_edge_refused("data_pipeline/batches", "data_pipeline/preprocess")
        self.assert_edge_refused("launcher/agent", "launcher/worker")
        self.assert_edge_refused("launcher/record", "launcher/job")
        self.assert_edge_refused("launcher/job", "launcher/worker")

    def test_nobody_includes_tools(self):
        self.assert_edge_refused("launcher", "tools")
        self.assert_edge_refused("launcher/job", "tools/checkpoint")
        self.assert_edge_refused("data_pipeline/preprocess", "tools/preprocess")
        self.assert_edge_refused("tools/chaos", "tools/checkpoint")

    def test_a_program_may_include_what_it_shares(self):
        self.assertEqual(self.breaches_with({"tools/generation/a.cpp": '#include "tools/b.hpp"\n', "tools/b.hpp": ""}), [])

    def test_unknown_files_and_folders(self):
        self.assert_found({"launcher/a.cpp": '#include "partition.hpp"\n'}, "is no file relative to")
        self.assert_found({"src/new_folder/a.cpp": ""}, "no line in the table")

    def test_interfaces_in_one_file(self):
        self.assert_found({"launcher/a.cpp": "#include <mpi.h>\n"}, "mpi.h is included by more than one file")
        self.assert_found({"sharding/nccl.hpp": "#include <nccl.h>\n"}, "not into a header")

    def test_libtorch_and_protobuf_stay_apart(self):
        torch = '#include "model/network.hpp"\n'
        self.assert_found({"data_pipeline/batches/a.cpp": '#include "training/b.hpp"\n', "src/training/b.hpp": torch}, "data_pipeline/batches is free of LibTorch")
        self.assert_found({"launcher/a_manifest.cpp": torch + "#include <google/protobuf/message.h>\n"}, "reaches LibTorch")
        self.assert_found({"src/io/a.cpp": "#include <google/protobuf/message.h>\n"}, "protobuf stays in")
        shared = '#include "message/message_fields.hpp"\n'
        self.assert_found({"src/io/a.cpp": shared}, "protobuf stays in")
        self.assert_found({"data_pipeline/shards/manifest.hpp": shared}, "protobuf stays in")
        self.assertEqual(self.breaches_with({"data_pipeline/shards/manifest.cpp": shared}), [])

    def test_lengths(self):
        self.assert_found({"src/base/a.cpp": "\n" * 401}, "401 lines")
        self.assert_found({"launcher/a.cpp": "int main() {\n" + "\n" * 60 + "}\n"}, "with a main has at most 60")


if __name__ == "__main__":
    unittest.main()
