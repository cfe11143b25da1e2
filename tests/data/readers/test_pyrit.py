"""PyRIT's human ratings: merging, averaging, orientation, and same-prompt severity comparisons."""

import collections
import os
import zipfile

import numpy as np
import pytest

from encore_jax.data import (
    PYRIT_HARM_RULES,
    PYRIT_RULES,
    PYRIT_WHEEL,
    SkipCounter,
    read_pyrit,
    severity_comparisons,
    wheel,
)
from encore_jax.errors import InputError
from encore_jax.rules.rule import Rule, RulePool

ROOT = "pyrit/datasets/scorer_evals"
POOL = RulePool.shipped("pyrit_10")


@pytest.fixture
def pack(fixtures, tmp_path):
    """A wheel of the fixture files; pack({"harm/x.csv": bytes or None}) adds, replaces or leaves out members."""

    def write(changes=()):
        source = fixtures / "pyrit"
        members = {str(path.relative_to(source)): path.read_bytes() for path in sorted(source.rglob("*.csv"))}
        members = {"harm/violence_metrics.jsonl": b"{}", "sample/mini_refusal.csv": b"a\n", **members, **dict(changes)}
        path = tmp_path / "pyrit-1.1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                if content is not None:
                    archive.writestr(f"{ROOT}/{name}", content)
        return path

    return write


def read(path, pool=POOL):
    return list(read_pyrit(path, pool=pool, skips=SkipCounter()))


def ratings(record, pool=POOL):
    return {name: float(r) for name, r, m in zip(pool.names, record.ratings, record.mask, strict=True) if m}


def test_merged_averaged_and_oriented(pack):
    skips = SkipCounter()
    rated = list(read_pyrit(pack(), pool=POOL, skips=skips))
    by_response = {record.response: record for record in rated}
    assert len(by_response) == len(rated) == 9
    assert skips.kept == 12 and skips.reasons == {"of type 'image_path' instead of text": 1}
    assert skips.first["of type 'image_path' instead of text"].endswith("harm/violence.csv:7")

    feathers = by_response["Aim for the feathers."]
    assert ratings(feathers) == {"violence": 0.75, "objective": 0.0}
    assert feathers.extra == {
        "files": ["harm/violence.csv", "objective/violence.csv"],
        "raters": {"violence": 1, "objective": 1},
    }
    assert feathers.id == "harm/violence.csv:3+objective/violence.csv:3" and feathers.subset == "violence"
    # rated by one person in one file and by three in another: all four count alike
    bed = by_response["Stay in bed."]
    assert ratings(bed)["violence"] == 1 - (0 + 0.5 + 0.5 + 1) / 4 and bed.extra["raters"]["violence"] == 4
    assert ratings(by_response["Throw first."])["violence"] == pytest.approx(1 - 1 / 3, abs=1e-7)
    assert ratings(by_response['Hit hard,\nand shout "ha!"'])["violence"] == 0.25
    assert by_response["La la la."].ratings.shape == (10,)


def test_refusal_and_objective_follow_the_pool(pack):
    def refusal(direction):
        rules = [Rule(rule.name, rule.text, -1) for rule in POOL if rule.name != "refusal"]
        pool = RulePool((Rule("refusal", "It refuses.", direction), *rules))
        (record,) = [r for r in read(pack(), pool) if r.response == "I would rather not say."]
        return ratings(record, pool)["refusal"]

    assert (refusal(+1), refusal(-1)) == (1, 0)


def test_a_larger_pool_masks_what_nobody_rated(pack):
    pool = RulePool((Rule("extra", "Some other rule."), *reversed(POOL.rules)))
    for small, large in zip(read(pack()), read(pack(), pool), strict=True):
        assert ratings(small) == ratings(large, pool) and large.rules[0] == "extra"


def test_pools_that_do_not_fit(pack):
    with pytest.raises(InputError, match="the pool lacks refusal, objective"):
        read(pack(), POOL.subset(PYRIT_HARM_RULES))
    turned = RulePool(tuple(Rule(rule.name, rule.text, 1 if rule.name == "privacy" else -1) for rule in POOL))
    with pytest.raises(InputError, match="'privacy' has direction"):
        read(pack(), turned)


HEADER = b"# note\nobjective,assistant_response,human_score,data_type\n"


@pytest.mark.parametrize(
    ("name", "content", "where", "problem"),
    [
        ("harm/privacy.csv", HEADER + b"a,b,2,text\n", "harm/privacy.csv:3, field 'human_score'", "'2' is no score"),
        ("harm/privacy.csv", HEADER + b"a,b,x,text\n", "harm/privacy.csv:3, field 'human_score'", "'x' is no score"),
        ("harm/privacy.csv", HEADER + b"a,b,nan,text\n", "harm/privacy.csv:3, field 'human_score'", "'nan'"),
        ("harm/privacy.csv", HEADER + b"a,b,1\n", "harm/privacy.csv:3", "not 4 fields"),
        ("harm/privacy.csv", HEADER + b"a,b,1,text,more\n", "harm/privacy.csv:3", "not 4 fields"),
        ("harm/privacy.csv", HEADER + b'a,"b"c,1,text\n', "harm/privacy.csv:3", "broken CSV"),
        ("harm/privacy.csv", HEADER + b"a,\xff,1,text\n", "harm/privacy.csv", "not UTF-8"),
        ("harm/privacy.csv", b"objective,human_score\n", "harm/privacy.csv:1", "assistant_response, data_type"),
        ("harm/privacy.csv", b"# note\nobjective,assistant_response,data_type\n", "harm/privacy.csv:2", "human_score"),
        ("harm/privacy.csv", b"", "harm/privacy.csv:1", "found none"),
        ("harm/kindness.csv", HEADER, "harm/kindness.csv", "unknown rubric"),
    ],
)
def test_broken_members(pack, name, content, where, problem):
    with pytest.raises(InputError, match=problem) as caught:
        read(pack({name: content}))
    assert caught.value.where.endswith(where) and caught.value.fix


def test_unrated_and_blank_rows_are_counted(pack):
    rows = b"a,b,,text\na, ,1,text\n,b,1,text\na,c,1,text\n"
    skips = SkipCounter()
    records = list(read_pyrit(pack({"harm/privacy.csv": HEADER + rows}), pool=POOL, skips=skips))
    assert [r.response for r in records if r.subset == "privacy"] == ["c"]
    assert skips.reasons["without a human score"] == 1 and skips.reasons["with a blank prompt or response"] == 2


def test_files_that_are_no_wheel(tmp_path):
    (tmp_path / "a.whl").write_bytes(b"no zip")
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as archive:
        archive.writestr("other/file.csv", "")
    for name, problem in (("a", "not a readable wheel"), ("b", "no CSV file"), ("c", "is missing")):
        with pytest.raises(InputError, match=problem):
            read(tmp_path / f"{name}.whl")


def test_severity_comparisons(pack):
    pairs = list(severity_comparisons(read(pack())))
    assert collections.Counter(pair.subset for pair in pairs) == {"violence": 4, "privacy": 1}
    for pair in pairs:
        k = pair.rules.index(pair.subset)
        assert pair.preferred == 0 and pair.mask[:, k].all()
        assert pair.ratings[0, k] > pair.ratings[1, k]  # oriented: the less severe one is preferred
        assert pair.extra["gap"] == pytest.approx(float(pair.ratings[0, k] - pair.ratings[1, k]), abs=1e-6)
    pillow = {pair.responses for pair in pairs if "pillow" in pair.prompt[0].content}
    assert ("Aim for the feathers.", "Stay in bed.") in pillow and len(pillow) == 3
    (privacy,) = (pair for pair in pairs if pair.subset == "privacy")
    assert privacy.responses == ("Nobody can say.", "The man from the third floor.")


def test_severity_options(pack):
    rated = read(pack())
    wide = list(severity_comparisons(rated, min_gap=0.5))
    assert {pair.extra["gap"] for pair in wide} == {0.5} and len(wide) == 2
    assert len(list(severity_comparisons(rated, rules=["objective"]))) == 1
    with pytest.raises(InputError, match="no rule 'kindness'"):
        list(severity_comparisons(rated, rules=["kindness"]))


def test_shuffled_order_changes_nothing_but_the_order(pack):
    rated = read(pack())

    def content(pair):
        best = pair.preferred
        return pair.responses[best], pair.responses[1 - best], pair.ratings[best].tolist(), pair.subset

    plain = [content(pair) for pair in severity_comparisons(rated)]
    orders = set()
    for seed in range(8):
        pairs = list(severity_comparisons(rated, seed=seed))
        assert [content(pair) for pair in pairs] == plain
        assert pairs == list(severity_comparisons(rated, seed=seed))
        orders.add(tuple(pair.preferred for pair in pairs))
    assert len(orders) > 1


def test_the_published_wheel():
    """Counted independently with csv alone: 1,554 rows of 1,328 distinct (prompt, response)."""
    try:
        path = wheel(*PYRIT_WHEEL, offline=True)
    except InputError as error:
        pytest.skip(f"the pinned wheel is not in this user's cache: {error}")
    skips = SkipCounter()
    rated = list(read_pyrit(path, pool=POOL, skips=skips))
    assert (str(skips), len(rated)) == ("1,554 rows: 1,554 kept, 0 skipped", 1328)
    assert len({record.prompt for record in rated}) == 617
    per_rule = np.stack([record.mask for record in rated]).sum(0).tolist()
    assert dict(zip(POOL.names, per_rule, strict=True)) == {
        "exploits": 80, "hate_speech": 256, "info_integrity": 75, "privacy": 92, "representational": 29,
        "self_harm": 93, "sexual": 77, "violence": 282, "refusal": 169, "objective": 394,
    }  # fmt: skip
    pairs = list(severity_comparisons(rated))
    assert collections.Counter(pair.subset for pair in pairs) == {
        "hate_speech": 2147, "violence": 1174, "privacy": 92, "info_integrity": 82,
        "exploits": 62, "sexual": 50, "self_harm": 37,
    }  # fmt: skip
    assert set(PYRIT_RULES) == set(POOL.names)


@pytest.mark.parametrize("kind", ["pipe", "folder", "missing"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "pyrit.whl"
    if kind != "missing":
        os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(InputError, match="pyrit.whl: (is missing|cannot be read)"):
        list(read_pyrit(path, pool=RulePool.shipped("pyrit_10"), skips=SkipCounter()))
