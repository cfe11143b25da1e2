"""Where nothing is left to train on, or to judge by: which cause took how many, and what to do about it."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from encore_jax.data import SkipCounter
from encore_jax.data.left_out import Reason, count_left_out, require_some
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig, TrainConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.arms import Cell
from encore_jax.recipes.stages.records import require_ratings
from encore_jax.recipes.stages.reward_runs import Run, require_labels, require_parts
from tests.experiments import tiny_joint, tiny_ramo, tiny_run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


def pairs(prompts, words=2, equal=False):
    answer = "Apple " * words
    rows = [{"prompt": p, "chosen": f"{answer}{i}.", "rejected": f"{answer}no {i}."} for i, p in enumerate(prompts)]
    return [row | {"rejected": row["chosen"]} for row in rows] if equal else rows


TWO = ["Name a fruit.", "Name another."]
CAUSES = {
    "all too long": (pairs(TWO, words=200), {}, "0 of 2 comparisons are left .* 2 are longer than the 128 tokens",
                     "raise --config."),
    "one prompt, held out": (pairs(["One"] * 7), {"seed": 1}, "0 of 7 .* train on: 7 are held out .they share one",
                             "at least two prompts"),
    "one prompt, trained on": (pairs(["One"] * 7), {"seed": 0}, "0 of 7 .* judge by, held out: 7 are trained on",
                               "at least two prompts"),
    "all held out": (pairs(TWO), {"test_fraction": 0.999}, "0 of 2 .* to train on: 2 are held out .2 prompts",
                     "--config.data.test_fraction"),
    "none held out": (pairs(TWO), {"test_fraction": 0.001}, "0 of 2 .* to judge by, held out: 2 are trained on",
                      "--config.data.test_fraction"),
    "some too long, the others held out": (
        pairs(TWO[:1], words=200) + pairs(TWO[1:]), {"test_fraction": 0.999},
        "0 of 2 .* to train on: 1 are longer than .*, 1 are held out", "raise --config.*; or change"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["heads", "preferences"])
@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_its_number_and_the_fix_are_named(files, tmp_path, kind, cause):
    rows, changes, problem, fix = CAUSES[cause]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tiny_run.config(files)
    config.data.path = str(tmp_path / "pairs.jsonl")
    config.seed = seed_that_holds_out(changes.get("seed")) if "seed" in changes else config.seed
    config.data.test_fraction = changes.get("test_fraction", config.data.test_fraction)
    config.model.buckets = (128,)
    if kind == "preferences":
        config.train = TrainConfig(method="gradient", loss="bradley_terry", rows=2, length=128, watch=0)
        config.data.ratings_path = ""
    with pytest.raises(InputError, match=problem) as caught:
        run_experiment(validated(config), tmp_path / "run")
    assert all(part in caught.value.fix for part in fix.replace(".*", "").split("; or ")), caught.value.fix


def seed_that_holds_out(held_out: int) -> int:
    """A seed that puts the prompt "One" on the given side."""
    from encore_jax.data import prompt_key
    from encore_jax.data.comparison import Message
    from encore_jax.data.split import is_test

    key = prompt_key((Message("user", "One"),))
    return next(seed for seed in range(100) if is_test([key], 0.5, seed)[0] == held_out)


def test_only_equal_pairs_teach_nothing(files, tmp_path):
    rows = pairs([f"Prompt {i}" for i in range(12)], equal=True)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tiny_run.config(files)
    config.data.path, config.data.ratings_path = str(tmp_path / "pairs.jsonl"), ""
    config.train = TrainConfig(method="gradient", loss="bradley_terry", rows=2, length=256, watch=0)
    with pytest.raises(InputError, match="two responses of equal tokens|two equal responses|identical"):
        run_experiment(validated(config), tmp_path / "run")


@pytest.mark.parametrize("rule", ["kindness", "privacy"])
def test_ratings_of_one_prompt_cannot_be_cross_validated(files, tmp_path, rule):
    rows = [json.loads(line) for line in (files / "rated.jsonl").read_text().splitlines()]
    kept = next(row["prompt"] for row in rows)
    for row in rows:
        row["ratings"][rule] = 0.5 if row["prompt"] == kept else None
    (tmp_path / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tiny_run.config(files)
    config.data.ratings_path = str(tmp_path / "rated.jsonl")
    message = (
        rf"rule '{rule}': (its 3 ratings .* one of the 3 cross-validation folds|0 of 120 .* 117 are not rated on it, 3)"
    )
    with pytest.raises(InputError, match=message):
        run_experiment(validated(config), tmp_path / "run", until="train")


NO_RATING = [{"prompt": "p", "response": "r", "ratings": {"violence": None}}] * 3
LACKING = {
    "no ratings": ("rated", [], "rated.jsonl: has no rows. Fix: check that it was written to the end; or rate"),
    "no comparisons": ("pairs", [], "pairs.jsonl: (the file )?has no rows. Fix: check that it was written to the end"),
    "rows without a rating": ("rated", NO_RATING, "rated.jsonl: none of its 3 rated responses has a rating"),
}
"""Which of two inputs is lacking, what it holds, and what is said."""
TWO_INPUTS = {"encore": tiny_run.config, "joint": tiny_joint.config, "ramo": tiny_ramo.ramo}


@pytest.mark.parametrize("kind", TWO_INPUTS)
@pytest.mark.parametrize("case", LACKING)
def test_of_two_inputs_the_one_that_lacks_is_named(files, tmp_path, kind, case):
    name, rows, message = LACKING[case]
    path, config = tmp_path / f"{name}.jsonl", TWO_INPUTS[kind](files)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    field = {"rated": "ratings_path", "pairs": "path"}[name]
    data = dataclasses.replace(config.data, **{field: str(path)})
    with pytest.raises(InputError, match=message):
        run_experiment(validated(dataclasses.replace(config, data=data)), tmp_path / "run", until="ingest")


def test_what_is_not_read_is_not_named():
    config = DataConfig(source="pyrit", path="unread.jsonl", ratings_path="unread.jsonl")
    with pytest.raises(InputError, match="^pyrit: there is no usable rated response: 2 rows: 0 kept, 2 skipped"):
        skips = SkipCounter()
        for where in ("1", "2"):
            skips.skip("for a reason", where)
        require_ratings([], skips, 5, config)


def test_every_row_counts_for_one_reason():
    rng = np.random.default_rng(0)
    for _ in range(50):
        masks = rng.random((4, 30)) < rng.random((4, 1))
        left, counts = count_left_out(30, [Reason(f"{i}", mask, "") for i, mask in enumerate(masks)])
        assert left.sum() + sum(counts) == 30 and (left == ~masks.any(0)).all()


def test_enough_rows_are_no_error():
    assert require_some(3, [], what="rows", purpose="", where="").all()
    with pytest.raises(
        InputError, match="1 of 1 rows are left to fit, 2 are needed: there were no more. Fix: give more rows"
    ):
        require_some(1, [], what="rows", purpose="to fit", where="x", least=2)


# Adapters and reward models trained on labels by rules


def ramo_without(files, tmp_path, change, **settings):
    config = tiny_ramo.ramo(files)
    rows = [json.loads(line) for line in (files / "pairs.jsonl").read_text().splitlines()]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in change(rows)))
    config.data.path = str(tmp_path / "pairs.jsonl")
    for where, value in settings.items():
        part, name = where.split("__")
        setattr(getattr(config, part), name, value)
    run_experiment(validated(config), tmp_path / "run")


RAMO_CAUSES = {
    "two prompts": (lambda rows: rows[:4], {}, "0 of 4 comparisons are left to (train|validate) the adapter"),
    "every rule critical": (lambda rows: rows, {"select__r": 3, "train__rs": ()},
                            "the same 3 of 3 rules are critical in all .* choose fewer rules than 3"),
    "all too long": (lambda rows: rows, {"model__buckets": (64,)}, "0 of .* left|no response is rated on it"),
}  # fmt: skip


@pytest.mark.parametrize("cause", RAMO_CAUSES)
def test_adapters_and_arms_say_what_they_lack(files, tmp_path, cause):
    change, settings, message = RAMO_CAUSES[cause]
    with pytest.raises(InputError, match=message):
        ramo_without(files, tmp_path, change, **settings)


def test_an_arm_whose_labels_all_tie_says_so():
    label, drawn = np.array([-1, -1, -2, 0, 1]), np.array([True, True, True, False, False])
    run = Run(Cell("oracle", 1), 0, 3)
    with pytest.raises(InputError, match="arm oracle.*0 of 3 drawn .* 2 are ties .*, 1 are unlabelled. Fix: let"):
        require_labels(run, label, drawn)
    require_labels(run, label, ~drawn)


@pytest.mark.parametrize(
    ("part", "human", "fits", "message"),
    [
        (["adapter"] * 9, [0] * 9, [True] * 9, "0 of 9 .* train the arms on: 9 are for other purposes"),
        (["adapter"] * 6 + ["reward"], [0] * 7, [True] * 7, "0 of 7 .* judge by, held out"),
        (
            ["adapter"] * 6 + ["reward", "test"],
            [-1] * 8,
            [True] * 8,
            "head on, .* 6 are not labelled by people",
        ),
        (["adapter"] * 6 + ["reward", "test"], [0] * 8, [False] * 8, "initial head on, .* 6 are longer than"),
        (["adapter"] * 6 + ["reward", "test"], [0] * 8, [True] * 6 + [False, True], "1 are longer than .* 256"),
    ],
)
def test_reward_models_say_which_part_is_empty(part, human, fits, message):
    shown = SimpleNamespace(part=np.array(part), human=np.array(human))
    with pytest.raises(InputError, match=message):
        require_parts(shown, shown.part == "reward", np.array(fits), "256 (model.buckets)", 5)
