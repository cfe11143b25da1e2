"""Whatever is wrong with a tokenizer's files: one line that names the file, and no code of the folder is run."""

import json
import os

import pytest

from encore_jax.errors import InputError
from encore_jax.text.rendering import render
from encore_jax.text.tokenizer import TemplateRefusal, load_tokenizer
from tests.experiments import tiny_model

CONFIG, WHOLE, SPECIAL = "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"


@pytest.fixture
def folder(tmp_path):
    tiny_model.tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(tiny_model.CONFIG))
    return tmp_path


def change(name, **fields):
    """Sets fields of a JSON file; a field that is None is removed."""

    def changed(folder):
        path = folder / name
        content = json.loads(path.read_text()) if path.exists() else {}
        content |= fields
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return changed


def inside(name, *place, value):
    """Sets one place of a nested JSON file."""

    def changed(folder):
        content = json.loads((folder / name).read_text())
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        (folder / name).write_text(json.dumps(content))

    return changed


def write(name, content):
    def written(folder):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return written


def without(*names):
    def removed(folder):
        for name in names:
            (folder / name).unlink()

    return removed


def both(*changes):
    def changed(folder):
        for one in changes:
            one(folder)

    return changed


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
DEEP = "[" * 100_000 + "]" * 100_000
_BYTES = {f"<0x{i:02X}>": i for i in range(256)} | {"<unk>": 256, "<s>": 257}
JUST_BYTES = {"type": "BPE", "vocab": _BYTES, "merges": [], "byte_fallback": True, "unk_token": "<unk>"}
UNKNOWN = {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"}
EMPTY = {"type": "BPE", "vocab": {}, "merges": []}
FAULTS = {
    "nothing there": (without(WHOLE, CONFIG), r"there is no tokenizer\.json here"),
    "no vocabulary": (without(WHOLE), r"there is no tokenizer\.json here"),
    **{
        f"no vocabulary, {name}": (both(without(WHOLE), change(CONFIG, tokenizer_class=name)), r"is no tokenizer\.json")
        for name in ("LlamaTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer", "GemmaTokenizer", "PreTrainedTokenizerFast")
    },
    "sentencepiece alone": (
        both(without(WHOLE), write("tokenizer.model", b"xx")),
        "only tokenizer.model, and sentencepi"),
    "no merges": (both(without(WHOLE), write("vocab.json", '{"a": 0}')), r"there is no tokenizer\.json here"),
    "no merges that fit": (
        both(without(WHOLE), write("vocab.json", '{"a": 0}'), write("merges.txt", "x y")),
        "transformers"),
    "a vocabulary of another shape": (both(without(WHOLE), write("vocab.json", "[1]"), write("merges.txt", "x y")),
                                      r"vocab\.json: expected `object`"),
    "a pointer": (write(WHOLE, POINTER), r"tokenizer\.json: is a Git LFS pointer.*git lfs pull"),
    "a pointer for a template": (write("chat_template.jinja", POINTER), r"chat_template\.jinja: is a Git LFS pointer"),
    "a pointer for the settings": (write(CONFIG, POINTER), r"tokenizer_config\.json: is a Git LFS pointer"),
    "an empty file": (write(WHOLE, ""), r"tokenizer\.json: is empty"),
    "a truncated file": (
        lambda f: (f / WHOLE).write_text((f / WHOLE).read_text()[:900]),
        r"tokenizer\.json: is not valid JSON"),
    "half a character": (write(WHOLE, '{"model": {"vocab": {"\\ud800": 1}}}'), r"tokenizer\.json: holds half"),
    "no UTF-8": (write(WHOLE, b'{"model": "\xff"}'), r"tokenizer\.json: is not UTF-8"),
    "a list": (write(WHOLE, "[]"), r"tokenizer\.json: expected `object`"),
    "no model": (write(WHOLE, "{}"), r"tokenizer\.json: holds no 'model'"),
    "a model that is a list": (inside(WHOLE, "model", value=[]), r"tokenizer\.json: field 'model'"),
    "a vocabulary of texts": (
        inside(WHOLE, "model", "vocab", value={"a": "b"}),
        r"tokenizer\.json: field 'model.vocab"),
    "a vocabulary that is a text": (inside(WHOLE, "model", "vocab", value="a"), r"tokenizer\.json: field 'model.vocab"),
    "an id below zero": (inside(WHOLE, "model", "vocab", "a", value=-5), "transformers cannot read"),
    "an id beyond all": (inside(WHOLE, "model", "vocab", "a", value=2**40), "transformers cannot read"),
    "added tokens that are numbers": (
        inside(WHOLE, "added_tokens", value=[1]),
        r"tokenizer\.json: field 'added_tokens"),
    "another kind of model": (inside(WHOLE, "model", "type", value="Nobody"), "transformers cannot read"),
    "merges of unknown tokens": (inside(WHOLE, "model", "merges", value=[["xx", "yy"]]), "transformers cannot read"),
    "merges that are numbers": (inside(WHOLE, "model", "merges", value=[1]), r"tokenizer\.json: field 'model.merges"),
    "a regular expression that is none": (
        inside(WHOLE, "pre_tokenizer", value={"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated",
                                              "invert": False}), "transformers cannot read"),
    "very deep": (write(WHOLE, '{"model": ' + DEEP + "}"), r"tokenizer\.json: is nested"),
    "very deep settings": (write(CONFIG, '{"x": ' + DEEP + "}"), r"tokenizer_config\.json: is nested"),
    "broken settings": (write(CONFIG, '{"tokenizer_class": '), r"tokenizer_config\.json: is not valid JSON"),
    "settings that are a list": (write(CONFIG, "[]"), r"tokenizer_config\.json: expected `object`"),
    "a class that is a number": (change(CONFIG, tokenizer_class=5), r"tokenizer_config\.json: field 'tokenizer_class'"),
    "a token that is a number": (change(CONFIG, bos_token=5), r"tokenizer_config\.json: field 'bos_token'"),
    "a token that is a list": (change(CONFIG, pad_token=["<pad>"]), r"tokenizer_config\.json: field 'pad_token'"),
    "added tokens by name": (change(CONFIG, added_tokens_decoder={"x": {"content": "y"}}), "transformers cannot read"),
    "added tokens of texts": (change(CONFIG, added_tokens_decoder={"5": "y"}), "field 'added_tokens_decoder"),
    "a side": (change(CONFIG, padding_side="up"), "transformers cannot read"),
    "a length": (change(CONFIG, model_max_length="long"), r"field 'model_max_length'"),
    "a template that is a number": (
        both(change(CONFIG, chat_template=5)),
        r"tokenizer_config\.json: field 'chat_template'"),
    "templates without names": (change(CONFIG, chat_template=[{"template": "x"}]), "field 'chat_template"),
    "templates of numbers": (
        change(CONFIG, chat_template=[{"name": "default", "template": 5}]),
        "field 'chat_template"),
    "special tokens that are numbers": (
        both(change(CONFIG, added_tokens_decoder=None), write(SPECIAL, '{"bos_token": 5}')),
        r"special_tokens_map\.json: field"),
    "special tokens that are a list": (write(SPECIAL, "[]"), r"special_tokens_map\.json: expected `object`"),
    "added tokens that are a list": (write("added_tokens.json", "[]"), r"added_tokens\.json: expected `object`"),
    "added tokens without numbers": (write("added_tokens.json", '{"x": "y"}'), r"added_tokens\.json: field"),
    "a configuration that is a list": (write("config.json", "[]"), r"config\.json: expected `object`"),
    "a broken model": (write("config.json", "{"), r"config\.json: is not valid JSON"),
    "a configuration without heads": (
        change("config.json", num_attention_heads=0),
        r"config\.json: field 'num_attention_heads'"),
    "a configuration of texts": (change("config.json", num_hidden_layers="2"), r"config\.json: .*'num_hidden_layers'"),
    "a template in bytes": (write("chat_template.jinja", b"\xff\xfe"), r"chat_template\.jinja: is not UTF-8"),
    "another template in bytes": (write("additional_chat_templates/rag.jinja", b"\xff"), r"rag\.jinja: is not UTF-8"),
    "a template that does not end": (write("chat_template.jinja", "{% for m in messages %}"),
                                     r"chat_template\.jinja: cannot be read: Unexpected end"),
    "a template that fails on whatever is said": (
        write("chat_template.jinja", "{% for m in messages %}{{ m['content'] + 1 }}{% endfor %}"),
        r"chat_template\.jinja: the chat template fails on these roles .user.: TypeError.* Fix: correct the template"),
    "an endless template": (
        write("chat_template.jinja", "{{ 'a' * 10**9 }}"),
        r"chat_template\.jinja: makes a text of"),
    "a huge template": (write("chat_template.jinja", "x" * 300_000), r"chat_template\.jinja: has more than 100,000"),
    "a template in the settings": (
        both(without("chat_template.jinja"), change(CONFIG, chat_template="{% foo %}")),
        r"tokenizer_config\.json, field 'chat_template': cannot be read: .*unknown tag 'foo'"),
    "code": (
        change(CONFIG, auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil"),
        r"never run here"),
    "code for the fast one": (change(CONFIG, auto_map={"AutoTokenizer": [None, "evil.Evil"]}), r"\(evil\.Evil\)"),
    "code of somebody else": (change(CONFIG, auto_map={"AutoTokenizer": ["a/b--evil.Evil", None]}), "never run here"),
    "code in the old way": (change(CONFIG, auto_map=["evil.Evil", None]), "never run here"),
    "code as a text": (change(CONFIG, auto_map={"AutoTokenizer": "evil.Evil"}), "never run here"),
    "fewer tokens than rows": (
        change("config.json", vocab_size=1000),
        "258 tokens, and the model's embedding 1,000 rows"),
    "more tokens than rows": (change("config.json", vocab_size=200), "258 tokens, and the model's embedding 200 rows"),
    "bytes alone": (inside(WHOLE, "model", value=JUST_BYTES), "of an English sentence the vocabulary"),
    "nothing but the unknown": (inside(WHOLE, "model", value=UNKNOWN), "3 tokens, and the model's embedding 258 rows"),
    "an empty vocabulary": (both(without("config.json"), inside(WHOLE, "model", value=EMPTY)), "English sentence"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_names_the_file(fault, folder, monkeypatch):
    damage, problem = FAULTS[fault]
    (folder / "evil.py").write_text(f"open({str(folder / 'PWNED')!r}, 'w').write('x')\nclass Evil: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on stdin"))
    damage(folder)
    with pytest.raises(InputError, match=problem) as refusal:
        load_tokenizer(folder)
    assert str(refusal.value).isprintable() and not (folder / "PWNED").exists()
    assert str(folder) in str(refusal.value) and refusal.value.fix


def test_a_pipe_is_not_waited_for(folder):
    (folder / WHOLE).unlink()
    os.mkfifo(folder / WHOLE)
    with pytest.raises(InputError, match="no regular file"):
        load_tokenizer(folder)


HARMLESS = {
    "an unknown class": change(CONFIG, tokenizer_class="Nobody"),
    "code for something else": change(CONFIG, auto_map={"AutoProcessor": "x.Y"}),
    "code of the model": change("config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}),
    "code of a model nobody knows": change("config.json", model_type="evil", auto_map={"AutoConfig": "evil.Evil"}),
    "no settings": without(CONFIG),
    "no model": without("config.json"),
    "settings nobody knows": change(CONFIG, nobody={"a": [1]}, processor_class="X"),
    "broken settings of generation": write("generation_config.json", "{"),
    "ends in a list": change("config.json", eos_token_id=[1, 2], bos_token_id=-1),
    "ids beyond": change("config.json", eos_token_id=[10**9], bos_token_id=10**9),
    "padded rows": change("config.json", vocab_size=320),
    "several templates": write("additional_chat_templates/rag.jinja", "{{ nothing }}"),
    "a template of more": both(without("chat_template.jinja"), change(
        CONFIG, chat_template=[{"name": name, "template": tiny_model.TEMPLATE} for name in ("rag", "default")])),
    "a byte order mark": lambda f: (f / "chat_template.jinja").write_text("\ufeff" + tiny_model.TEMPLATE, "utf-8"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_does_no_harm_is_read(kind, folder):
    (folder / "evil.py").write_text(f"open({str(folder / 'PWNED')!r}, 'w').write('x')\nclass Evil: pass\n")
    expected = render(load_tokenizer(folder), [{"role": "user", "content": "What is it?"}])
    HARMLESS[kind](folder)
    found = render(load_tokenizer(folder), [{"role": "user", "content": "What is it?"}])
    assert found[-len(expected) :] == expected and not (folder / "PWNED").exists()


def test_a_text_with_a_token_that_the_model_has_no_row_for_is_refused(folder):
    tokenizer = tiny_model.tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    loaded = load_tokenizer(folder)
    assert render(loaded, [{"role": "user", "content": "PAD"}])
    with pytest.raises(TemplateRefusal, match=r"holds the token '\[PAD\]', for which the model has no embedding"):
        render(loaded, [{"role": "user", "content": "a [PAD]"}])
    with pytest.raises(TemplateRefusal, match="surrogate"):
        render(loaded, [{"role": "user", "content": "\ud800"}])


def test_which_of_several_templates_is_used_is_said(folder, caplog):
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("x")
    with caplog.at_level("INFO"):
        load_tokenizer(folder)
    assert "of the chat templates default, rag, 'default' is used" in caplog.text
