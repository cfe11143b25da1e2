"""From texts to token sequences to prefix trees."""

import numpy as np

from encore_jax.data.comparison import Message
from encore_jax.reward.sequences import prompt_trees, token_sequences
from tests.experiments import tiny_model

TEXTS = [((Message("user", prompt),), answer) for prompt in ("Hi", "Who?") for answer in ("No.", "Yes, of course!")]


def test_sequences_are_the_template_up_to_the_pooled_token():
    tokenizer = tiny_model.tokenizer()
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    (last,) = token_sequences(tokenizer, TEXTS[:1], "last", None)
    np.testing.assert_array_equal(last, ids)
    newline = tokenizer("\n")["input_ids"][0]
    (hf,) = token_sequences(tokenizer, TEXTS[:1], "hf", newline)
    np.testing.assert_array_equal(hf, ids[:-1])  # the final newline is taken for padding, and nothing follows it


def test_trees_hold_the_texts_of_one_prompt():
    texts = [TEXTS[0], TEXTS[2], TEXTS[1], TEXTS[3]]
    sequences = token_sequences(tiny_model.tokenizer(), texts, "last", None)
    assert [tree.keys for tree in prompt_trees(texts, sequences, 500)] == [(0, 2), (1, 3)]
    limit = max(map(len, sequences)) - 1
    kept = [key for tree in prompt_trees(texts, sequences, limit) for key in tree.keys]
    assert kept == [i for i in (0, 2, 1, 3) if len(sequences[i]) <= limit] and len(kept) < 4
    assert prompt_trees([], [], 10) == []
