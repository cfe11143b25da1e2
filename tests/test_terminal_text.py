"""Text from outside steers no terminal and no spreadsheet."""

import csv
import io
import re
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from encore_jax.csv_text import csv_text
from encore_jax.errors import InputError
from encore_jax.terminal_text import escaped, one_line

STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=20)
HOSTILE = st.text(st.sampled_from("\x1b\x9b\x07\r\n\t\x00\x7f\u202e\u2066\u2028\u200b\ud800\udfff\ufeff=+-@'\",ab 1"))


def steers(text):
    return any(unicodedata.category(character) in STEERING for character in text)


@given(st.one_of(ANYTHING, HOSTILE))
def test_no_text_steers_the_terminal(text):
    for shown in (escaped(text), one_line(text), str(InputError(text, where=text, fix=text))):
        assert not steers(shown)
        shown.encode()  # half a surrogate pair could not be printed
    assert not steers(escaped(text, lines=True).replace("\n", "").replace("\t", ""))


def test_ordinary_text_of_all_scripts_stays():
    for text in ("naïve Ünïcode", "规则 一", "قاعدة", "नियम", "ルール\u3000一", "a\u00a0b", "e\u0301", "🙂"):
        assert escaped(text) == text == str(InputError(text))


def test_very_long_text_is_cut_in_messages():
    assert len(str(InputError("x" * 10**6, where="y" * 10**6, fix="z" * 10**6))) < 7000


@given(st.lists(st.one_of(ANYTHING, HOSTILE), min_size=1, max_size=4))
def test_no_cell_of_a_csv_becomes_a_formula(cells):
    text = csv_text(cells, [cells])
    header, row = csv.reader(io.StringIO(text))
    assert header == row and len(row) == len(cells)
    for cell, before in zip(row, cells, strict=True):
        assert not steers(cell)
        begins = unicodedata.normalize("NFKC", cell.lstrip()[:1])
        assert begins not in ("=", "+", "-", "@") or re.fullmatch(r"[-+](\d[\d_]*\.?\d*|inf|nan)", cell.strip())
        assert escaped(before) in (cell, cell[1:])


def test_numbers_of_a_csv_stay_numbers():
    assert csv_text(["x"], [[-0.5], ["-0.5"], ["+1e-3"], [None], {"x": -1}, {}]) == 'x\n-0.5\n-0.5\n+1e-3\n""\n-1\n""\n'


def test_nothing_else_writes_csv():
    root = Path(__file__).parents[1]
    for path in [*(root / "encore_jax").rglob("*.py"), *(root / "experiments").rglob("*.py")]:
        if path.name != "csv_text.py":
            assert not re.search(r"csv\.(Dict)?[wW]riter|\.to_csv|pyarrow\.csv", path.read_text(encoding="utf-8")), path
