"""Rules from sentences alone: names made of their words.

The name of a sentence is made of its own words, and of more of them only where another sentence would have the same
name; so it stays as it is when sentences are added, removed or put in another order.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from encore_jax.errors import InputError

WORDS = 4
"""Of a name, if they are enough to tell the sentences apart."""
_MOST_WORDS = 60
_LONGEST = 60
"""Characters of a name."""
_PASSED_OVER = frozenset(
    "a an and any are as at be been being by for from has have if in is it its of on or response responses answer "
    "answers assistant reply should so that the their them there these they this those to was were will with".split()
)
_FORMS = 'pass sentences, (name, sentence) pairs, or {"name": "sentence"}'


def named_sentences(sentences: Iterable | Mapping[str, str]) -> list[tuple[str, object]]:
    """Names and texts of rules.

    Args:
      sentences: texts, (name, text) pairs, or a mapping from names to texts.

    Raises:
      InputError: it is a single text, or something in it is neither; a sentence is blank, or stands there twice.

    >>> named_sentences(["The response contains no slurs.", "It is kind."])
    [('contains_no_slurs', 'The response contains no slurs.'), ('kind', 'It is kind.')]
    """
    if isinstance(sentences, str | bytes) or not isinstance(sentences, Iterable):
        problem = f"got {type(sentences).__name__} {str(sentences)[:60]!r}, no list of sentences"
        raise InputError(problem, where="rules", fix=_FORMS)
    items = list(sentences.items()) if isinstance(sentences, Mapping) else list(sentences)
    entries = [_entry(item, i) for i, item in enumerate(items, 1)]
    first: dict[str, int] = {}
    for i, (_, text) in enumerate(entries, 1):
        if first.setdefault(text, i) != i:
            problem = f"is the same as entry {first[text]}: {text[:60]!r}"
            raise InputError(problem, where=f"rules, entry {i}", fix="leave one of them out")
    given = [name for name, _ in entries if name is not None]
    made = iter(rule_names([text for name, text in entries if name is None], taken=given))
    return [(next(made) if name is None else name, text) for name, text in entries]


def _entry(item: object, number: int) -> tuple[str | None, str]:
    where = f"rules, entry {number}"
    if isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, str) for part in item):
        name, text = item
    elif isinstance(item, str):
        name, text = None, item
    else:
        raise InputError(f"is of type {type(item).__name__}: {str(item)[:60]!r}", where=where, fix=_FORMS)
    if not text.strip():
        raise InputError("is blank", where=where, fix="state what a judge is to rate")
    return name, text.strip()


def rule_names(texts: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """A name for every sentence, different from each other and from those taken.

    >>> rule_names(["The answer gives no medical advice to children at home.",
    ...             "The answer gives no medical advice to children on ships."])
    ['gives_no_medical_advice_children_home', 'gives_no_medical_advice_children_ships']
    >>> rule_names(["Don't insult!", "回答是友好的。"])
    ['dont_insult', 'rule_33d9b3']
    """
    words = [_words(text) for text in texts]
    count, taken = [WORDS] * len(texts), set(taken)
    while True:
        names = [_name(own[:n], text) for own, n, text in zip(words, count, texts, strict=True)]
        often = Counter(names)
        longer = [
            i for i, name in enumerate(names)
            if (often[name] > 1 or name in taken) and count[i] < len(words[i]) and len(name) < _LONGEST
        ]  # fmt: skip
        if not longer:
            break
        for i in longer:
            count[i] += 1
    return [
        f"{name[: _LONGEST - 7].rstrip('_')}_{_digest(text)}" if often[name] > 1 or name in taken else name
        for name, text in zip(names, texts, strict=True)
    ]


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text.lower().replace("'", "").replace("\u2019", ""))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    every = re.findall(r"[a-z0-9]+", plain)
    return ([word for word in every if word not in _PASSED_OVER] or every)[:_MOST_WORDS]


def _name(words: Sequence[str], text: str) -> str:
    name = "_".join(words)[:_LONGEST].rstrip("_")
    if not name:
        return f"rule_{_digest(text)}"
    return name if name[0].isalpha() else f"rule_{name}"[:_LONGEST].rstrip("_")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
