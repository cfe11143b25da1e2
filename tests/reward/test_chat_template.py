"""The renderer: equal to transformers', whatever the day; bounded; and every fault of a template in one line."""

import datetime
import hashlib
import json
import re
import threading
import time

import pytest
import transformers.utils.chat_template_utils as theirs
from jinja2 import Environment

from encore_jax.errors import InputError
from encore_jax.text.chat_template import TemplateRefusal, compiled, render_texts, takes_system_role
from encore_jax.text.pinned_clock import DATE_STRING, DIRECTIVES, PINNED, asks_clock, pinned_source, strftime_now
from encore_jax.text.rendering import render
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from tests.experiments import tiny_model
from tests.reward import templates
from tests.reward.templates import KINDS


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


CHATS = [
    [turn("user", "What is it?")],
    [turn("user", " What\n\nis it? "), turn("assistant", " It's <b>this</b> & \"that\"\\n. ")],
    [turn("system", "Speak é ü 世界 🙂."), turn("user", "a"), turn("assistant", "b"), turn("user", "{{ 1 + 1 }}")],
    [turn("user", "a"), turn("assistant", "<think>\nwhy\n</think>\n\nso"), turn("user", "b"), turn("assistant", "c")],
    [turn("user", "a"), turn("assistant", "<think>\nwhy\n</think>\n\nso")],
    [turn("user", "a"), turn("assistant", "so", reasoning_content="why"), turn("user", "b", name=None)],
    [turn("user", "a"), turn("assistant", "so", thinking="why"), turn("stop", ""), turn("user", "")],
    [turn("user", [{"type": "text", "text": "in parts"}, {"type": "image"}]), turn("assistant", "x")],
    [turn("system", "only this")],
    [turn("tool", "{}"), turn("user", "a"), turn("user", "b")],
    [turn("user", str(i)) if i % 2 == 0 else turn("assistant", "x" * i) for i in range(40)],
]  # fmt: skip


def tokenizer_with(template, **special):
    tokenizer = tiny_model.tokenizer()
    tokenizer.chat_template = template
    for name, text in {"bos_token": "<|im_start|>", **special}.items():
        setattr(tokenizer, name, text)
    return tokenizer


def set_clock(monkeypatch, moment):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return moment

    monkeypatch.setattr(theirs, "datetime", Clock)


def outcome(function):
    """A text, or that there is none."""
    try:
        return function()
    except Exception:
        return None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_texts_and_tokens_are_those_of_transformers(kind, monkeypatch):
    set_clock(monkeypatch, PINNED)
    tokenizer, texts = tokenizer_with(KINDS[kind]), 0
    for chat in CHATS:
        for generation in (False, True):
            options = {"add_generation_prompt": generation, "date_string": DATE_STRING}
            expected = outcome(lambda: tokenizer.apply_chat_template(chat, tokenize=False, **options))  # noqa: B023
            found = outcome(lambda: render_texts(tokenizer, [chat], generation=generation)[0])  # noqa: B023
            assert found == expected
            texts += expected is not None
        if expected is not None:
            assert render(tokenizer, chat) == tokenizer.apply_chat_template(chat, return_dict=False, **options)
    assert texts >= 8


def test_the_date_is_the_same_on_every_day(monkeypatch):
    tokenizer = tokenizer_with(templates.MISTRAL_SMALL)
    first = render_texts(tokenizer, [CHATS[0]], generation=True)
    set_clock(monkeypatch, datetime.datetime(2031, 2, 3))
    assert render_texts(tokenizer, [CHATS[0]], generation=True) == first
    assert "The current date is 2024-07-26." in first[0]


def test_every_directive_is_that_of_strftime():
    for name, text in DIRECTIVES.items():
        assert text == PINNED.strftime(f"%{name}"), name
    assert strftime_now("%%d %d%%") == PINNED.strftime("%%d %d%%") == "%d 26%"
    assert PINNED.strftime("%d %b %Y") == DATE_STRING


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_pinned_template_prints_the_same_in_transformers_on_another_day(kind, monkeypatch):
    set_clock(monkeypatch, datetime.datetime(2031, 2, 3))
    source = KINDS[kind]
    for begin in ("", "\n", "  \n  {%- if true %}a{% endif %}", "   {% if true %}b{% endif %}\n"):
        ours, exported = tokenizer_with(begin + source), tokenizer_with(pinned_source(begin + source))
        for chat in CHATS:
            expected = outcome(lambda: render_texts(ours, [chat], generation=True)[0])  # noqa: B023
            found = outcome(lambda: exported.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))  # noqa: B023
            assert found == expected == outcome(lambda: render_texts(exported, [chat], generation=True)[0])  # noqa: B023
    assert pinned_source(pinned_source(source)) == pinned_source(source)


def test_a_pinned_template_knows_every_directive(monkeypatch):
    set_clock(monkeypatch, datetime.datetime(2031, 2, 3))
    wanted = "|".join(f"%{name}" for name in DIRECTIVES) + "|%%d"
    source = pinned_source("{{ strftime_now(messages[0]['content']) }}{{ strftime_now('%Y') }}")
    text = tokenizer_with(source).apply_chat_template([turn("user", wanted)], tokenize=False)
    assert text == PINNED.strftime(wanted) + "2024"


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ("{{ strftime_now('%Y') }}", True),
        ("{% set clock = strftime_now %}{{ clock('%Y') }}", True),
        (templates.MISTRAL_SMALL, True),
        (templates.LLAMA3, False),
        ("{% if date_string is defined %}{{ strftime_now('%Y') }}{% endif %}", True),
        ("{% if not date_string is defined %}{% else %}{{ strftime_now('%Y') }}{% endif %}", True),
        ("{% if date_string is undefined %}{{ strftime_now('%Y') }}{% endif %}", False),
        ("{{ strftime_now('%Y') if date_string is not defined and true else date_string }}", False),
        ("{% if date_string is undefined or true %}{{ strftime_now('%Y') }}{% endif %}", True),
        ("{% macro f(date_string) %}{% if date_string is undefined %}{{ strftime_now('%Y') }}{% endif %}{% endmacro %}",
         True),
        ("{% if strftime_now is defined %}x{% endif %}", False),
        (pinned_source(templates.MISTRAL_SMALL), True),
    ],
)  # fmt: skip
def test_whether_a_template_asks_for_the_clock(source, asks):
    assert asks_clock(Environment().parse(source)) == asks


def test_the_pinned_time_is_in_the_digest_of_templates_that_ask_for_it_alone():
    def before(tokenizer):
        special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        content = {"template": tokenizer.chat_template, "date_string": "26 Jul 2024", "special": special}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    for kind, source in KINDS.items():
        for template in (source, {"default": templates.CHATML, "rag": source}):
            tokenizer = tokenizer_with(template)
            assert (template_digest(tokenizer) == before(tokenizer)) == (kind != "mistral small"), kind
    assert template_digest(tokenizer_with(None)) == before(tokenizer_with(None))


@pytest.mark.parametrize(
    ("kind", "takes"),
    [
        ("chatml", True),
        ("llama2", True),
        ("llama3", True),
        ("mistral", True),
        ("gemma", False),
        ("phi", True),
        ("gemma3", True),
        ("olmoe", True),
    ],
)
def test_whether_a_template_takes_a_system_role(kind, takes):
    assert takes_system_role(tokenizer_with(KINDS[kind])) is takes


def test_a_template_that_leaves_the_system_message_out_does_not_take_it():
    silent = "{% for m in messages if m.role != 'system' %}{{ m.role + ': ' + m.content }}{% endfor %}"
    assert takes_system_role(tokenizer_with(silent)) is False
    fails = "{% for m in messages %}{{ {'user': 'u'}[m.role] + m.content }}{% endfor %}"
    assert takes_system_role(tokenizer_with(fails)) is False
    for broken in ("nothing", "{{ messages[5].content }}", "{{ raise_exception('no') }}"):
        with pytest.raises(InputError):
            takes_system_role(tokenizer_with(broken))


def doubling(first, step, last="", times=99):
    begin = f"{{% set ns = namespace(x={first}) %}}{{% for i in range({times}) %}}"
    return f"{begin}{{% set ns.x = {step} %}}{{% endfor %}}{last}"


FOR, END = "{% for a in range(99999) %}", "{% endfor %}"
TWICE = "[ns.x, ns.x]"
ENDLESS = [
    3 * FOR + 3 * END, 2 * FOR + "x" + 2 * END, FOR + "{% for b in range(99999) if false %}{% endfor %}" + END,
    FOR + "{{ range(99999) | select('odd') | reject('odd') | list }}" + END,
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for x in [1, 2] recursive %}{% if loop.depth < 60 %}{{ loop([1, 2]) }}{% endif %}{% endfor %}",
    "{{ 'a' * 10**9 }}", "{{ 1000000000 * 'a' }}", "{% set x = [1] * 99999 %}{{ (x * 99999) | length }}",
    "{{ 'a' | center(1000000000) }}", "{{ 'a'.ljust(1000000000) }}", "{{ 'a'.zfill(10**9) }}",
    "{{ ('\t' * 9999).expandtabs(99999) }}", "{{ ('a\n' * 9999) | indent(99999) }}",
    "{{ ('a' * 9999).replace('a', 'b' * 9999) }}", "{{ ('a' * 9999) | replace('', 'b' * 9999) }}",
    "{{ ('b' * 9999).join(range(9999) | map('string')) }}", "{{ range(9999) | join('b' * 9999) }}",
    "{{ 7 ** 7 ** 99 }}", doubling("7", "ns.x * ns.x"), doubling("'aaaa'", "ns.x + ns.x"),
    doubling("'aaaa'", "ns.x ~ ns.x"), doubling("[1]", "ns.x + ns.x"), doubling("(1,)", "(ns.x, ns.x)"),
    doubling("[1]", TWICE, "{{ ns.x }}"), doubling("[1]", TWICE, "{{ ns.x | tojson }}"),
    doubling("[1]", TWICE, "{{ ns.x | tojson(indent=2) }}"), doubling("[1]", TWICE, "{{ ns.x | string | length }}"),
    doubling("[1]", TWICE, "{{ ('%s' % ns.x) | length }}"), doubling("[1]", TWICE, "{{ '{}'.format(ns.x) | length }}"),
    doubling("[1]", TWICE, "{{ (ns.x ~ '') | length }}"), doubling("[1]", TWICE, "{{ [ns] | string | length }}"),
    doubling("[1]", TWICE, "{{ messages[ns.x].a }}"), doubling("[1]", TWICE, "{{ raise_exception(ns.x) }}"),
    doubling("[1]", TWICE, "{{ ns.x == [ns.x[0], 2] }}"), doubling("[1]", TWICE, "{{ ns.x is eq([ns.x[0], 2]) }}"),
    doubling("[1]", TWICE, "{{ [[ns.x[0], 2]].index(ns.x) }}"), doubling("[1]", TWICE, "{{ [ns.x] | sort }}"),
    "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}"
    "{% set ns.x = y %}{% endfor %}",
    doubling("[]", "ns.x + ['a' * 9999]", times=99999),
    doubling("[]", "[ns.x, dict.fromkeys(range(9999))]", times=99999),
    "{{ '%1000000000d' % 1 }}", "{{ '%*d' % (1000000000, 1) }}", "{{ '%1000000000d' | format(1) }}",
    "{{ '{:1000000000d}'.format(1) }}", "{{ '{:{}}'.format(1, 1000000000) }}",
    "{{ ('{0}' * 9999).format('a' * 9999) }}",
    "{{ [1] | batch(1000000000, 'x') | list }}", "{{ [[1]] | tojson(indent=1000000000) }}",
    "{{ 1.5 | round(1000000000, 'ceil') }}", "{{ ([[1]] * 9999) | sum(start=[]) }}",
    "{{ (5).to_bytes(1000000000, 'big') }}", "{{ 'aaa'.translate({97: 'b' * 99999}) }}",
    "{{ strftime_now('%1000000000d') }}",
]  # fmt: skip


def test_a_template_that_fails_on_some_conversations_is_named_with_its_file_and_a_fix(tmp_path):
    source = "{% for m in messages %}{{ m['content'] + (1 if m['role'] == 'tool' else '') }}{% endfor %}"
    tokenizer = tiny_model.tokenizer()
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(source)
    loaded = load_tokenizer(tmp_path)
    with pytest.raises(TemplateRefusal) as refusal:
        render(loaded, [turn("user", "x"), turn("tool", "y")])
    said = str(refusal.value)
    assert "chat_template.jinja) fails on these roles (user tool): TypeError" in said and "Fix: correct" in said


@pytest.mark.parametrize("source", ENDLESS)
def test_what_takes_too_long_or_makes_too_much_is_refused(source):
    began = time.thread_time()
    with pytest.raises(InputError) as refusal:
        compiled(source).render([turn("user", "x")], {})
    assert not isinstance(refusal.value, TemplateRefusal)  # no row is to blame
    assert time.thread_time() - began < 10 and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% for a in range(10**9) %}x{% endfor %}", "fails on these roles .user.: OverflowError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ [1, 2] | random }}", "random"),
        ("{{ lipsum() }}", "'lipsum' is undefined"),
        ("{{ now() }}", "'now' is undefined"),
        ("{{ 'a' + 1 }}", "fails on these roles .user.: TypeError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ range }}", "prints a function"),
        ("{{ 'a'.upper }}", "prints a builtin_function_or_method"),
        ("{{ raise_exception('a\x1b[31m\nb') }}", r"a\\x1b\[31m b"),
        ("{{ raise_exception([1]) }}", "class 'list'"),
        ("{{ messages.__init__.__globals__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% set ns = namespace(_x=1) %}", "cannot hold '_x'"),
        ("{% include 'x' %}", "no loader"),
        ("{% for m in messages %}", "cannot be read: Unexpected end of template.*line 1"),
        ("{{ 1 | foo }}", "No filter named 'foo'"),
        ("{% foo %}", "unknown tag 'foo'"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "RecursionError"),
        ("{{ " + "+".join(["x"] * 9000) + " }}", "RecursionError"),
        ("".join(f"{{% for a{i} in [1] %}}" for i in range(40)) + "{% endfor %}" * 40, "too many statically nested"),
        ("x" * 1_000_000, "more than 100,000 characters"),
    ],
)
def test_whatever_a_template_does_wrong_is_one_line(source, problem):
    with pytest.raises(InputError, match=problem) as refusal:
        compiled(source).render([turn("user", "x")], {})
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 600


def test_a_long_conversation_is_no_endless_one():
    tokenizer = tokenizer_with(KINDS["qwen"])
    chat = [turn("user", "x" * 3000) if i % 2 == 0 else turn("assistant", "<think>a</think>y") for i in range(2000)]
    [text] = render_texts(tokenizer, [chat], generation=True)
    assert text.count("x" * 3000) == 1000


def test_threads_do_not_pay_for_each_other():
    template, failures = compiled(KINDS["macros"]), []
    expected = template.render(CHATS[1], {})

    def work():
        for _ in range(50):
            try:
                assert template.render(CHATS[1], {}) == expected
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_text_that_is_refused_is_named_by_its_number():
    tokenizer = tokenizer_with(KINDS["gemma"])
    chats = [[turn("user", "a")], [turn("system", "b"), turn("user", "c")]]
    with pytest.raises(TemplateRefusal, match=re.escape("text 1, messages: the chat template refuses these roles")):
        render_texts(tokenizer, chats, generation=True)
    with pytest.raises(TemplateRefusal, match="no messages"):
        render_texts(tokenizer, [[]], generation=True)


def test_of_several_templates_the_default_is_used():
    several = {"rag": "x", "default": templates.CHATML, "tool_use": "y"}
    assert render(tokenizer_with(several), CHATS[0]) == render(tokenizer_with(templates.CHATML), CHATS[0])
    with pytest.raises(InputError, match="none is named 'default': rag, tool_use"):
        render(tokenizer_with({"rag": "x", "tool_use": "y"}), CHATS[0])
