"""Ablations on files that are no views: what the batch scorer writes, and comparisons with ratings."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore_jax.cli.score import schema_of
from encore_jax.composition import rating_entropy
from encore_jax.data import Comparison, Message, write_comparisons
from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_axes import Draws, Entropies
from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.ablation import prepare
from encore_jax.recipes.stages.ablation_source import AblationSource, Reading, read_features
from encore_jax.rules import Rule, RulePool

RULES = ("kind", "harmful")
POOL = RulePool((Rule("kind", "Is it kind?"), Rule("harmful", "Is it harmful?", direction=-1)), "two")


def made(path, **settings) -> AblateConfig:
    few = {"grids": ("5 levels",), "estimators": ("plug_in",), "normalize": ("none",), "taus": (math.inf,)}
    return validated(AblateConfig(scores=str(path), **few | settings))


def view_of(config: AblateConfig):
    reading = Reading(config.label, config.scale, config.test_fraction, config.seed)
    return AblationSource(config.scores, config.features, config.pool).view(reading)


def scored_file(path, sizes, preferred, values):
    """As encore_jax.cli.score writes it; values ``[T, K]``, NaN where it has none."""
    splits = np.cumsum(sizes)[:-1]
    listed = [
        [[None if np.isnan(v) else float(v) for v in part] for part in np.split(column, splits)] for column in values.T
    ]
    n = len(sizes)
    columns = {"id": [str(i) for i in range(n)], "rewards": listed[0], "best": [0] * n, "preferred": preferred}
    columns |= {f"score:{name}": column for name, column in zip(RULES, listed, strict=True)}
    columns |= {"tokens": [[1] * size for size in sizes], "reason": [None] * n, "hidden": [None] * n}
    columns["first_place"] = [[0]] * n
    pq.write_table(pa.table(columns, schema_of(RULES, gated=False)), path)


def test_scores_of_the_batch_scorer_become_pairs_of_the_preferred_and_each_other_response(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [2, 3, 1, 4] * 20
    values = rng.uniform(size=(sum(sizes), 2)).astype(np.float32)
    values[4] = np.nan  # the second row's third response: too long
    preferred = [1, 0, 0, None] * 20
    scored_file(tmp_path / "scores.parquet", sizes, preferred, values)
    config = made(tmp_path / "scores.parquet")
    view = view_of(config)
    starts = np.cumsum(sizes) - sizes
    expected = {(s + 1, s) for s in starts[0::4]} | {(s, s + i) for s in starts[1::4] for i in (1, 2)}
    expected = [(a, b) for a, b in expected if np.isfinite(values[[a, b]]).all()]
    found = np.concatenate([view.train.scores, view.test.scores])
    order = lambda x: x.reshape(len(x), -1)[np.lexsort(x.reshape(len(x), -1).T)]  # noqa: E731
    np.testing.assert_array_equal(order(found), order(np.stack([values[list(pair)] for pair in expected])))
    assert not set(view.train.cluster) & set(view.test.cluster)
    assert not set(view.rating_cluster) & set(view.test.cluster)
    assert "20 rows without a preference, 1 pairs in which" in view.description
    run_experiment(config, tmp_path / "run")
    rows = pq.read_table(sorted((tmp_path / "run" / "decide").glob("part-*.parquet"))).to_pylist()
    subsets = pq.read_table(tmp_path / "run" / "prepare" / "subsets.parquet")["rules"].to_pylist()
    for row in rows:
        inside = np.isin(RULES, subsets[row["subset"]])
        won = view.test.scores[:, 0, inside].mean(1) > view.test.scores[:, 1, inside].mean(1)
        assert row["accuracy"] == pytest.approx(won.mean(), abs=1e-6)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "model-rated" in page and "20 rows without a preference" in page


def comparisons(count=60, seed=0):
    rng = np.random.default_rng(seed)
    for i in range(count):
        ratings = rng.integers(0, 5, (2, 2)) / np.float32(4)
        mask = np.array([[True, True], [True, i % 10 != 0]])
        prompt = (Message("user", f"Question {i // 2}?"),)
        yield Comparison(prompt, ("a", "b"), i % 2, RULES, ratings.astype(np.float32), mask, subset="xy"[i % 2])


@pytest.mark.parametrize("name", ["rated.jsonl", "rated.parquet"])
def test_rated_comparisons_are_oriented_by_their_pool_and_split_by_prompt(tmp_path, name):
    rated = list(comparisons())
    write_comparisons(tmp_path / name, rated, pool=POOL)
    plain = view_of(made(tmp_path / name))
    assert plain.rules == RULES, "without a pool a higher rating is better, as in a CSV"
    POOL.to_yaml(tmp_path / "pool.yaml")
    view = view_of(made(tmp_path / name, label="human-rated"))
    assert (view.label, view.rules, len(view.train) + len(view.test)) == ("human-rated", RULES, 54)
    assert not set(view.rating_cluster) & set(view.test.cluster) and len(view.rating_cluster) % 4 == 0
    first = np.concatenate([view.train.first_preferred, view.test.first_preferred])
    expected = np.stack([c.ratings[[c.preferred, 1 - c.preferred]] for c in rated if c.mask.all()])
    np.testing.assert_allclose(np.sort(first, 0), np.sort(expected, 0))
    training = [c for i, c in enumerate(rated) if i // 2 in set(view.rating_cluster)]
    pooled = np.concatenate([c.ratings for c in training]), np.concatenate([c.mask for c in training])
    np.testing.assert_allclose(
        rating_entropy(view.ratings, view.rated, levels=5), rating_entropy(*pooled, levels=5), rtol=1e-6
    )


def test_another_pool_or_share_is_another_ablation_and_another_place_is_not(tmp_path):
    write_comparisons(tmp_path / "rated.jsonl", comparisons(), pool=POOL)
    POOL.to_yaml(tmp_path / "pool.yaml")
    run_experiment(made(tmp_path / "rated.jsonl"), tmp_path / "run")
    before = json.loads((tmp_path / "run" / "prepare" / "manifest.json").read_text())
    POOL.to_yaml(tmp_path / "elsewhere.yaml")
    again = made(tmp_path / "rated.jsonl", pool=str(tmp_path / "elsewhere.yaml"))
    run_experiment(again, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "prepare" / "manifest.json").read_text()) == before
    run_experiment(made(tmp_path / "rated.jsonl", test_fraction=0.3), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "prepare" / "manifest.json").read_text()) != before


def test_what_cannot_be_ablated_is_refused_with_what_can(tmp_path):
    with pytest.raises(InputError, match="there is no such file.*encore_jax.cli.score"):
        view_of(made(tmp_path / "none.parquet"))
    (tmp_path / "scores.log").write_text("")
    with pytest.raises(InputError, match="no known kind"):
        view_of(made(tmp_path / "scores.log"))
    (tmp_path / "broken.parquet").write_text("")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        view_of(made(tmp_path / "broken.parquet"))
    POOL.to_yaml(tmp_path / "pool.yaml")
    write_comparisons(tmp_path / "plain.jsonl", [Comparison((Message("user", "Hi"),), ("a", "b"), 0, id="c7")])
    with pytest.raises(InputError, match="comparison c7.*no ratings"):
        view_of(made(tmp_path / "plain.jsonl"))
    with pytest.raises(InputError, match=r"config\.features: belong to a view"):
        view_of(made(tmp_path / "plain.jsonl", features="features.npz"))
    scored_file(tmp_path / "alone.parquet", [1, 1], [None, None], np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match="0 training and 0 test comparisons"):
        view_of(made(tmp_path / "alone.parquet"))


SCORES = {"preferred": [0, 1], "score:a": [[0.5, 1.0], [0.0, 0.5]], "score:b": [[1.0, 1.0], [0.5, 0.0]]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preferred": [0, 2]}, "row 2: response 2 of 2 is preferred"),
        ({"preferred": [-3, 0]}, "row 1: response -3"),
        ({"preferred": [2**40, 0]}, "row 1: response"),
        ({"preferred": np.array([2**64 - 1, 0], np.uint64)}, "preferred holds no indices"),
        ({"preferred": [0.5, 1.0]}, "preferred holds double"),
        ({"preferred": ["0", "1"]}, "'preferred'.*string, no numbers"),
        ({"preferred": None}, "'preferred'.*is missing"),
        ({"score:a": [0.5, 1.0]}, "no lists of scores"),
        ({"score:a": [["x"], ["y"]]}, "'score:a'.*no numbers"),
        ({"score:a": [{"x": 1.0}, None]}, "'score:a'.*no numbers"),
        ({"score:a": [[[0.5]], [[1.0]]]}, "'score:a'.*no numbers"),
        ({"score:a": [[0.5], [0.0, 0.5]]}, "different numbers"),
        ({"score:a": [None, [0.0, 0.5]]}, "different numbers"),
        ({"score:a": [[0.5, 1.0, 0.0], [0.5]]}, "different numbers"),
    ],
)
def test_scores_of_other_types_and_shapes_are_refused(tmp_path, changes, message):
    columns = {name: values for name, values in (SCORES | changes).items() if values is not None}
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    with pytest.raises(InputError, match=message):
        view_of(made(tmp_path / "scores.parquet"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rated": np.ones((3, 4), int)}, "'rated'"),
        ({"test": np.ones((3, 4), np.float32)}, "'test'"),
        ({"test": np.full((3, 2, 4), np.nan, np.float32)}, "'test'"),
        ({"rated": None}, "'rated'"),
    ],
)
def test_features_of_other_types_are_refused(tmp_path, changes, message):
    arrays = {"rated": np.ones((3, 4), np.float32), "test": np.ones((3, 2, 4), np.float32)} | changes
    np.savez(tmp_path / "features.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(InputError, match=message):
        read_features(str(tmp_path / "features.npz"))


def test_a_small_table_that_stands_for_a_gibibyte_is_refused(tmp_path):
    nothing = pa.array([[0.0] * 1000]).cast(pa.list_(pa.float32())).take(pa.array(np.zeros(20_000, np.int32)))
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"score:kind": nothing, "preferred": pa.array([0] * 20_000, pa.int32())}), path)
    with pytest.raises(InputError, match="expand to more than 64 MiB"):
        view_of(made(path))


GRADES = np.random.default_rng(3).integers(1, 6, (60, 2, 3))
GRADES[0], GRADES[1] = 1, 5
WAYS = {
    "1 to 5": lambda x: int(x),
    "0 to 1": lambda x: (int(x) - 1) / 4,
    "0 to 100": lambda x: 25 * (int(x) - 1),
    "each its own": lambda x, k=None: [int(x), (int(x) - 1) / 4, 25 * (int(x) - 1)][k],
}


def graded(folder, way, kind):
    """The same grades on another scale, as comparisons or as a table of pairs."""
    write = WAYS[way]
    cell = lambda x, k: write(x, k) if way == "each its own" else write(x)  # noqa: E731
    rules = ("kind", "true", "safe")
    folder.mkdir()
    if kind == "jsonl":
        RulePool([Rule(name, f"It is {name}.") for name in rules]).to_yaml(folder / "pool.yaml")
        rows = [
            {"prompt": f"Q{i}", "responses": ["A", "B"], "preferred": i % 2,
             "ratings": {name: [cell(x, k) for x in pair[:, k]] for k, name in enumerate(rules)}}
            for i, pair in enumerate(GRADES)
        ]  # fmt: skip
        (folder / "g.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder / "g.jsonl"
    lines = ["prompt,response_a,response_b,preferred," + ",".join(f"{name}_{side}" for name in rules for side in "ab")]
    for i, pair in enumerate(GRADES):
        lines.append(f"Q{i},A,B,{'ab'[i % 2]}," + ",".join(str(cell(x, k)) for k in range(3) for x in pair[:, k]))
    (folder / "g.csv").write_text("\n".join(lines))
    return folder / "g.csv"


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_the_scale_is_inferred_and_the_same_grades_give_the_same_ablation(tmp_path, kind, caplog):
    """Entropies on every grid, and the decisions of all settings."""
    found = {}
    for way in WAYS:
        config = made(graded(tmp_path / way, way, kind))
        with caplog.at_level("INFO"):
            reading = Reading(config.label, config.scale, config.test_fraction, config.seed)
            draws, entropies = Draws((0,), (1.0,)), Entropies(("5 levels", "3 bins"), ("plug_in",), ("none",), (2.0,))
            source = AblationSource(config.scores, "", "")
            found[way] = prepare(source, reading, draws, entropies, "all", 1, ("no",), 0, (1.0,), 2)
        assert set(source.key()) == ({"scores"} if kind == "csv" else {"scores", "pool"}), "a table needs no pool"
    assert "scale 1 to 5, inferred" in caplog.text and "scale 0 to 100, inferred" in caplog.text
    assert "scale 1 to 5 (kind) and 0 to 1 (true) and 0 to 100 (safe), inferred" in caplog.text
    for inputs in found.values():
        np.testing.assert_allclose(inputs.entropy, found["0 to 1"].entropy, atol=1e-6)
        np.testing.assert_array_equal(np.sign(inputs.margin), np.sign(found["0 to 1"].margin))
    given = prepare(source, reading._replace(scale=(0, 100)), draws, entropies, "all", 1, ("no",), 0, (1.0,), 2)
    assert (given.entropy[..., 0] < found["0 to 1"].entropy[..., 0]).any(), "on one scale grades up to 5 lie together"


@pytest.mark.parametrize("scale", [(1.0,), (5.0, 1.0), (0.0, math.inf)])
def test_scales_that_are_none_are_refused(scale):
    with pytest.raises(
        InputError, match="scale.*(is two numbers, the lower one first, or left out|no number that float32 holds)"
    ):
        made("x.npz", scale=scale)
