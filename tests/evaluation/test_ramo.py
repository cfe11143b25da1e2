"""Results of arms and labels against counts by hand; tables and page from them."""

import csv
import io

import jax
import numpy as np
import pytest

from encore_jax.composition import channel_information
from encore_jax.evaluation.ramo import arm_results, interval_of_means, label_results
from encore_jax.evaluation.selection_metrics import adapter_metrics
from encore_jax.evaluation.selection_theory import simulate, verdicts
from encore_jax.report.ramo_page import render_ramo_report
from encore_jax.report.ramo_tables import ramo_csv, ramo_rows, ramo_tables
from tests.evaluation.test_bootstrap import draws
from tests.report.page_checks import check_page

RNG = np.random.default_rng(0)
N = 40
HUMAN = RNG.integers(0, 2, N)
CLUSTER = np.repeat(np.arange(N // 2), 2)


def labels():
    noisy = np.where(RNG.random((3, N)) < 0.7, HUMAN, 1 - HUMAN)
    noisy[:, :4] = -1
    return {"human.r0": HUMAN[None], "all.r0": noisy[:1], "random.r2": noisy, "adapter.r2": noisy[1:2]}


def margins():
    sign = np.where(HUMAN == 0, 1.0, -1.0)
    made = {name: sign[None] + RNG.normal(size=(2, N)) for name in ("human.r0.n0", "all.r0.n0", "all.r0.n9")}
    return made | {"initial": (sign * (np.arange(N) % 4 > 0))[None]}


ROWS = [("human", 0, 0), ("all", 0, 0), ("all", 0, 9)]


def test_labels_are_counted_as_by_hand():
    given = labels()
    found = label_results(given, HUMAN, CLUSTER, 0, 200)
    rows = given["random.r2"]
    credit = np.where(rows < 0, 0.5, rows == HUMAN)
    assert found["random.r2"]["agreement"]["value"] == pytest.approx(credit.mean())
    assert found["random.r2"]["ties"] == pytest.approx(0.1)
    decided = rows[:, 4:]
    assert found["random.r2"]["flips"] == pytest.approx((decided != given["all.r0"][:, 4:]).mean())
    assert found["human.r0"]["information"]["value"] == pytest.approx(np.log(2), abs=1e-5)
    p = (decided == HUMAN[4:]).mean()
    expected = 0.9 * float(channel_information(np.float32(p))) - 0.5 / N
    assert found["random.r2"]["information"]["value"] == pytest.approx(expected, abs=1e-5)
    for row in found.values():
        assert row["agreement"]["low"] <= row["agreement"]["value"] <= row["agreement"]["high"]


def test_the_interval_of_information_covers_the_truth_as_often_as_it_says():
    """0.95 in the limit; 200 data sets of 300 comparisons, so three standard errors are 0.05."""
    rng, p = np.random.default_rng(1), 0.65
    truth = float(channel_information(np.float32(p)))
    human = rng.integers(0, 2, 300)
    covered = 0
    for _ in range(200):
        label = np.where(rng.random(300) < p, human, 1 - human)[None]
        interval = label_results({"x": label}, human, np.arange(300), 0, 200)["x"]["information"]
        covered += interval["low"] <= truth <= interval["high"]
    assert covered / 200 > 0.88


def test_arms_are_paired_and_compared_at_their_own_size():
    given = margins()
    found = arm_results(given, ROWS, HUMAN, CLUSTER, 0, 200)
    by_name = {(row["arm"], row["size"]): row for row in found}
    assert found[0]["arm"] == "initial" and found[0]["accuracy"]["value"] == pytest.approx(0.75 + 0.25 / 2)
    right = [(given["all.r0.n9"] * np.where(HUMAN == 0, 1, -1) > 0)]
    assert by_name["all", 9]["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert by_name["all", 9]["minus_all"] is None and by_name["human", 0]["minus_all"] is not None
    gain = by_name["human", 0]["minus_initial"]["value"]
    assert gain == pytest.approx(by_name["human", 0]["accuracy"]["value"] - found[0]["accuracy"]["value"])


def test_intervals_draw_whole_prompts():
    """Of labels and of arms: those of a loop over the same draws of prompts, which are numbered with gaps."""
    cluster, (key, replicates) = CLUSTER * 3 + 5, (jax.random.key(4), 50)
    chosen = draws(key, replicates, N // 2)
    rows = [np.concatenate([2 * drawn, 2 * drawn + 1]) for drawn in chosen]
    given = labels()
    credit = np.where(given["random.r2"] < 0, 0.5, given["random.r2"] == HUMAN).mean(0)
    expected = np.percentile([credit[r].mean() for r in rows], [2.5, 97.5])
    found = label_results(given, HUMAN, cluster, 4, replicates)["random.r2"]["agreement"]
    np.testing.assert_allclose([found["low"], found["high"]], expected, atol=1e-5)
    made = margins()
    right = {name: (m * np.where(HUMAN == 0, 1, -1) > 0) + 0.5 * (m == 0) for name, m in made.items()}
    row = arm_results(made, ROWS, HUMAN, cluster, 4, replicates)[1]
    for said, difference in (
        (row["accuracy"], right["human.r0.n0"].mean(0)),
        (row["minus_initial"], right["human.r0.n0"].mean(0) - right["initial"].mean(0)),
        (row["minus_all"], right["human.r0.n0"].mean(0) - right["all.r0.n0"].mean(0)),
    ):
        assert said["value"] == pytest.approx(difference.mean())
        expected = np.percentile([difference[r].mean() for r in rows], [2.5, 97.5])
        np.testing.assert_allclose([said["low"], said["high"]], expected, atol=1e-5)


def test_the_mean_of_values_leaves_out_what_is_missing():
    values = np.array([1.0, 0.0, np.nan, 1.0])
    assert interval_of_means(values, np.arange(4), 0, 100)["value"] == pytest.approx(2 / 3)
    assert np.isnan(interval_of_means(np.full(2, np.nan), np.arange(2), 0, 100)["value"])


def results() -> dict:
    """As a run's results.json."""
    probability = RNG.random((2, N, 3))
    critical = probability.mean(0).argmax(1)[:, None] == np.arange(3)[None]
    adapter = adapter_metrics(probability, critical, critical.mean(0), 1, ("a", "<u>", "c"), 0)
    for chooser in adapter["choosers"].values():
        for name, values in chooser.pop("each").items():
            chooser[name] = interval_of_means(values, CLUSTER, 0, 100)
    rows = simulate(1, 3, 200, 1.0, (0.0, 0.5), 0)
    found = label_results(labels(), HUMAN, CLUSTER, 0, 100)
    cells = [("human", 0), ("all", 0), ("random", 2), ("adapter", 2)]
    train = {"comparisons_for_training": 9, "comparisons_held_out": N, "comparisons_of_initial_head": 5, "penalty": 0.1}
    said = {
        "counts": {"comparisons_for_training": 7, "comparisons_for_validation": 2, "comparisons_dropped_too_long": 1}
    }
    config = {"model": {"path": "m"}, "select": {"half": 0.5, "relevance": "none"}, "seed": 0}
    config |= {"adapter": {"method": "heads"}, "train": {"method": "heads"}}
    return {
        "name": "tiny", "kind": "ramo", "config": config, "device": "1 x cpu", "counts": {"train": train},
        "rate": {"label": "model-rated", "description": "Ratings <of> a test.", "comparisons_without_ratings": 0},
        "adapter": adapter | {"r": 1, "k": 3, "n": N, "said": said},
        "simulation": {"rows": rows, "verdicts": verdicts(rows)},
        "labels": [{"arm": arm, "r": r, "judge_calls": r} | found[f"{arm}.r{r}"] for arm, r in cells],
        "arms": {"rows": arm_results(margins(), ROWS, HUMAN, CLUSTER, 0, 100),
                 "heuristics": {"shorter": {"value": 0.5, "low": 0.4, "high": 0.6}}},
    }  # fmt: skip


def test_tables_and_page_hold_every_row_and_escape_names():
    made = results()
    text, page = ramo_tables(made), render_ramo_report(made)
    check_page(page)
    for words in ("floor: random rules", "floor: most frequent rules", "untouched initial reward model", "model-rated"):
        assert words in text and words in page
    assert "<u>" not in page and "Ratings &lt;of&gt; a test." in page and page.count("<svg") == 10
    table = list(csv.DictReader(io.StringIO(ramo_csv(made))))
    assert len(table) == len(list(ramo_rows(made)))
    row = next(r for r in table if r["table"] == "arms" and r["arm"] == "human" and r["metric"] == "accuracy")
    assert float(row["value"]) == made["arms"]["rows"][1]["accuracy"]["value"]


def test_an_adapter_alone_has_a_page_without_arms():
    made = results() | {"kind": "adapter"}
    made.pop("labels")
    made.pop("arms")
    page = render_ramo_report(made)
    assert page.count("<svg") == 6 and "Reward models" not in page
    assert "Labels" not in ramo_tables(made)
