"""Published sets of judges' and people's ratings: what is read, in which order, and what is refused."""

import csv
import itertools

import numpy as np
import pytest

from encore_jax.data import judged
from encore_jax.data.delimited import read_table
from encore_jax.data.judged import preferred_pairs
from encore_jax.data.readers.hanna import HANNA_FILE, read_hanna
from encore_jax.data.readers.judged_sets import LAYOUT, judged_folders, read_judged
from encore_jax.data.readers.llm_rubric import LLM_RUBRIC_FILES, read_llm_rubric
from encore_jax.data.readers.llmbar import read_llmbar
from encore_jax.errors import InputError
from tests.data.judged_files import write_all, write_hanna, write_llm_rubric, write_llmbar


def test_means_of_people_tie_where_their_decimals_do_whatever_the_order(tmp_path):
    people = [f"Human {rater} RE" for rater in (1, 2, 3)]
    with open(tmp_path / HANNA_FILE, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Model", *people, "A RE 1"])
        for s, cells in enumerate(([1.1, 2.2, 3.3], [3.3, 2.2, 1.1], [2.2, 1.1, 3.3], [1.1, 2.2, 3.4])):
            writer.writerow([f"system {s}", *([cell] for cell in cells), "[1.0]"])
    assert read_hanna(tmp_path / HANNA_FILE).pairs.tolist() == [[3, 0], [3, 1], [3, 2]]


def test_hanna_pairs_stories_of_one_prompt_by_peoples_mean(tmp_path):
    human, rated = write_hanna(tmp_path)
    data = read_hanna(tmp_path / HANNA_FILE)
    assert data.rules == tuple(rated) and data.judges == "ChatGPT, Llama-13B"
    assert data.ratings.shape == (24, 12) and data.mask.all() and data.within_units
    for k, values in enumerate(rated.values()):
        np.testing.assert_allclose(data.ratings[:, k].reshape(6, 4), np.maximum(values, 1).T, rtol=1e-6)
    mean = human.mean((2, 3)).T.reshape(-1)
    better = {tuple(pair) for pair in data.pairs.tolist()}
    want = {
        (p * 4 + a, p * 4 + b)
        for p, a, b in itertools.product(range(6), range(4), range(4))
        if human[a, p].sum() > human[b, p].sum()
    }
    assert better == want and all(mean[a] > mean[b] for a, b in better)
    assert data.notes == ("1 of 288 ratings are below 1, because an answer failed, and count as 1.",)


def test_llmbar_keeps_pairs_whose_rating_is_missing_and_counts_them(tmp_path):
    rows = write_llmbar(tmp_path)
    data = read_llmbar(tmp_path)
    assert data.pairs[:2].tolist() == [[0, 1], [2, 3]] and data.judges == "A, B"
    assert (~data.mask).sum() == 1 and not data.mask[0, 3]
    np.testing.assert_array_equal(data.ratings[data.mask], rows.reshape(-1, 4)[data.mask])
    assert data.notes == ("1 of 30 pairs lack a rating.",)


@pytest.mark.parametrize("part", LLM_RUBRIC_FILES)
def test_llm_rubric_rates_by_the_expected_answer(tmp_path, part):
    shares, overall = write_llm_rubric(tmp_path, part)
    data = read_llm_rubric(tmp_path, part)
    np.testing.assert_allclose(data.ratings, shares @ np.arange(1, 5), rtol=1e-6)
    assert all(overall[a] > overall[b] for a, b in data.pairs) and not data.within_units
    assert len(data.pairs) == sum(a != b for a, b in itertools.combinations(overall[:20], 2))
    assert data.notes == ("1 dialogues that people rated and the LLM did not are left out.",)


def test_sets_are_recognised_by_their_files(tmp_path):
    write_all(tmp_path)
    found = judged_folders(tmp_path)
    assert list(found) == ["HANNA", "LLMBar", "LLM-Rubric, real"]
    assert [read_judged(name, folder).name for name, folder in found.items()] == list(found)
    assert list(judged_folders(tmp_path / "hanna")) == ["HANNA"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds none of the data sets.*ratings\.jsonl and judges\.json"):
        judged_folders(tmp_path / "empty")
    with pytest.raises(InputError, match="is no folder"):
        judged_folders(tmp_path / "nothing")


BAD_HANNA = {
    "is missing": None,
    "has no column Model": lambda text: text.replace("Model", "System"),
    "has no ratings of people": lambda text: text.replace("Human 1", "Person 1").replace("Human 2", "Person 2"),
    "not valid JSON": lambda text: text.replace("[", "[x", 1),
    "value 0 is nan": lambda text: _first_cell(text, "NaN"),
    "value 0 is 7.0": lambda text: _first_cell(text, "7"),
    "expected `float`": lambda text: _first_cell(text, '""bad""'),
    "lists of 6, 7 values": lambda text: _first_cell(text, "3, 3"),
    "has not the header's": lambda text: text + "a,b\n",
    "is not UTF-8": lambda text: text.encode() + b"\xff",
    "has two columns": lambda text: text.replace("BLEU", "Model", 1),
    "has 1 systems": lambda text: "\n".join(text.splitlines()[:2]),
    "has no column Model; it has none": lambda text: "",
}


def _first_cell(text, value):
    at = text.index('"[')
    end = text.index(",", at)
    return text[: at + 2] + value + text[end:]


@pytest.mark.parametrize(("problem", "change"), BAD_HANNA.items())
def test_a_damaged_hanna_file_ends_in_one_line(tmp_path, problem, change):
    write_hanna(tmp_path)
    path = tmp_path / HANNA_FILE
    text = path.read_text()
    path.unlink()
    if change:
        changed = change(text)
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    _refused(lambda: read_hanna(path), problem)


BAD_LLMBAR = {
    "an answer; judges.json names 3": ("judges.json", lambda text: '["a", "b", "c"]'),
    "names a judge twice": ("judges.json", lambda text: '["a", "b", "c", "a"]'),
    "field '[1]'": ("judges.json", lambda text: '["a", 1]'),
    "expected `float | null`": ("ratings.jsonl", lambda text: text.replace("null", '"x"')),
    "<= 10": ("ratings.jsonl", lambda text: text.replace("null", "11")),
    "missing required field `rejected`": ("ratings.jsonl", lambda text: text.replace("rejected", "other")),
    "holds no pair": ("ratings.jsonl", lambda text: ""),
}


@pytest.mark.parametrize(("problem", "place"), BAD_LLMBAR.items())
def test_a_damaged_llmbar_folder_ends_in_one_line(tmp_path, problem, place):
    write_llmbar(tmp_path)
    path = tmp_path / place[0]
    path.write_text(place[1](path.read_text()))
    _refused(lambda: read_llmbar(tmp_path), problem)


BAD_RUBRIC = {
    "probabilities add up": (0, lambda text: _cell(text, 3, "1")),
    "'x' is no number from 0 to 1": (0, lambda text: _cell(text, 3, "x")),
    "'nan' is no number from 0 to 1": (0, lambda text: _cell(text, 3, "nan")),
    "has question 'Q0' twice": (0, lambda text: text.replace("d0\tQ1", "d0\tQ0")),
    "dialogue 'd0' has no question 'Q1'": (0, lambda text: "".join(_without(text, "d0\tQ1"))),
    "has no column criterion": (0, lambda text: text.replace("criterion", "question")),
    "'5' is no number from 0 to 4": (1, lambda text: _cell(text, 2, "5")),
    "people rate no response better": (1, lambda text: "".join(text.splitlines(True)[:2])),
    "has no column Q0": (1, lambda text: text.replace("Q0", "Q9")),
}


def _cell(text, column, value):
    header, first, *rest = text.splitlines()
    cells = first.split("\t")
    cells[column] = value
    return "\n".join([header, "\t".join(cells), *rest])


def _without(text, start):
    return (line for line in text.splitlines(True) if not line.startswith(start))


@pytest.mark.parametrize(("problem", "place"), BAD_RUBRIC.items())
def test_a_damaged_llm_rubric_table_ends_in_one_line(tmp_path, problem, place):
    write_llm_rubric(tmp_path)
    path = tmp_path / LLM_RUBRIC_FILES["real"][place[0]]
    path.write_text(place[1](path.read_text()))
    _refused(lambda: read_llm_rubric(tmp_path), problem)


def _refused(read, problem):
    with pytest.raises(InputError) as caught:
        read()
    assert problem in str(caught.value) and "\n" not in str(caught.value) and caught.value.fix


def test_a_table_with_far_too_many_pairs_is_refused_before_it_is_built(monkeypatch):
    monkeypatch.setattr(judged, "MOST_PAIRS", 2)
    assert len(preferred_pairs([1, 2, 2, 1], [0, 0, 1, 1], "x")) == 2
    with pytest.raises(InputError, match="3 pairs of responses"):
        preferred_pairs([1, 2, 3], [0, 0, 0], "x")


def test_quotes_that_never_end_are_no_table(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n1,"2\n')
    with pytest.raises(InputError, match="is no table"):
        list(read_table(tmp_path / "t.csv"))


def test_the_published_files_have_their_published_sizes(shared_data):
    sizes = {name: read_judged(name, folder) for name, folder in judged_folders(shared_data).items()}
    assert {name: (len(d.rules), len(d.pairs)) for name, d in sizes.items()} == {
        "HANNA": (120, 5145), "LLMBar": (7, 419), "LLM-Rubric, synthetic": (9, 20667), "LLM-Rubric, real": (9, 16244)
    }  # fmt: skip
    assert list(LAYOUT) == list(sizes)
