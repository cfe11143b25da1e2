"""The padding token of an exported model: one that transformers can skip without skipping what is scored.

transformers scores the last token that is not the padding token, and never looks at the mask
(``model.pooling.hf_pool_index``). So a padding token that a conversation can end with would move the score.
"""

from __future__ import annotations

import copy

from encore_jax.errors import InputError
from encore_jax.reward.passport import Passport
from encore_jax.text.pinned_clock import pinned_source
from encore_jax.text.rendering import render

_PREFERRED = ("pad", "reserved", "unused", "extra", "file", "repo")
_PROBES = (("Hello", "Good day to you."), ("2 + 2 = ?\n", "It is 4"), ("Wie?", "So!"))


def exported_tokenizer(tokenizer, passport: Passport, vocab_size: int):
    """A copy of the tokenizer whose padding token and template make transformers score as we do.

    The padding token stays if no conversation ends with it, or if the model is scored by transformers' own convention
    (pooling "hf"); else it becomes a special token that the template does not use. A template that prints the date is
    told the same date that we tell it.

    Raises:
      InputError: every special token is in use.
    """
    made, own = copy.deepcopy(tokenizer), tokenizer.pad_token_id
    if passport.pooling == "hf" and passport.pad_id >= 0:
        made.pad_token = made.convert_ids_to_tokens(passport.pad_id)
    else:
        rendered = [render(tokenizer, [{"role": "user", "content": asked}], said) for asked, said in _PROBES]
        last = {tokens[-1] for tokens in rendered}
        # With no end marker the last token is the text's: no special token then, and only used ones are ruled out.
        if own is None or own in last or not own < vocab_size:
            made.pad_token = _unused(tokenizer, set().union(*rendered), vocab_size)
    if isinstance(made.chat_template, dict):
        made.chat_template = {name: pinned_source(source) for name, source in made.chat_template.items()}
    elif made.chat_template:
        made.chat_template = pinned_source(made.chat_template)
    return made


def _unused(tokenizer, used: set[int], vocab_size: int) -> str:
    taken = used | {tokenizer.bos_token_id, tokenizer.eos_token_id}
    free = [
        (token.content, number)
        for number, token in sorted(tokenizer.added_tokens_decoder.items())
        if token.special and number not in taken and number < vocab_size
    ]
    if not free:
        raise InputError(
            "conversations end with the padding token, and no special token is free to take its place",
            where="tokenizer",
            fix="set tokenizer.pad_token to a token that no conversation ends with",
        )
    place = {word: i for i, word in enumerate(_PREFERRED)}
    return min(free, key=lambda f: (min((i for w, i in place.items() if w in f[0]), default=len(place)), f[1]))[0]
