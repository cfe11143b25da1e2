"""Plain English, checked: README, docs, docstrings, messages and help. ``python tests/plain_english.py`` prints faults.

The rules are few and mechanical: words that nobody says aloud, sentences that lose their reader, sentences that begin
with a bare participle, and prepositions that hang at the end. Code, tables, headings and what a run printed are not
prose.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORDS = {
    "anew": "again", "mend": "fix", "mends": "fixes", "mended": "fixed", "goes on": "resumes, continues",
    "utilise": "use", "utilize": "use", "leverage": "use", "in order to": "to",
    "whilst": "while", "amongst": "among", "thereof": "of it", "therein": "in it", "wherein": "in which",
    "whereby": "by which", "hence": "so", "thus": "so", "heretofore": "so far", "aforementioned": "this",
    "due to the fact that": "because", "at this point in time": "now", "a number of": "some", "is able to": "can",
    "are able to": "can", "simply": "leave it out", "basically": "leave it out", "obviously": "leave it out",
    "of course": "leave it out", "very": "leave it out, or give the number", "seamless": "say what it does",
    "seamlessly": "say what it does", "robust": "say against what", "powerful": "say what it does",
    "state-of-the-art": "give the number", "cutting-edge": "give the number", "blazing": "give the number",
    "is no news": "needs no message", "nought": "0", "forthwith": "at once", "hitherto": "so far",
    "ere": "before", "albeit": "though", "notwithstanding": "despite", "henceforth": "from now on",
}  # fmt: skip
"""Words and phrases, and what to write instead."""
PARTICIPLES = re.compile(
    r"^(Asked|Chosen|Drawn|Found|Given|Interrupted|Kept|Killed|Left out|Made|Run again|Seen|Shown|Started|Stopped|"
    r"Taken|Told|Tried)\b(?! and \w+ed\b),? "
)
HANGING = re.compile(r"\b(of|than|upon|that|what)[.:;?!]?$")
LONGEST_CLAUSE, LONGEST_SENTENCE = 42, 70
"""Words between two marks (. ; :), and of a sentence."""
SAYS = ("InputError", "print", "info", "warning", "error", "add_argument", "DEFINE_string", "DEFINE_bool")
"""Calls whose texts users read."""
PRINTED = re.compile(r"<!-- ([\w ]+): begin -->.*?<!-- \1: end -->", re.DOTALL)


def sentences(text: str) -> Iterator[str]:
    """The sentences of prose, each on one line."""
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text):
        plain = re.sub(r"`+[^`]*`+", "CODE", " ".join(paragraph.split()))
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"<[^>]+>", " ", plain)).replace("*", "")
        plain = re.sub(r"^(?:[-*]|\d+\.) ", "", plain)
        yield from (part.strip() for part in re.split(r"(?<=[.?!])\)? +(?=[A-Z(])", plain) if part.strip())


def faults(sentence: str) -> Iterator[str]:
    """What is wrong with a sentence, in words.

    >>> list(faults("Killed, it mends its files anew."))
    ["'anew': again", "'mends': fixes", 'begins with a bare participle: say who does what']
    """
    yield from odd_words(sentence)
    if PARTICIPLES.match(sentence):
        yield "begins with a bare participle: say who does what"
    if HANGING.search(sentence):
        yield "ends with a preposition: put the noun after it"
    count = max(map(words, re.split(r"[;:] ", sentence)))
    if count > LONGEST_CLAUSE or words(sentence) > LONGEST_SENTENCE:
        yield f"has {words(sentence)} words, {count} of them without a stop: make two sentences"


def odd_words(text: str) -> Iterator[str]:
    """Words that nobody says aloud, and what to write."""
    lower = text.lower()
    for word, better in WORDS.items():
        if word in lower and re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", lower):
            yield f"{word!r}: {better}"


def words(text: str) -> int:
    """How many words there are."""
    return len(re.findall(r"[\w'’.-]*[A-Za-z][\w'’.-]*", text))


def prose() -> Iterator[tuple[str, str]]:
    """Where and what: pages and docstrings."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = PRINTED.sub("", path.read_text(encoding="utf-8"))
        text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
        text = re.sub(r"^(\||#|<|!\[).*$", "\n", text, flags=re.MULTILINE)
        yield str(path.relative_to(ROOT)), text
    for path in sorted((ROOT / "encore_jax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
                first = re.split(r"(?:^|\n)\s*(?:Args|Returns|Raises|Yields|Attributes|Letters|Command|>>>)", text)[0]
                yield where, re.sub(r"^( {4,}|\|).*$", "\n", first, flags=re.MULTILINE)


def messages() -> Iterator[tuple[str, str]]:
    """Where and what: texts of messages and of help, which are pieces of sentences."""
    for path in sorted((ROOT / "encore_jax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in SAYS:
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", part.value


def all_faults() -> list[str]:
    """Every fault, with its place and its sentence."""
    found = [(where, sentence, faults(sentence)) for where, text in prose() for sentence in sentences(text)]
    found += [(where, text, odd_words(text)) for where, text in messages()]
    return [f"{where}: {fault}\n    {text[:160]}" for where, text, many in found for fault in many]


def main() -> int:
    """Prints every fault; 1 if there is one."""
    print(*(faults := all_faults()), sep="\n", end="\n" * bool(faults))
    count = len(faults)
    print(f"plain English: {count} to rewrite" if count else "plain English: nothing to rewrite")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
