"""Views: kept whole on disk, and refused when their arrays do not belong together."""

import dataclasses

import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.evaluation.view import Baseline, Pairs, View
from tests.evaluation import views

PAIRS = views.pairs(12, 0)


def test_reading_gives_what_was_written(tmp_path):
    view = views.view()
    view.save(tmp_path / "view.npz")
    back = View.load(tmp_path / "view.npz")
    for field in dataclasses.fields(View):
        mine, theirs = getattr(view, field.name), getattr(back, field.name)
        if isinstance(mine, Pairs):
            for part in dataclasses.fields(Pairs):
                np.testing.assert_array_equal(getattr(theirs, part.name), getattr(mine, part.name))
        elif isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(theirs, mine)
            assert theirs.dtype == mine.dtype
        elif field.name == "heuristics":
            assert theirs.keys() == mine.keys()
            np.testing.assert_array_equal(theirs["shorter"], mine["shorter"])
        else:
            assert theirs == mine
    assert [p.name for p in tmp_path.iterdir()] == ["view.npz"]


def test_baselines_come_back_with_what_they_saw(tmp_path):
    made = {"a gate, v1.5": Baseline("train labels", VIEW.test.scores[:, :, 1])}
    view = dataclasses.replace(VIEW, baselines=made)
    view.save(tmp_path / "view.npz")
    back = View.load(tmp_path / "view.npz").baselines
    assert back.keys() == made.keys() and back["a gate, v1.5"].sees == "train labels"
    np.testing.assert_array_equal(back["a gate, v1.5"].rewards, made["a gate, v1.5"].rewards)
    with pytest.raises(InputError, match="not finite"):
        dataclasses.replace(VIEW, baselines={"odd": Baseline("text", np.full((80, 2), np.nan))})


def test_writing_twice_gives_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        views.view().save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_first_preferred_turns_each_pair_its_own_way():
    first = PAIRS.first_preferred
    for i, preferred in enumerate(PAIRS.preferred):
        np.testing.assert_array_equal(first[i, 0], PAIRS.scores[i, preferred])
        np.testing.assert_array_equal(first[i, 1], PAIRS.scores[i, 1 - preferred])
    assert len(PAIRS) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": PAIRS.scores[:, 0]}, r"scores have shape \(12, 4\)"),
        ({"scores": np.repeat(PAIRS.scores, 2, 1)}, r"scores have shape \(12, 4, 4\)"),
        ({"preferred": PAIRS.preferred[:-1]}, r"preferred has shape \(11,\)"),
        ({"preferred": PAIRS.preferred[:, None]}, r"preferred has shape \(12, 1\)"),
        ({"preferred": PAIRS.preferred + 1}, "comparison .* its preferred is 2"),
        ({"cluster": PAIRS.cluster[:-1]}, "cluster has shape"),
        ({"cluster": PAIRS.cluster - 100}, "comparison 0: its cluster is -"),
        ({"subset": PAIRS.subset[:-1]}, "subset has shape"),
        ({"scores": np.where(np.arange(4) == 2, np.nan, PAIRS.scores)}, "comparison 0 has no finite score for rule 2"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_pairs_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(PAIRS, **changes)


VIEW = views.view()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": ("a", "b", "c")}, "3 rule names, but arrays of .*4.* rules"),
        ({"ratings": VIEW.ratings[:, :3]}, "4 rule names"),
        ({"train": views.pairs(9, 0, rules=3)}, "4 rule names"),
        ({"rated": VIEW.rated[:-1]}, r"rated has shape \(199, 4\)"),
        ({"rating_cluster": VIEW.rating_cluster[:-1]}, r"rating_cluster has shape \(199,\)"),
        ({"test": views.pairs(0, 0)}, "60 training and 0 test comparisons.*test fraction"),
        ({"train": views.pairs(0, 0)}, "0 training and 80 test comparisons"),
        ({"heuristics": {"odd": np.zeros((79, 2))}}, r"'heuristic: odd' has shape \(79, 2\)"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_views_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(VIEW, **changes)
