"""Messages that a chat template does not print are noticed, whatever it does to their white space and escapes."""

import logging

import pytest

from encore_jax.data.comparison import Message
from encore_jax.reward.sequences import token_sequences
from encore_jax.text.chat_template import render_chats
from encore_jax.text.hidden_text import hidden_messages
from tests.reward import templates
from tests.reward.templates import KINDS
from tests.reward.test_chat_template import tokenizer_with, turn

EACH = "{% for m in messages %}<{{ m.role }}>%s{% endfor %}"


def hidden(template, *turns):
    """What one rendering hides."""
    return render_chats(tokenizer_with(template), [turns], generation=False)[0].hidden


@pytest.mark.parametrize(
    "printed",
    [
        "{{ m.content }}",
        "{{ m.content | trim }}",
        "{{ m.content.strip() }}",
        "{{ m.content | tojson }}",
        "{{ m.content | tojson(ensure_ascii=True) }}",
        "{{ m.content | e }}",
        "{{ m.content.replace('\n', ' ') }}",
        "{{ m.content.split() | join('') }}",
        "{{ m.content | indent(4) }}",
        "[{{ m.content }}]{{ m.content }}",
    ],
)
def test_white_space_and_escapes_are_no_matter(printed):
    turns = [
        turn("system", ' Say "é" & <b>\n\n so.\t'),
        turn("user", "user"),
        turn("assistant", "a"),
        turn("user", "a"),
    ]
    assert hidden(EACH.replace("%s", printed), *turns) == ""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_templates_that_print_everything_hide_nothing(kind):
    chat = [turn("user", "What is it?"), turn("assistant", " It's <b>this</b>\nor that. "), turn("user", "user")]
    assert hidden(KINDS[kind], *chat) == ""


@pytest.mark.parametrize(
    ("printed", "turns", "number"),
    [
        ("{% if m.role != 'system' %}{{ m.content }}{% endif %}", [turn("system", "No."), turn("user", "No. No.")], 0),
        ("{% if m.role != 'system' %}{{ m.content }}{% endif %}", [turn("system", "user"), turn("user", "x")], 0),
        ("{{ m.content.split('</think>')[-1] }}", [turn("user", "x"), turn("assistant", "<think>a</think>b")], 1),
        ("{{ m.content[:5] }}", [turn("user", "short"), turn("assistant", "not short")], 1),
        ("{{ m.content | upper }}", [turn("user", "Yes")], 0),
        ("{{ m.content | truncate(20) }}", [turn("user", "word " * 20)], 0),
        ("{% if loop.last %}{{ m.content }}{% endif %}", [turn("user", "a"), turn("user", "b"), turn("user", "a")], 1),
        ("{% if loop.last %}{{ m.content }}{% endif %}", [turn("user", "same"), turn("user", "same")], 1),
        ("{{ m.content if m.content is string }}", [turn("user", [{"type": "text", "text": "in parts"}])], 0),
        ("{{ m.role }}", [turn("user", "assistant"), turn("assistant", "user")], 0),
    ],
)
def test_what_is_not_printed_is_noticed(printed, turns, number):
    said = hidden(EACH.replace("%s", printed), *turns)
    assert said.startswith(f"the chat template does not print, or not wholly, the {turns[number]['role']} message")


def test_reasoning_that_a_template_cuts_is_noticed_in_every_turn():
    chat = [turn("user", "a?"), turn("assistant", "<think>why</think>so"), turn("user", "b?"), turn("assistant", "c")]
    assert "'<think>why</think>so'" in hidden(templates.R1, *chat)
    assert "'<think>why</think>so'" in hidden(templates.QWEN, *chat)
    assert hidden(templates.QWEN, *chat[:2]) == ""  # of the last turn it is printed, otherwise spaced
    assert hidden_messages(chat, "a?c") == [1, 2]


def test_the_texts_are_counted_or_the_first_is_logged(caplog):
    tokenizer = tokenizer_with(templates.R1)
    texts = [((Message("user", "Why?"),), answer) for answer in ("So.", "<think>a</think>So.", "<think>b</think>So.")]
    found = {}
    whole, first, second = token_sequences(tokenizer, texts, "last", None, None, found)
    assert whole.tolist() == first.tolist() == second.tolist() and sorted(found) == [1, 2]
    with caplog.at_level(logging.WARNING):
        token_sequences(tokenizer, texts, "last", None)
    assert "parts of 2 of 3 texts are not scored; the first, text 1: the chat template does not print" in caplog.text


def test_texts_that_are_tokenised_together_are_refused_alone():
    tokenizer = tokenizer_with(KINDS["gemma"])
    texts = [((Message("user", f"text {i}"),), "answer") for i in range(150)]
    alone = [token_sequences(tokenizer, [text], "last", None)[0] for text in texts]
    texts[70] = ((Message("system", "no"), Message("user", "x")), "answer")
    refused = {}
    found = token_sequences(tokenizer, texts, "last", None, refused)
    assert list(refused) == [70] and found[70] is None and "System role not supported" in refused[70]
    tokenizer.tokens_without_embedding = frozenset(tokenizer("Q", add_special_tokens=False)["input_ids"])
    texts[90] = ((Message("user", "Q"),), "answer")
    refused = {}
    found = token_sequences(tokenizer, texts, "last", None, refused)
    assert list(refused) == [70, 90] and "no embedding" in refused[90]
    assert all(found[i].tolist() == alone[i].tolist() for i in range(150) if i not in (70, 90))
