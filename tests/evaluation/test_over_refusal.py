"""The over-refusal probe in reports: plain counts, a warning that names what drives it, and what weights can do."""

import numpy as np
import pytest

from encore_jax.composition import Margin
from encore_jax.data.probes import over_refusal_probe
from encore_jax.evaluation.over_refusal import HALVES, over_refusal, over_refusal_card
from encore_jax.evaluation.rule_reliability import wilson_interval
from encore_jax.report.tables import probe_by_name, probe_words

PROBE = over_refusal_probe()
UNSAFE = np.array([pair.subset == HALVES[0] for pair in PROBE])
RULES = ("refuses", "helps", "length")


def scores(seed=0, helps=0.0):
    """A rule that scores refusals, one that scores help (`helps`: how well it tells where), one of noise."""
    rng = np.random.default_rng(seed)
    refusal = np.where(UNSAFE[:, None], [1.0, 0.0], [0.0, 1.0])
    knows = np.array([1.0, 0.0])[None] * helps
    return np.stack([refusal, 1 - refusal + 3 * knows, rng.random((128, 2))], -1).astype(np.float32)


def told(values, weights):
    margin = np.nan_to_num(values) @ np.array(weights, np.float32)
    return over_refusal(PROBE, values, RULES, {"ENCORE": Margin(margin[:, 0] - margin[:, 1])}, "ENCORE")


def test_both_halves_are_plain_counts_with_wilson_intervals():
    values = scores()
    values[:10, :, 2] = 0.5  # ties
    found = told(values, [0, 0, 1])
    for part, member in zip(HALVES, (UNSAFE, ~UNSAFE), strict=True):
        right = (values[member, 0, 2] > values[member, 1, 2]).sum() + 0.5 * (
            values[member, 0, 2] == values[member, 1, 2]
        ).sum()
        for row in (found["methods"][0], found["rules"][2]):
            low, high = wilson_interval(np.array(right), np.array(64))
            assert row[part]["accuracy"] == pytest.approx({"value": right / 64, "low": float(low), "high": float(high)})
    assert found["methods"][0][HALVES[0]]["ties"] + found["methods"][0][HALVES[1]]["ties"] == 10
    assert found["rules"][0]["gap"] == 1 and found["rules"][1]["gap"] == -1


def test_a_reward_that_only_wants_refusals_is_warned_of_with_what_drives_it_and_what_to_add():
    warning = told(scores(), [1, 0, 0.1])["warning"]
    assert "right on 100.0 % of 64 unsafe requests and on 0.0 % of 64 harmless ones" in warning
    assert "refuses (100.0 / 0.0)" in warning and "helps (" not in warning
    assert "Add rules that reward helping" in warning and "Other weights alone" in warning


def test_one_that_only_wants_to_help_is_warned_of_the_other_way_round():
    warning = told(scores(), [0, 1, 0.1])["warning"]
    assert "prefers help" in warning and "helps (0.0 / 100.0)" in warning and "must not be helped with" in warning


def test_what_other_weights_can_do_is_found_on_the_probe():
    assert "Other weights alone cannot mend it" in told(scores()[..., [0, 0, 0]], [1, 0, 0])["warning"]
    mended = told(scores(helps=1.0), [1, 0, 0])
    assert "can mend much of it" in mended["warning"] and min(mended["reach"][part] for part in HALVES) == 1


def test_balanced_rewards_are_not_warned_of():
    assert told(scores(helps=1.0), [0, 1, 0])["warning"] == ""


def test_what_could_not_be_scored_is_left_out_and_counted_and_an_empty_half_has_no_number():
    values = scores()
    values[UNSAFE, 0] = np.nan
    values[127] = np.nan
    found = told(values, [1, 1, 1])
    assert found["left_out"] == {HALVES[0]: 64, HALVES[1]: 1} and found["warning"] == "" and found["reach"] is None
    assert found["methods"][0][HALVES[0]]["accuracy"] == {"value": None, "low": None, "high": None}
    assert found["methods"][0][HALVES[1]]["n"] == 63


def test_reports_and_cards_show_every_rule_and_the_warning():
    found = told(scores(), [1, 0, 0])
    cells = probe_by_name({"over_refusal": found})
    assert cells["ENCORE"] == cells["single: refuses"] == "100/0" and cells["single: helps"] == "0/100"
    lines = [text for text, _ in probe_words({"over_refusal": found})]
    assert "64 and 64 pairs" in lines[0] and lines[1] == f"Warning: {found['warning']}"
    card = over_refusal_card(found)
    assert "| the reward (ENCORE) | 100.0 [94.3, 100.0] | 0.0 [0.0, 5.7] |" in card and "**Warning.**" in card
    assert all(f"| {rule} |" in card for rule in RULES)


def test_what_was_not_scored_says_so():
    (line,) = probe_words({"over_refusal": {"not_scored": "older"}})
    assert "not scored; older" in line[0]
    assert over_refusal_card(None) == over_refusal_card({"not_scored": "x"}) == "" and not list(probe_words({}))
