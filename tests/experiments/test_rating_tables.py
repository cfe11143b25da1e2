"""A run's data from CSV: the same records as from the project's own files."""

import numpy as np
import pytest

from encore_jax.data import SkipCounter
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.data_config import PAIRS
from encore_jax.recipes.sources import rule_pool
from encore_jax.recipes.stages.rating_tables import rated_responses
from encore_jax.recipes.stages.records import NO_PREFERENCE, read_records
from encore_jax.rules import Rule, RulePool
from tests.experiments.test_own_ratings import POOL, rows, write


@pytest.fixture
def folder(tmp_path):
    POOL.to_yaml(tmp_path / "rules.yaml")
    return tmp_path


def records(folder, path, ratings_path="", scale=(), need=None):
    given = {"path": str(folder / path), "ratings_path": ratings_path and str(folder / ratings_path)}
    config = DataConfig(source="files", pool=str(folder / "rules.yaml"), scale=scale, **given)
    return read_records(config, 0, rule_pool(config), True, *([need] if need else []))


def csv(path, header, lines):
    path.write_text("\n".join(map(";".join, [header, *lines])), encoding="utf-8-sig")


def same(found, expected):
    assert [c.responses for c in found.comparisons] == [c.responses for c in expected.comparisons]
    assert [c.preferred for c in found.comparisons] == [c.preferred for c in expected.comparisons]
    values = [{(r.prompt, r.response): r.ratings.tolist() for r in part.rated} for part in (found, expected)]
    assert values[0].keys() == values[1].keys()
    for key, own in values[0].items():
        np.testing.assert_allclose(own, values[1][key], atol=1e-6)


@pytest.mark.parametrize("scale", [(1, 5), (0, 100)])
@pytest.mark.parametrize("form", ["long", "wide", "pairs"])
def test_csv_gives_the_records_of_the_projects_own_files(folder, form, scale, caplog):
    pairs, rated = rows(12, scale)
    write(folder / "pairs.jsonl", pairs), write(folder / "rated.jsonl", rated)
    expected = records(folder, "pairs.jsonl", "rated.jsonl", scale)
    names = list(POOL.names)
    text = {(r["prompt"], r["response"]): [f"{r['ratings'][name]:g}" for name in names] for r in rated}
    header, sides = ["prompt", "chosen", "rejected"], ("chosen", "rejected")
    if form == "pairs":  # ratings stand beside the responses
        more = [f"{name}_{side}" for name in names for side in sides]
        both = [np.array([text[p["prompt"], p[side]] for side in sides]).T.ravel() for p in pairs]
        lines = [[*(p[name] for name in header), *own] for p, own in zip(pairs, both, strict=True)]
        csv(folder / "pairs.csv", [*header, *more], lines)
        found = records(folder, "pairs.csv")
    else:
        csv(folder / "pairs.csv", header, [[p[name] for name in header] for p in pairs])
        if form == "wide":
            csv(folder / "rated.csv", ["prompt", "response", *names], [[*key, *own] for key, own in text.items()])
        else:
            lines = [[*key, name, one] for key, own in text.items() for name, one in zip(names, own, strict=True)]
            csv(folder / "rated.csv", ["prompt", "response", "rule", "rating"], lines)
        with caplog.at_level("INFO"):
            found = records(folder, "pairs.csv", "rated.csv")
        assert f"scale {scale[0]} to {scale[1]}, inferred from the ratings" in caplog.text
        same(records(folder, "pairs.csv", "rated.csv", scale), expected)
    same(found, expected)


def test_pairs_nobody_chose_from_and_wrong_tables(folder):
    csv(folder / "t.csv", ["prompt", "response_a", "response_b"], [["Hi", "A", "B"]])
    (one,) = records(folder, "t.csv", need=PAIRS).comparisons
    assert one.preferred is None and one.ratings is None
    unused = records(folder, "t.csv")
    assert unused.comparisons == [] and unused.comparison_skips.reasons[NO_PREFERENCE] == 1
    csv(folder / "t.csv", ["prompt", "response", *POOL.names], [["Hi", "A", *"55555"]])
    with pytest.raises(InputError, match="has one response in a row.*--config.data.ratings_path"):
        records(folder, "t.csv")


def test_a_blank_response_is_skipped_and_counted_in_a_run(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("prompt,response,kind\nHi,Hello,5\nHi, ,3\nHo,Hey,1\n")
    skips = SkipCounter()
    found = rated_responses(path, RulePool((Rule("kind", "It is kind."),)), (), skips)
    assert len(found) == 2 and skips.kept == 2 and sum(skips.reasons.values()) == 1
