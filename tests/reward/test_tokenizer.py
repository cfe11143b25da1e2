"""Tokenizers built from GGUF metadata, against BPE written out, and the chat template's exact ids."""

import dataclasses
import unicodedata

import numpy as np
import pytest
import regex

from encore_jax.checkpoints.gguf_file import GGUFFile
from encore_jax.errors import InputError
from encore_jax.text.gguf_tokenizer import tokenizer_from_gguf
from encore_jax.text.rendering import render, render_prompts
from encore_jax.text.tokenizer import DATE_STRING, load_tokenizer, template_digest

TEXTS = [
    "Hello world", "  two  spaces\n\n\ttab ", "It's 12345, isn't it? I'LL", "naïve café Привет 世界 🙂🙃",
    "x=1;y=[2,3]//ok", "\r\n\r\n", "a\u00a0b \u2028 c", "e\u0301 é", "ⅷ ٣٤ ½", "",
]  # fmt: skip
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "qwen2": [QWEN2],
    "llama-bpe": [QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")],
    "default": [r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9]{3}"],
}


def pieces(text, patterns):
    """Matches and what lies between them, pattern after pattern."""
    parts = [text]
    for pattern in patterns:
        parts = [piece for part in parts for piece in regex.split(f"({pattern})", part) if piece]
    return parts


def byte_letters():
    """GPT-2's printable stand-in for every byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in kept]
    return {b: chr(b) for b in kept} | {b: chr(256 + i) for i, b in enumerate(others)}


def reference(metadata, text):
    """Byte-level BPE, one merge at a time."""
    letters, tokens = byte_letters(), list(metadata["tokenizer.ggml.tokens"])
    ids = {token: i for i, token in enumerate(tokens)}
    rank = {tuple(m.split(" ")): i for i, m in enumerate(metadata["tokenizer.ggml.merges"])}
    pre = metadata["tokenizer.ggml.pre"]
    out = []
    for piece in pieces(text, PATTERNS[pre]):
        parts = [letters[b] for b in piece.encode()]
        if pre == "llama-bpe" and "".join(parts) in ids:
            parts = ["".join(parts)]
        while True:
            pairs = [(rank.get(pair, 1 << 30), i) for i, pair in enumerate(zip(parts, parts[1:], strict=False))]
            best, i = min(pairs, default=(1 << 30, 0))
            if best == 1 << 30:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        out += [ids[p] for p in parts]
    return out


def tiny_metadata(pre, **changes):
    """A vocabulary of bytes and a few merges, some of them across digits and spaces."""
    merges = ["h e", "l l", "he ll", "hell o", "1 2", "12 3", "Ġ t", "' s", "Ġ Ġ", "Ċ Ċ", "Ã ©", "Ĳ Ģ", "3 4"]
    merges += ["e ÌĢ", "w o", "o r", "wo r", "l d", "Ġ w"]
    tokens = ["<s>", "</s>", *byte_letters().values()]
    tokens += list(dict.fromkeys(m.replace(" ", "") for m in merges))
    tokens += ["12345", "<tool>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.asarray([3, 3, *[1] * (len(tokens) - 3), 4]),
        "tokenizer.ggml.merges": [m for m in merges if all(p in tokens for p in m.split(" "))],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": TEMPLATE,
        **changes,
    }


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}"
    "{% endif %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize("pre", sorted(PATTERNS))
def test_ids_equal_bpe_written_out(pre):
    metadata = tiny_metadata(pre)
    tokenizer = tokenizer_from_gguf(metadata)
    for text in [*TEXTS, "hello 12345 1234 hello's"]:
        normal = text if pre != "qwen2" else unicodedata.normalize("NFC", text)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == reference(metadata, normal), text
        assert tokenizer.decode(ids) == normal


def test_special_and_user_defined_tokens_are_whole():
    tokenizer = tokenizer_from_gguf(tiny_metadata("smollm"))
    ids = tokenizer("he</s><tool>he", add_special_tokens=False)["input_ids"]
    assert [tokenizer.convert_ids_to_tokens(i) for i in ids] == ["he", "</s>", "<tool>", "he"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token) == (0, 1, None)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "he<tool>he"


def test_plain_text_gets_the_bos_the_file_asks_for():
    assert tokenizer_from_gguf(tiny_metadata("smollm"))("he")["input_ids"][0] != 0
    asks = tiny_metadata("llama-bpe", **{"tokenizer.ggml.add_bos_token": True})
    assert tokenizer_from_gguf(asks)("he")["input_ids"][0] == 0
    both = tokenizer_from_gguf(asks | {"tokenizer.ggml.add_eos_token": True})("he")["input_ids"]
    assert (both[0], both[-1]) == (0, 1)


def test_bos_is_exactly_the_templates():
    for add_bos in (True, False):  # what plain text gets must not matter
        metadata = tiny_metadata("llama-bpe", **{"tokenizer.ggml.add_bos_token": add_bos})
        tokenizer = tokenizer_from_gguf(metadata)
        ids = render(tokenizer, [{"role": "user", "content": "he"}], "hello")
        assert ids.count(0) == 1 and ids[0] == 0
        assert tokenizer.decode(ids) == "<s><user>he</s><assistant>hello</s>"
        silent = tokenizer_from_gguf(metadata | {"tokenizer.chat_template": TEMPLATE[len("{{ bos_token }}") :]})
        assert 0 not in render(silent, [{"role": "user", "content": "he"}])


def test_the_prompt_is_a_prefix_and_messages_may_be_objects():
    @dataclasses.dataclass
    class Turn:
        role: str
        content: str

    tokenizer = tokenizer_from_gguf(tiny_metadata("smollm"))
    turns = [{"role": "system", "content": "x"}, {"role": "user", "content": "hello"}]
    prompt, whole = render(tokenizer, turns), render(tokenizer, turns, "hell")
    assert whole[: len(prompt)] == prompt
    assert render(tokenizer, [Turn(**t) for t in turns]) == prompt
    assert all(isinstance(i, int) for i in prompt)


def test_many_prompts_at_once_are_the_same_as_one_by_one():
    tokenizer = tokenizer_from_gguf(tiny_metadata("smollm"))
    chats = [[{"role": "user", "content": text}] for text in TEXTS]
    assert render_prompts(tokenizer, chats) == [render(tokenizer, chat) for chat in chats]


def test_todays_date_never_enters():
    template = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    dated = tiny_metadata("smollm", **{"tokenizer.chat_template": template + "{{ date_string }}"})
    tokenizer = tokenizer_from_gguf(dated)
    assert tokenizer.decode(render(tokenizer, [{"role": "user", "content": ""}])) == DATE_STRING


def test_the_digest_follows_template_and_special_tokens():
    first = template_digest(tokenizer_from_gguf(tiny_metadata("smollm")))
    assert first == template_digest(tokenizer_from_gguf(tiny_metadata("smollm")))
    other_text = tiny_metadata("smollm", **{"tokenizer.chat_template": TEMPLATE + " "})
    other_bos = tiny_metadata("smollm", **{"tokenizer.ggml.bos_token_id": 1})
    digests = {first, *(template_digest(tokenizer_from_gguf(m)) for m in (other_text, other_bos))}
    assert len(digests) == 3 and all(len(d) == 64 for d in digests)


def test_a_folder_gives_the_same_tokenizer(tmp_path):
    tokenizer = tokenizer_from_gguf(tiny_metadata("smollm"))
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert template_digest(again) == template_digest(tokenizer)
    turns = [{"role": "user", "content": "hello 12345 é"}]
    assert render(again, turns, "it's") == render(tokenizer, turns, "it's")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tokenizer.ggml.model": "llama"}, "tokenizer.ggml.model'.*'llama' is not built"),
        ({"tokenizer.ggml.pre": "tekken"}, "tokenizer.ggml.pre'.*'tekken' is not built"),
        ({"tokenizer.ggml.merges": None}, "tokenizer.ggml.merges'.*missing"),
        ({"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens'.*missing"),
        ({"tokenizer.ggml.pre": None}, "tokenizer.ggml.pre'.*missing"),
        ({"tokenizer.ggml.token_type": np.asarray([1])}, "token_type'.*1 entries for"),
        ({"tokenizer.ggml.eos_token_id": 2**32 - 1}, "eos_token_id'.*is no token"),
        ({"tokenizer.ggml.eos_token_id": -1}, "eos_token_id'.*-1 is no token"),
        ({"tokenizer.ggml.bos_token_id": True}, "bos_token_id'.*True is no token"),
        ({"tokenizer.ggml.bos_token_id": 1.0}, "bos_token_id'.*1.0 is no token"),
        ({"tokenizer.ggml.padding_token_id": [1]}, "padding_token_id'.*is no token"),
        ({"tokenizer.ggml.model": 5}, "tokenizer.ggml.model'.*5 is not built"),
        ({"tokenizer.ggml.pre": ["smollm"]}, "tokenizer.ggml.pre'.*is not built"),
        ({"tokenizer.ggml.tokens": np.arange(5)}, "tokenizer.ggml.tokens'.*is no list of texts"),
        ({"tokenizer.ggml.tokens": []}, "tokenizer.ggml.tokens'.*is no list of texts"),
        ({"tokenizer.ggml.tokens": ["a", "b", "a"], "tokenizer.ggml.token_type": [1, 1, 1]}, "'a' is there twice"),
        ({"tokenizer.ggml.token_type": 5}, "token_type'.*no entries for"),
        ({"tokenizer.ggml.merges": "x y"}, "tokenizer.ggml.merges'.*is no list of texts"),
        ({"tokenizer.ggml.merges": ["xy"]}, "'xy' joins no two tokens"),
        ({"tokenizer.ggml.merges": ["h zz"]}, "'h zz' joins no two tokens"),
        ({"tokenizer.chat_template": ["x"]}, "tokenizer.chat_template'.*is no text"),
    ],
)
def test_other_tokenizers_are_refused(change, problem):
    metadata = {k: v for k, v in tiny_metadata("smollm", **change).items() if v is not None}
    with pytest.raises(InputError, match=problem):
        tokenizer_from_gguf(metadata)


def test_refusals(tmp_path):
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    plain = tokenizer_from_gguf(tiny_metadata("smollm", **{"tokenizer.chat_template": None}))
    with pytest.raises(InputError, match="no chat template"):
        render(plain, [{"role": "user", "content": "x"}])
    tokenizer = tokenizer_from_gguf(tiny_metadata("smollm"))
    with pytest.raises(InputError, match="no tools"):
        render(tokenizer, [{"role": "tool", "content": "x"}])


def test_smollm2_ids_equal_bpe_written_out(smollm2):
    metadata, tokenizer = GGUFFile(smollm2).metadata, load_tokenizer(smollm2)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == reference(metadata, text)
