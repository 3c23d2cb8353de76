#!/usr/bin/env python3
"""What Hugging Face's `tokenizers` make of vocabularies and texts, as JSON; exit code 77 where they are not installed.

    with_tokenizers.py encode TOKENIZER_JSON < TEXTS    ids of each text of a JSON array
    with_tokenizers.py train SIZE FOLDER < TEXTS        trains on each array of texts of a JSON array; the merges of each;
                                                        of the last, writes tokenizer.json, vocab.json and merges.txt
"""
import json
import sys
from pathlib import Path

try:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers
except ImportError:
    print("tokenizers is not installed here")
    sys.exit(77)


def encode(path):
    tokenizer = tokenizers.Tokenizer.from_file(path)
    ids = [tokenizer.encode(text).ids for text in json.load(sys.stdin)]
    texts = [tokenizer.decode(of_text, skip_special_tokens=False) for of_text in ids]
    return {"ids": ids, "texts": texts, "size": tokenizer.get_vocab_size()}


def train(size, folder):
    merges = []
    for texts in json.load(sys.stdin):
        tokenizer = train_one(int(size), texts)
        merges.append(json.loads(tokenizer.to_str())["model"]["merges"])
    tokenizer.save(str(Path(folder) / "tokenizer.json"))
    tokenizer.model.save(folder)
    return merges


def train_one(size, texts):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


json.dump({"encode": encode, "train": train}[sys.argv[1]](*sys.argv[2:]), sys.stdout)
