#!/usr/bin/env python3
"""Exported folders in transformers: the same logits, the same greedy text, and back without losing a bit.

    tests/tools/checkpoint/huggingface_test.py BUILD      (make test-python)

Networks of all mixers and feed-forward parts with random weights are made in Python, imported, exported again and loaded
by AutoModelForCausalLM. PyTorch and transformers come from PyPI into an environment in ${KANGPT_CACHE:-~/.cache/kangpt}.
"""
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[2]
sys.path.insert(0, str(HERE.parents[1] / "support"))
from python_environment import make_environment  # noqa: E402

MIXERS = ["ATTENTION", "CONVMOD", "CONV", "DILATED_CONV", "SEPARABLE_CONV", "DEFORMABLE_CONV"]
FEED_FORWARDS = ["KAN", "MLP", "HYBRID", "SWIGLU", "GROUPED_KAN", "RATIONAL_KAN"]
IN_TURNS = "[ATTENTION, DILATED_CONV, CONVMOD]"
WINDOW = 12
# 256 bytes, 43 merges and <|endoftext|> make 300 tokens.
MERGES = [f"{a} {b}" for a, b in itertools.product("abcdefg", "hijklm")] + ["\u0120 t"]
TOKENS = [7, 270, 299, 0, 31, 31, 120, 264, 3, 88, 201, 15]  # as many as the network sees


def settings(mixer, feed_forward):
    return [f"model.mixer={mixer}", f"model.feed_forward={feed_forward}", "model.vocabulary_size=300", "model.d_model=16",
            "model.layers=4", "model.heads=2", "model.head_dim=4", "model.kernel_size=4", "model.dilation=[1, 2, 3]",
            "model.offset_groups=4", "model.max_offset=9.5", "model.kan_degree=5", "model.mlp_hidden=24",
            "model.kan_groups=4", f"data.sequence_length={WINDOW}"]


class HuggingFaceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import torch
        import transformers
        cls.torch, cls.transformers = torch, transformers
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.manual_seed(1)
        torch.set_num_threads(1)
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        os.environ["HF_HOME"] = str(cls.folder / "hf")  # where transformers copy the folders' code to
        os.environ["HF_HUB_OFFLINE"] = "1"
        (cls.folder / "merges.bpe").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def program(self, name, *arguments):
        path = Path(os.environ["KANGPT_BUILD"]) / name
        result = subprocess.run([path, *map(str, arguments)], cwd=self.folder, capture_output=True, text=True, check=False,
                                timeout=300, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
        self.assertEqual(result.returncode, 0, f"{name}: {result.stderr}")
        return result.stdout

    def checkpoint(self, *arguments):
        return self.program("bin/kangpt_checkpoint", *arguments)

    def load(self, folder):
        return self.transformers.AutoModelForCausalLM.from_pretrained(self.folder / folder, trust_remote_code=True).eval()

    def randomised(self, model):
        """Weights of about the size that training gives, those that start at 0 and 1 too."""
        torch = self.torch
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                spread = 0.02 if ".kan." in name else 0.5 if "embedding" in name or "deformable.offset" in name else 0.2
                parameter.normal_(std=spread)
                if "norm.weight" in name:
                    parameter.add_(1)
        return model

    def exported(self, name, mixer="ATTENTION", feed_forward="KAN"):
        """A folder of a network with random weights: written by the trainer, filled in Python, imported, exported."""
        if (self.folder / name).exists():
            return name
        chosen = [word for setting in settings(mixer, feed_forward) for word in ("--set", setting)]
        first = f"{name}-first"
        config = self.folder / f"{name}.textproto"
        config.write_text(self.program("bin/kangpt_dist", *chosen, "--print-config"), encoding="utf-8")
        model = self.randomised(self.network_of(mixer, feed_forward))
        model.save_pretrained(self.folder / first)
        self.checkpoint("import", "--weights", first, "--config", config, "--output", f"{name}-run")
        self.checkpoint("export", "--format", "huggingface", "--vocabulary", "merges.bpe", "--output", name,
                        f"{name}-run")
        self.assert_equal_weights(model, self.load(name))
        return name

    def network_of(self, mixer, feed_forward):
        sys.path.insert(0, str(SOURCE / "tools/checkpoint"))
        from huggingface.configuration_kangpt import KanGptConfig
        from huggingface.modeling_kangpt import KanGptForCausalLM
        return KanGptForCausalLM(KanGptConfig(
            vocab_size=300, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, head_dim=4, kernel_size=4,
            dilation=[1, 2, 3], offset_groups=4, max_offset=9.5, kan_degree=5, kan_groups=4,
            intermediate_size=24, max_position_embeddings=WINDOW,
            mixer=re.findall(r"\w+", mixer.lower()) if "," in mixer else mixer.lower(), feed_forward=feed_forward.lower()))

    def assert_equal_weights(self, a, b):
        left, right = a.state_dict(), b.state_dict()
        self.assertEqual(left.keys(), right.keys())
        for name, value in left.items():
            self.assertTrue(self.torch.equal(value, right[name]), name)

    def generated(self, folder, prompts, *arguments):
        chosen = [word for prompt in prompts for word in ("--prompt", prompt)]
        lines = self.program("bin/kangpt_generate", "--checkpoint", folder, *chosen, "--json",
                             "--temperature", 0, "--tokens", 30, "--threads", 1, *arguments).splitlines()
        return [json.loads(line) for line in lines]

    def test_logits_and_greedy_text_are_the_same(self):
        for mixer, feed_forward in [*itertools.product(MIXERS, FEED_FORWARDS), (IN_TURNS, "MLP")]:
            with self.subTest(mixer=mixer, feed_forward=feed_forward):
                folder = self.exported(re.sub(r"\W+", "-", f"{mixer}-{feed_forward}").strip("-"), mixer, feed_forward)
                model = self.load(folder)
                ours = self.torch.tensor(json.loads(self.program("tests/print_logits", folder, *TOKENS)))
                theirs = model(self.torch.tensor([TOKENS])).logits[0]
                self.assertGreater(theirs.std().item(), 0.1, "a test of zeros would say nothing")
                self.assertLess((ours - theirs).abs().max().item(), 1e-4)
                [text] = self.generated(folder, ["ah the bird"])  # grows beyond the window
                ids = self.torch.tensor([text["prompt_ids"]])
                result = model.generate(ids, max_new_tokens=30, do_sample=False, eos_token_id=299)[0, ids.size(1):]
                self.assertEqual([i for i in result.tolist() if i != 299], text["ids"])

    def test_the_tokenizer_gives_the_same_ids_and_goes_along(self):
        folder = self.exported("ATTENTION-KAN")
        tokenizer = self.transformers.AutoTokenizer.from_pretrained(self.folder / folder, trust_remote_code=True)
        [text] = self.generated(folder, ["ah the bird"])
        self.assertEqual(tokenizer("ah the bird").input_ids, text["prompt_ids"])
        self.assertEqual(tokenizer.decode(text["ids"]), text["text"])
        self.assertEqual((tokenizer.eos_token, tokenizer.eos_token_id), ("<|endoftext|>", 299))
        self.assertEqual(self.load(folder).generation_config.eos_token_id, 299)
        self.checkpoint("import", "--weights", folder, "--output", "with-tokenizer")
        [again] = self.generated("with-tokenizer", ["ah the bird"])
        self.assertEqual(again["ids"], text["ids"])

    def test_what_the_model_card_says_runs_and_asks_nothing(self):
        folder = self.folder / self.exported("ATTENTION-KAN")
        [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
        code = code.replace('"PATH"', repr(str(folder)))
        result = subprocess.run([sys.executable, "-c", code], cwd=self.folder, stdin=subprocess.DEVNULL, check=False,
                                capture_output=True, text=True, timeout=300)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(result.stdout.startswith("Once upon a time"), result.stdout)
        self.assertNotIn("[y/N]", result.stdout + result.stderr)

    def test_padding_on_the_left_changes_nothing(self):
        for mixer in MIXERS:
            with self.subTest(mixer=mixer):
                model = self.load(self.exported(f"{mixer}-KAN", mixer, "KAN"))
                short = TOKENS[:5]
                padded = self.torch.tensor([[299] * 4 + short, TOKENS[:9]])
                mask = self.torch.tensor([[0] * 4 + [1] * 5, [1] * 9])
                logits = model(padded, attention_mask=mask).logits
                self.assertLess((logits[0, 4:] - model(self.torch.tensor([short])).logits[0]).abs().max().item(), 1e-5)
                self.assertLess((logits[1] - model(padded[1:]).logits[0]).abs().max().item(), 1e-5)

    def test_later_tokens_change_nothing_before_them(self):
        for mixer in MIXERS:
            with self.subTest(mixer=mixer):
                model = self.load(self.exported(f"{mixer}-KAN", mixer, "KAN"))
                other = TOKENS[:8] + [(token + 1) % 300 for token in TOKENS[8:]]
                logits = model(self.torch.tensor([TOKENS, other])).logits
                self.assertTrue(self.torch.equal(logits[0, :8], logits[1, :8]))

    def test_a_folder_that_python_changed_comes_back_with_every_bit(self):
        folder = self.exported("ATTENTION-HYBRID", "ATTENTION", "HYBRID")
        model = self.randomised(self.load(folder))
        model.save_pretrained(self.folder / "tuned")
        self.checkpoint("import", "--weights", "tuned", "--output", "tuned-run")
        self.checkpoint("export", "--format", "huggingface", "--output", "again", "tuned-run")
        self.assert_equal_weights(model, self.load("again"))
        self.checkpoint("import", "--weights", "again", "--output", "again-run")
        self.assertEqual(self.checkpoint("digest", "again-run"), self.checkpoint("digest", "tuned-run"))
        self.assertEqual(self.generated("tuned", ["ah"], "--vocabulary", "merges.bpe")[0]["ids"],
                         self.generated("again", ["ah"], "--vocabulary", "merges.bpe")[0]["ids"])

    def test_a_loss_can_be_trained(self):
        model = self.load(self.exported("DEFORMABLE_CONV-HYBRID", "DEFORMABLE_CONV", "HYBRID"))
        ids = self.torch.tensor([TOKENS])
        loss = model(ids, labels=ids).loss
        loss.backward()
        for name, parameter in model.named_parameters():
            self.assertIsNotNone(parameter.grad, name)
            self.assertTrue(parameter.grad.isfinite().all(), name)


def main():
    build = Path(sys.argv.pop(1)).resolve()
    cache = Path(os.environ.get("KANGPT_CACHE", Path.home() / ".cache/kangpt"))
    python = make_environment(cache / "python-huggingface", HERE / "requirements.txt")
    os.execve(python, [python, "-B", str(HERE / "huggingface_test.py"), *sys.argv[1:]],
              {**os.environ, "KANGPT_BUILD": str(build)})


if __name__ == "__main__":
    unittest.main() if "KANGPT_BUILD" in os.environ else main()
