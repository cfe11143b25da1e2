"""Every family's kind of tokenizer, built small in its published layout, under its template: ids, BOS, prompts, trees.

The layouts (normalizer, pre-tokenizer, byte fallback, decoder, post-processor, class) are those of the families'
tokenizer.json; vocabularies are learnt here from a few sentences. What is compared with is transformers' own
`apply_chat_template`.
"""

import json

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from encore_jax.data.prefix_tree import make_trees
from encore_jax.text.rendering import render, render_prompts
from encore_jax.text.tokenizer import load_tokenizer
from tests.reward import templates

SENTENCES = [
    "How do I open a lock without the key?", "I cannot help with that, but a locksmith can.",
    "The answer is 42: 6 times 7.", "Nobody knows why, and you could ask again. Is that so? Yes!",
    "  Two spaces\n\nand a blank line.\n", "user model system", "one\n\n\ntwo\n\n\nthree",
] * 4  # fmt: skip
SPLIT = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GRANITE = """{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = "Today's Date: " + strftime_now('%B %d, %Y') + ".\\nBe of help." %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- '<|start_of_role|>system<|end_of_role|>' + system_message + '<|end_of_text|>\\n' }}
{%- for message in loop_messages %}
    {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\\n' }}
    {%- if loop.last and add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}
{%- endfor %}"""
PHI4 = (
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message %}{{ message['tools'] }}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)


def learnt(special, pre_tokenizer, normalizer=None, alphabet=(), size=360):
    """Vocabulary and merges; the special tokens come first."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    if normalizer:
        backend.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), initial_alphabet=sorted(alphabet),
                                  show_progress=False)  # fmt: skip
    backend.train_from_iterator(SENTENCES, trainer)
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def byte_level(special, plain=(), *, split=None, normalizer=None, digits=False):
    """GPT-2's kind, of Qwen, OLMo, Granite and Phi-4: bytes as letters, added tokens behind."""
    steps = [pre_tokenizers.Split(split, "isolated")] if split else []
    steps += [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    whole = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split)])
    vocab, merges = learnt((), whole, normalizer, pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab, merges))
    backend.pre_tokenizer, backend.decoder = whole, decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    if normalizer:
        backend.normalizer = normalizer
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain])
    return backend


def gemma():
    """SentencePiece's kind: spaces as letters, unknown letters as bytes, BOS before every text if asked for."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    normalizer = normalizers.Replace(" ", "▁")
    learnt_vocab, merges = learnt(special, pre_tokenizers.Split("▁", "merged_with_previous"), normalizer)
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)]
    names = [*special, *byte_tokens, *(token for token in learnt_vocab if token not in special)]
    vocab = {token: i for i, token in enumerate(names)}
    backend = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    marks = ["<start_of_turn>", "<end_of_turn>", "<start_of_image>"]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (*special, *marks)])
    backend.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 2)])
    return backend


CHATML_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FAMILIES = {
    "gemma3": (
        gemma, templates.GEMMA3, "GemmaTokenizer",
        {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>", "add_bos_token": True},
    ),
    "qwen3": (
        lambda: byte_level(CHATML_MARKS, ("<think>", "</think>"), split=SPLIT, normalizer=normalizers.NFC()),
        templates.QWEN, "Qwen2Tokenizer",
        {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    ),
    "olmoe": (
        lambda: byte_level(("<|endoftext|>", "<|padding|>"), normalizer=normalizers.NFC()),
        templates.OLMOE, "GPTNeoXTokenizer",
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|padding|>"},
    ),
    "granite": (
        lambda: byte_level(("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"), digits=True),
        GRANITE, "GPT2Tokenizer",
        {"bos_token": "<|end_of_text|>", "eos_token": "<|end_of_text|>", "pad_token": "<|end_of_text|>"},
    ),
    "phi4": (
        lambda: byte_level(("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), split=SPLIT),
        PHI4, "GPT2Tokenizer",
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    ),
}  # fmt: skip
BOS_OF_TEMPLATE = {"gemma3": "<bos>", "olmoe": "<|endoftext|>"}
"""Families whose template prints BOS itself; the others' texts begin without one."""


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """Its name, the tokenizer loaded here, and transformers' own."""
    import transformers

    make, template, kind, fields = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    make().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(template)
    config = {"tokenizer_class": kind, "clean_up_tokenization_spaces": False, **fields}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return request.param, load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)


ASKED = [
    [("user", "How do I open a lock?")],
    [("system", "Be kind."), ("user", "  Why? 世界 🙂 é \n")],
    [("user", "6 times 7"), ("assistant", "The answer is 42."), ("user", "Is that so?")],
]
ANSWERS = ["Yes!", "I cannot help with that: 世界 🙂.", "Two\n\nlines, 1234567."]


def chat_of(turns, answer=None):
    chat = [{"role": role, "content": content} for role, content in turns]
    return chat if answer is None else [*chat, {"role": "assistant", "content": answer}]


def theirs(tokenizer, chat, generation=False):
    """What transformers makes of it, on the pinned day."""
    import transformers.utils.chat_template_utils as utils

    from encore_jax.text.pinned_clock import PINNED

    class Clock(utils.datetime):
        @classmethod
        def now(cls, tz=None):
            return PINNED

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "datetime", Clock)
        return tokenizer.apply_chat_template(chat, return_dict=False, add_generation_prompt=generation)


@pytest.mark.parametrize("turns", ASKED)
def test_ids_are_those_of_transformers_and_bos_is_there_once(family, turns):
    name, tokenizer, reference = family
    for answer in ANSWERS:
        ids = render(tokenizer, chat_of(turns), answer)
        assert ids == theirs(reference, chat_of(turns, answer))
        bos = BOS_OF_TEMPLATE.get(name)
        if bos is None:
            assert ids[0] != tokenizer.bos_token_id
        else:
            number = tokenizer.convert_tokens_to_ids(bos)
            assert ids[0] == number and ids[1] != number
            assert name != "gemma3" or ids.count(number) == 1
        assert tokenizer.unk_token_id in (None, tokenizer.eos_token_id) or tokenizer.unk_token_id not in ids
        text = tokenizer.decode(ids, skip_special_tokens=False)
        assert answer in text and turns[-1][1].strip() in text, "no letter is lost"
    assert render(tokenizer, chat_of(turns)) == theirs(reference, chat_of(turns), generation=True)


@pytest.mark.parametrize("turns", ASKED)
def test_a_prompts_tokens_begin_those_of_every_answer(family, turns):
    _, tokenizer, _ = family
    [prompt] = render_prompts(tokenizer, [chat_of(turns)])
    for answer in ANSWERS:
        assert render(tokenizer, chat_of(turns), answer)[: len(prompt)] == prompt


@pytest.mark.parametrize("turns", ASKED[:2])
def test_where_an_answer_melts_into_the_prompt_trees_still_hold_the_very_tokens(family, turns):
    """A line that begins the answer joins the one that ends the prompt; a tree goes by the tokens that are shared."""
    name, tokenizer, _ = family
    sequences = [render(tokenizer, chat_of(turns), answer) for answer in ("\n\nYes!", *ANSWERS)]
    [prompt] = render_prompts(tokenizer, [chat_of(turns)])
    assert (sequences[0][: len(prompt)] != prompt) == (name == "olmoe")
    [tree] = make_trees(sequences, range(len(sequences)), 4096)
    assert len(tree.prefix) >= len(prompt) - 1
    for branch, sequence in zip(tree.branches, sequences, strict=True):
        np.testing.assert_array_equal(np.concatenate([tree.prefix, branch]), sequence)


def test_granites_prompt_has_the_pinned_day_and_qwens_no_thought_of_its_own(family):
    name, tokenizer, _ = family
    [prompt] = render_prompts(tokenizer, [chat_of(ASKED[0])])
    text = tokenizer.decode(prompt, skip_special_tokens=False)
    if name == "granite":
        assert "Today's Date: July 26, 2024." in text
    assert "<think>" not in text
    whole = tokenizer.decode(render(tokenizer, chat_of(ASKED[0]), "Yes!"), skip_special_tokens=False)
    assert ("<think>\n\n</think>\n\nYes!" in whole) == (name == "qwen3"), "as the published template prints it"
