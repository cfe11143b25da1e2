"""Texts are plain English (`make lint` says where they are not), and the check notices what it should."""

import pytest

from tests.plain_english import all_faults, faults, sentences


def test_pages_docstrings_and_messages_are_plain_english():
    assert not all_faults()


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("The command goes on.", "'goes on'"),
        ("It fits them anew.", "'anew': again"),
        ("This is very fast.", "'very'"),
        ("Killed, the run resumes.", "bare participle"),
        ("Run again, it skips what is done.", "bare participle"),
        ("This is what it is made of.", "ends with a preposition"),
        ("It is " + "and ".join(["one "] * 40) + "two.", "without a stop"),
        ("It is " + "; ".join(["one two three four five six seven"] * 12) + ".", "make two sentences"),
    ],
)
def test_what_is_not_plain_is_noticed(sentence, said):
    assert any(said in fault for fault in faults(sentence))


@pytest.mark.parametrize(
    "sentence",
    ["A killed run resumes where it was.", "Every rating is counted.", "`very` is a name."],
)
def test_what_is_plain_passes(sentence):
    found = [fault for part in sentences(sentence) for fault in faults(part)]
    assert not found


def test_code_links_and_lists_are_not_sentences():
    text = "See [the very page](a.md) now.\n\n- One item\n- Another `very` item"
    assert list(sentences(text)) == ["See the very page now.", "One item", "Another CODE item"]
