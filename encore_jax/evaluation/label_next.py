"""Which comparisons to label next, as a person reads them: what each is called, how its texts begin, and where its
label goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from encore_jax.data.comparison import Comparison, RatedResponse
from encore_jax.formats import printable, shortened

Field = Literal["either", "index", "side", "quality", "extra.quality"]
"""What a label is: `FIELDS` has the words. "either" where it is not known what the ratings were read from."""

MOST_CHARACTERS = 160
"""Of the beginning of a text."""

FIELDS: Mapping[tuple[Field, bool], str] = {
    ("index", False): 'as "preferred": the number of the better response, 0 for the first',
    ("side", False): 'in a column "preferred": the better response, a or b',
    ("quality", False): 'in a column "quality", for every response of the prompt: a number, higher is better',
    ("extra.quality", False): 'as "extra": {"quality": NUMBER}, for every response of the prompt: higher is better',
    ("either", False): 'as "preferred" (an argument in Python, or a column or field of the file that was '
    "read): the number of the better response, 0 for the first",
    ("quality", True): 'in a column "quality": how good the response is, a number, higher is better',
    ("extra.quality", True): 'as "extra": {"quality": NUMBER}: how good the response is, higher is better',
    ("either", True): 'as "quality" (an argument in Python, or a column of the file that was read): how good '
    "the response is, a number, higher is better",
}
"""By `Field`, and by whether responses were rated alone."""


AGAIN = "Then run the same command again."


class LabelPlace(NamedTuple):
    """Where labels go.

    Attributes:
      field: of the file.
      file: its name; "" where it is not known.
      copy_of: the file of a run that must stay as it is, so that `file` is to be a copy of it; "" for none.
      then: what to do once labels are there, a sentence.
      column: that holds labels already, under another name than "preferred"; "" for none.
    """

    field: Field = "either"
    file: str = ""
    copy_of: str = ""
    then: str = AGAIN
    column: str = ""


def where_to_label(place: LabelPlace, single: bool = False) -> str:
    """Which file and which field labels are written to, and what to do then.

    Args:
      place: where.
      single: whether responses were rated alone, and not in comparisons.

    >>> where_to_label(LabelPlace("side", "pairs.csv"))
    'Write each label into pairs.csv, in a column "preferred": the better response, a or b. Then run the \
same command again.'
    """
    copied = (
        f"Copy {printable(place.copy_of)}, and pool.yaml beside it, to a folder of your own. " if place.copy_of else ""
    )
    field = place.field if (place.field, single) in FIELDS else "either"
    file = f" into {printable(place.file)}," if place.file else ""
    words = FIELDS[field, single]
    if place.column:
        words = words.replace('"preferred"', f'"{printable(place.column)}"')
    return f"{copied * bool(place.copy_of)}Write each label{file} {words}. {place.then}"


def place_in_run(data: Mapping[str, object], workdir: str, stage: str = "rate", single: bool = False) -> LabelPlace:
    """Where labels go of what a rating run has rated: into the file that it read, if it read one of the user's.

    Args:
      data: the section "data" of the run's configuration.
      workdir: of the run.
      stage: that left the ratings.
      single: whether it is its rated responses that were read.
    """
    if single:
        then, file = "Then: encore reliability FOLDER/rated.jsonl.", "FOLDER/rated.jsonl"
        return LabelPlace("extra.quality", file, f"{workdir}/{stage}/rated.jsonl", then)
    path = str(data.get("path") or "")
    if data.get("source") == "files" and path and "://" not in path:
        field: Field = "side" if path.lower().endswith((".csv", ".tsv", ".csv.gz")) else "index"
        then = "Then run the same command again: the judge is not asked again about what it has answered."
        return LabelPlace(field, path, then=then)
    then = "Then: encore reliability FOLDER/comparisons.jsonl."
    return LabelPlace("index", "FOLDER/comparisons.jsonl", f"{workdir}/{stage}/comparisons.jsonl", then)


def texts_of(record: Comparison | RatedResponse) -> tuple[str, ...]:
    """The last message of the prompt, then every response, whole."""
    responses = record.responses if isinstance(record, Comparison) else (record.response,)
    return (record.prompt[-1].content, *responses)


def texts_together(rated: Sequence[RatedResponse]) -> tuple[str, ...]:
    """The same of responses to one prompt, each rated by itself."""
    return (rated[0].prompt[-1].content, *(one.response for one in rated))


def openings(texts: Iterable[Sequence[str]], most: int = MOST_CHARACTERS) -> list[list[str]]:
    """How texts begin, each on one line and without control characters.

    >>> openings([["How  do\\nI?", "So."]])
    [['How do I?', 'So.']]
    """
    return [[shortened(" ".join(text[: 8 * most].split()), most) for text in own] for own in texts]


def listed(records: Sequence[Comparison], numbers: Sequence[int]) -> dict[str, list]:
    """`label_next` and `label_texts` of a run's results: what comparisons are called, and how their texts begin.

    Args:
      records: those to label.
      numbers: their numbers, which those without a name are called by.
    """
    names = [record.id or str(i) for record, i in zip(records, numbers, strict=True)]
    return {"label_next": names, "label_texts": openings(map(texts_of, records))}


def label_table(
    names: Sequence[str], begins: Sequence[Sequence[str]], place: LabelPlace, single: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the list: what each comparison is called, how its prompt begins, and how its responses do.

    Args:
      names: of the comparisons, or responses.
      begins: `openings` of each; empty where texts are not known.
      place: where labels go: responses are numbered, or lettered, as labels are.
      single: see `where_to_label`.

    >>> label_table(["t.csv:2"], [["Hi", "Hello!", "Go."]], LabelPlace("side"))
    (['comparison', 'prompt', 'response a', 'response b'], [['t.csv:2', 'Hi', 'Hello!', 'Go.']])
    """
    columns = max(map(len, begins), default=0)
    if not columns:
        return ["response" if single else "comparison"], [[printable(name)] for name in names]
    if single:
        head = ["called", "prompt", "response"]
    else:
        marks = "abcdefghijklmnopqrstuvwxyz" if place.field == "side" and columns <= 27 else range(columns - 1)
        head = [
            "comparison",
            "prompt",
            *(f"response {mark}" for mark, _ in zip(marks, range(columns - 1), strict=False)),
        ]
    rows = [[printable(name), *own, *[""] * (columns - len(own))] for name, own in zip(names, begins, strict=True)]
    return head, rows
