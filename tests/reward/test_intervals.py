"""Intervals of a reward model: what they hold, what they say of themselves, and that they travel with the model."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import beta

from encore_jax.composition.conformal import conformal_bands, conformal_radius
from encore_jax.data.comparison import Comparison, Message, RatedResponse
from encore_jax.errors import InputError
from encore_jax.reward.calibration import CALIBRATION, HELD_OUT, OUT_OF_FOLD, Calibration
from encore_jax.reward.export import export, fold
from encore_jax.reward.intervals import composed_errors, intervals_of
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules.graph import RuleGraph, Veto
from tests.experiments import tiny_reward_model
from tests.reward import tiny_reward

RULES = tiny_reward_model.RULES
WEIGHTS = np.array(tiny_reward_model.WEIGHTS, np.float32)
PROMPTS, RESPONSES = tiny_reward.PROMPTS, tiny_reward.RESPONSES


def rated(prompts=30, seed=0, missing=0.0):
    """Responses of one rater: ratings that have nothing to do with the model."""
    rng = np.random.default_rng(seed)
    for i in 1000 + rng.permutation(9000)[:prompts]:
        mask = rng.random(3) >= missing
        mask[rng.integers(3)] = True
        yield RatedResponse((Message("user", f"Question {i}?"),), f"Answer {i}", RULES, rng.random(3), mask)


def drawn(responses=200, seed=0, missing=0.0, by=HELD_OUT, prompts=None):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(responses, 3))
    ratings = scores + rng.normal(size=(responses, 3)) * [0.1, 1.0, 3.0]
    ratings[rng.random((responses, 3)) < missing] = np.nan
    return Calibration(scores, ratings, np.arange(responses) % (prompts or responses), by)


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory()


@pytest.fixture(scope="module")
def calibrated(model):
    return model.calibrated(rated())


def test_a_models_intervals_are_quantiles_of_its_own_errors(model, calibrated):
    records = list(rated())
    scores = np.concatenate(model.scores([r.prompt for r in records], [[r.response] for r in records]))
    ratings = np.stack([r.ratings for r in records])
    found = calibrated.scores(PROMPTS, RESPONSES, intervals=True)
    plain = model.scores(PROMPTS, RESPONSES)
    for bounds, expected in zip(found, plain, strict=True):
        assert np.array_equal(bounds.value, expected) and bounds.lower.dtype == bounds.upper.dtype == np.float32
        radius = [conformal_radius(scores[:, k] - ratings[:, k], np.arange(30)) for k in range(3)]
        assert np.allclose(bounds.upper - bounds.value, radius, atol=1e-5)
        assert np.allclose(bounds.value - bounds.lower, radius, atol=1e-5)
    composed = conformal_radius(scores @ WEIGHTS - ratings @ WEIGHTS, np.arange(30))
    for bounds, expected in zip(
        calibrated.rewards(PROMPTS, RESPONSES, intervals=True), model.rewards(PROMPTS, RESPONSES), strict=True
    ):
        assert np.array_equal(bounds.value, expected)
        assert np.allclose(bounds.upper - bounds.lower, 2 * composed, atol=1e-5)
    assert [len(b.value) for b in found] == [3, 2] and calibrated.intervals.notes == ()


def test_rewards_of_new_prompts_of_the_same_kind_are_covered(calibrated):
    new = list(rated(prompts=300, seed=5))
    prompts, responses = [r.prompt for r in new], [[r.response] for r in new]
    ratings = np.stack([r.ratings for r in new])
    by_rule = calibrated.scores(prompts, responses, intervals=True)
    lower, upper = (np.concatenate([getattr(b, end) for b in by_rule]) for end in ("lower", "upper"))
    covered = ((lower <= ratings) & (ratings <= upper)).mean(0)
    assert (covered > beta.ppf(1e-4, 28, 3)).all()  # 90 % on average over calibrations, each of 30 prompts


def test_fp32_loses_no_rating_on_the_end_of_an_interval():
    calibration = drawn()
    found = intervals_of(calibration, RULES, WEIGHTS)
    bounds = found.of_scores(calibration.scores)
    inside = (bounds.lower <= calibration.ratings) & (calibration.ratings <= bounds.upper)
    assert (inside.mean(0) >= 0.9).all() and (inside.mean(0) < 0.93).all()


def test_weights_graph_and_coverage_have_intervals_of_their_own(calibrated):
    width = {}
    for name, made in {
        "own": calibrated,
        "uniform": calibrated.weighted("uniform"),
        "one": calibrated.weighted("violence=1"),
        "half": calibrated.with_coverage(0.5),
        "veto": calibrated.with_graph(RuleGraph(vetoes=(Veto("privacy", 0.9, 0.0),))),
    }.items():
        [bounds, _] = made.rewards(PROMPTS, RESPONSES, intervals=True)
        width[name] = float((bounds.upper - bounds.lower)[0])
    assert len({round(value, 5) for value in width.values()}) == len(width) and width["half"] < width["own"]
    one = calibrated.weighted("violence=1")
    by_rule, reward = one.scores(PROMPTS, RESPONSES, intervals=True), one.rewards(PROMPTS, RESPONSES, intervals=True)
    assert np.allclose(by_rule[0].lower[:, 0], reward[0].lower, atol=1e-5)
    assert calibrated.with_coverage(0.5).passport.intervals.coverage == 0.5


def test_missing_ratings_leave_whole_responses_or_parts_and_a_note_says_which():
    some = drawn(missing=0.3)
    whole = np.isfinite(some.ratings).all(1)
    made = composed_errors(some, WEIGHTS, None)
    assert made.note == "" and np.array_equal(np.isfinite(made.errors), whole)
    assert np.allclose(made.errors[whole], ((some.scores - some.ratings) @ WEIGHTS)[whole], atol=1e-5)
    ratings = np.full_like(some.ratings, np.nan)
    ratings[np.arange(200), np.arange(200) % 3] = some.ratings[np.arange(200), np.arange(200) % 3]
    ratings = np.where(np.isnan(ratings), np.nan, drawn().ratings)
    single = dataclasses.replace(some, ratings=ratings)
    made = composed_errors(single, WEIGHTS, None)
    errors = np.nansum(single.scores - single.ratings, 1)
    known = single.mask.any(1)
    assert "0 prompts, and 9 are needed" in made.note and np.allclose(made.errors[known], errors[known], atol=1e-5)
    assert made.note in intervals_of(single, RULES, WEIGHTS).notes
    two = composed_errors(single, np.array([0.0, 1.0, 0.0]), None)  # rules of weight 0 need no rating
    assert two.note == "" and np.array_equal(np.isfinite(two.errors), single.mask[:, 1])


def test_too_few_prompts_have_infinite_ends_and_say_so():
    few = dataclasses.replace(
        drawn(), ratings=np.where(np.arange(200)[:, None] < [200, 5, 200], drawn().ratings, np.nan)
    )
    found = intervals_of(few, RULES, WEIGHTS)
    bounds = found.of_scores(few.scores)
    assert np.isinf(bounds.lower[:, 1]).all() and np.isfinite(bounds.lower[:, [0, 2]]).all()
    assert any("privacy is rated on 5 prompts, and 9 are needed" in note for note in found.notes)
    one_prompt = drawn(prompts=1)
    assert np.isinf(intervals_of(one_prompt, RULES, WEIGHTS).of_rewards(np.zeros(2)).upper).all()
    assert any("aimed at" in note for note in intervals_of(drawn(by=OUT_OF_FOLD), RULES, WEIGHTS).notes)


def test_a_text_without_scores_has_no_interval():
    bounds = intervals_of(drawn(), RULES, WEIGHTS).of_rewards(np.array([np.nan, 0.0], np.float32))
    assert np.isnan([bounds.value[0], bounds.lower[0], bounds.upper[0]]).all() and np.isfinite(bounds.lower[1])


def test_bands_of_scores_are_those_of_the_calibration():
    found, calibration = intervals_of(drawn(600), RULES, WEIGHTS), drawn(600)
    errors = calibration.scores[:, 1] - calibration.ratings[:, 1]
    expected = conformal_bands(calibration.scores[:, 1], errors, calibration.prompt)
    assert np.array_equal(found.bands[1].edges, expected.edges) and len(expected.radius) == 4
    assert found.ranges[1].tolist() == [calibration.scores[:, 1].min(), calibration.scores[:, 1].max()]


@pytest.mark.parametrize("form", ["saved", "exported", "folded"])
def test_intervals_travel_with_the_model(tmp_path, form):
    made = tiny_reward.reward_model(tmp_path / "backbone").calibrated(rated())
    if form == "saved":
        made.save(tmp_path / "out", tmp_path / "backbone")
    else:
        export(made, tmp_path / "out", folded=form == "folded")
    loaded = RewardModel.from_pretrained(tmp_path / "out")
    for before, after in zip(
        made.rewards(PROMPTS, RESPONSES, intervals=True),
        loaded.rewards(PROMPTS, RESPONSES, intervals=True),
        strict=True,
    ):
        for a, b in zip(before, after, strict=True):
            assert np.allclose(a, b, atol=2e-5)
    note = loaded.passport.intervals
    assert (note.coverage, note.responses, note.prompts, note.by) == (0.9, 30, 30, HELD_OUT)
    if form == "exported":
        again = loaded.weighted("uniform").rewards(PROMPTS, RESPONSES, intervals=True)[0]
        assert np.allclose(again.upper, made.weighted("uniform").rewards(PROMPTS, RESPONSES, intervals=True)[0].upper)
    if form != "saved":
        ours = json.loads((tmp_path / "out" / "config.json").read_text())["encore_jax"]["intervals"]
        assert ours == json.loads(json.dumps(loaded.intervals.facts()))
        card = (tmp_path / "out" / "README.md").read_text()
        assert "## Intervals" in card and "30 rated responses of 30 prompts" in card


def test_a_file_of_another_model_is_refused_and_models_without_intervals_still_load(tmp_path):
    made = tiny_reward.reward_model(tmp_path / "backbone").calibrated(rated())
    plain = dataclasses.replace(made, calibration=None)
    assert plain.passport.intervals is None
    plain.save(tmp_path / "plain", tmp_path / "backbone")
    old = json.loads((tmp_path / "plain" / "passport.json").read_text())
    del old["intervals"]  # as files from before have it
    (tmp_path / "plain" / "passport.json").write_text(json.dumps(old))
    loaded = RewardModel.from_pretrained(tmp_path / "plain")
    with pytest.raises(InputError, match=r"nobody has calibrated it.*model\.calibrated\(rated\)"):
        loaded.rewards(PROMPTS, RESPONSES, intervals=True)
    with pytest.raises(InputError, match="calibrated"):
        loaded.with_coverage(0.8)
    made.save(tmp_path / "made", tmp_path / "backbone")
    made.calibrated(rated(seed=1)).calibration.save(tmp_path / "made")
    with pytest.raises(InputError, match="not the calibration that the passport names"):
        RewardModel.from_pretrained(tmp_path / "made")
    (tmp_path / "made" / CALIBRATION).unlink()
    with pytest.raises(InputError, match="intervals.npz.*Fix: "):
        RewardModel.from_pretrained(tmp_path / "made")
    for flag in ("no", 1, None, 0.9):
        with pytest.raises(InputError, match="intervals: got .* pass True or False"):
            made.rewards(PROMPTS, RESPONSES, intervals=flag)


def test_a_model_that_is_not_the_calibrated_one_has_no_intervals(tmp_path):
    made = tiny_reward.reward_model(tmp_path / "backbone").calibrated(rated())
    made.save(tmp_path / "made", tmp_path / "backbone")
    other = RewardModel.from_pretrained(tmp_path / "made", dtype="bfloat16", allow_mismatch=True)
    assert other.calibration is None and other.passport.mismatch and other.passport.intervals is None
    with pytest.raises(
        InputError, match="as it was saved, and dtype: 'float32' in the passport, 'bfloat16' here. Fix: "
    ):
        other.rewards(PROMPTS, RESPONSES, intervals=True)
    again = other.calibrated(rated())  # of this model, as it is
    again.save(tmp_path / "again", tmp_path / "backbone")
    assert RewardModel.from_pretrained(tmp_path / "again").rewards(PROMPTS, RESPONSES, intervals=True)


def test_what_cannot_be_calibrated_on_is_refused(model):
    prompt = (Message("user", "Hi"),)
    with pytest.raises(InputError, match="no rule politeness"):
        model.calibrated([RatedResponse(prompt, "Hello", ("politeness",), [1.0])])
    with pytest.raises(InputError, match="not rated"):
        model.calibrated([Comparison(prompt, ("Hello", "Go."), 0)])
    with pytest.raises(InputError, match="longer than"):
        model.calibrated([RatedResponse(prompt, "x" * 2000, RULES, [1.0, 0.0, 1.0])])
    with pytest.raises(InputError, match="from 0.001 to 0.999"):
        model.calibrated(rated(), coverage=90)
    some = model.calibrated([RatedResponse(r.prompt, r.response, RULES[1:2], r.ratings[1:2]) for r in rated()])
    [bounds, _] = some.scores(PROMPTS, RESPONSES, intervals=True)
    assert np.isinf(bounds.lower[:, [0, 2]]).all() and np.isfinite(bounds.lower[:, 1]).all()


def test_a_folded_model_has_the_rewards_errors(calibrated):
    folded = fold(calibrated)
    assert folded.intervals.bands[0].radius == pytest.approx(calibrated.intervals.reward_bands.radius, abs=1e-5)


def changed(folder, name, value):
    """Writes the stored calibration again, with another array; None takes it out."""
    with np.load(folder / CALIBRATION) as stored:
        arrays = dict(stored)
    arrays = {key: array for key, array in arrays.items() if key != name} | ({} if value is None else {name: value})
    np.savez(folder / CALIBRATION, **arrays)


DAMAGE = {
    "scores": (None, np.array("x"), np.zeros(3), np.zeros((0, 3)), np.full((200, 3), np.nan), np.full((200, 3), 1e300)),
    "ratings": (None, np.array("x"), np.zeros(3), np.zeros((200, 2)), np.full((200, 3), np.nan),
                np.full((200, 3), np.inf)),
    "prompt": (None, np.array("x"), np.zeros(3), np.zeros(5, int), np.zeros((200, 1), int)),
    "by": (None, np.array("sheer luck"), np.array(1.0), np.array(["held-out ratings"])),
    "coverage": (None, np.array("x"), np.array(1), *map(np.array, (0.9995, 0.9, 0.0005, -1.0, np.nan, np.inf))),
}  # fmt: skip


@pytest.mark.parametrize(("name", "i"), [(name, i) for name, bad in DAMAGE.items() for i in range(len(bad))])
def test_a_damaged_calibration_names_file_field_and_what_is_allowed(tmp_path, name, i):
    drawn().save(tmp_path)
    changed(tmp_path, name, value := DAMAGE[name][i])
    if name == "coverage" and value is not None and value == 0.9:
        assert Calibration.load(tmp_path).coverage == 0.9
        return
    with pytest.raises(InputError, match="it must be ") as refused:
        Calibration.load(tmp_path)
    assert f"{CALIBRATION}, array {name!r}: " in str(refused.value)
    assert "set the passport's 'intervals' to null, load the model" in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("coverage", 0.9995, "from 0.001 to 0.999"),
        ("coverage", 0.0005, "from 0.001 to 0.999"),
        ("prompts", 0, "from 1 to the 200 responses"),
        ("prompts", 201, "from 1 to the 200 responses"),
        ("sha256", "x", "64 hexadecimal digits"),
    ],
)
def test_what_a_passport_says_of_intervals_is_checked(field, value, allowed):
    note = dataclasses.replace(drawn().note, **{field: value})
    with pytest.raises(InputError, match=f"passport.json, intervals, {field}: is .*it must be {allowed}"):
        note.check("passport.json, intervals")


def test_a_model_of_an_impossible_coverage_is_calibrated_anew_as_the_message_says(tmp_path):
    """Written by a version that took any coverage below 1."""
    made = tiny_reward.reward_model(tmp_path / "backbone").calibrated(rated())
    made.save(tmp_path / "model", tmp_path / "backbone")
    path = tmp_path / "model" / "passport.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"intervals": stored["intervals"] | {"coverage": 0.9999}}))
    with pytest.raises(InputError, match=r"passport.json, intervals, coverage: is 0.9999; it must be from 0.001 to"):
        RewardModel.from_pretrained(tmp_path / "model")
    path.write_text(json.dumps(stored | {"intervals": None}))
    bare = RewardModel.from_pretrained(tmp_path / "model")
    assert bare.calibration is None
    assert bare.calibrated(rated(), coverage=0.8).calibration.coverage == 0.8
