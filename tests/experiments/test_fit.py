"""A reward model from records in one call, and how it agrees with people."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

import encore_jax as enc
from encore_jax.data import Comparison, Message, RatedResponse, prompt_key, write_comparisons
from encore_jax.errors import InputError
from encore_jax.evaluation.held_out import MODEL
from encore_jax.recipes.fit import fit
from encore_jax.recipes.fit_weights import HeadsAgreement, composed_weights
from encore_jax.report.held_out_page import aligned, cells
from encore_jax.reward.calibration import OUT_OF_FOLD
from encore_jax.reward.passport import read_passport
from encore_jax.reward.rated_rows import RatedRows, rated_rows
from tests.experiments import tiny_model

RULES = ("violence", "privacy", "kindness")


def records(count, seed=0, rules=RULES):
    """Comparisons whose ratings follow the words of their responses."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        share = rng.integers(0, 5, 2)
        responses = tuple(" ".join(["yes"] * int(s) + ["no"] * int(4 - s)) + f" {i}" for s in share)
        ratings = np.clip(share[:, None] / 4 + 0.1 * rng.normal(size=(2, len(rules))), 0, 1).round(1)
        prompt = (Message("user", f"Question {i // 2}?"),)
        made.append(
            Comparison(prompt, responses, int(share.argmax()), rules, ratings, id=f"row {i}", subset="ab"[i % 2])
        )
    return made


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def model(backbone):
    return fit(records(40), backbone=backbone, buckets=(128, 256))


def test_its_heads_are_the_ridge_of_scikit_learn_at_the_chosen_penalty(model, backbone):
    rows = rated_rows(records(40))
    prompts = [prompt for prompt, _ in rows.texts]
    scores = np.concatenate(model.scores(prompts, [[response] for _, response in rows.texts]))
    errors = []
    for alpha in 10.0 ** np.arange(7):
        features = features_of(model, rows)
        scale = features.std(0) + 1e-30
        fitted = Ridge(alpha=alpha).fit(features / scale, rows.ratings[:, 0]).predict(features / scale)
        errors.append(np.abs(fitted - scores[:, 0]).max())
    assert min(errors) < 2e-3


def features_of(model, rows):
    """By scores of heads that pick features three at a time."""
    width, parts = model.cfg.width, []
    prompts, responses = [p for p, _ in rows.texts], [[r] for _, r in rows.texts]
    for first in range(0, width, 3):
        kernel = np.zeros((width, 3), np.float32)
        for k in range(min(3, width - first)):
            kernel[first + k, k] = 1
        picked = dataclasses.replace(model, kernel=kernel, bias=np.zeros(3, np.float32))
        parts.append(np.concatenate(picked.scores(prompts, responses))[:, : min(3, width - first)])
    return np.concatenate(parts, 1)


def test_weights_are_the_papers_from_the_entropies_of_the_ratings(model):
    rows = rated_rows(records(40))
    entropy = enc.rating_entropy(rows.ratings, rows.mask, levels=11, normalize="none")
    np.testing.assert_allclose(model.passport.entropy, entropy, rtol=1e-6)
    expected = np.exp(-np.asarray(entropy) / 2)
    np.testing.assert_allclose(model.weights, expected / expected.sum(), rtol=1e-5)
    assert model.passport.weighting == "ENCORE" and model.rules == RULES


def test_comparisons_and_their_responses_one_by_one_give_the_same_heads(model, backbone):
    alone = [
        RatedResponse(c.prompt, response, c.rules, values, mask)
        for c in records(40)
        for response, values, mask in zip(c.responses, c.ratings, c.mask, strict=True)
    ]
    other = fit(alone, backbone=backbone, buckets=(128, 256))
    np.testing.assert_array_equal(other.kernel, model.kernel)
    assert other.passport.data_revision == model.passport.data_revision


def test_ratings_on_any_scale_have_the_weights_of_the_same_ratings_from_0_to_1(model, backbone):
    rows = [dataclasses.replace(c, ratings=1 + 9 * c.ratings) for c in records(40)]
    other = fit(rows, backbone=backbone, buckets=(128, 256))
    np.testing.assert_allclose(other.weights, model.weights, rtol=1e-5)
    with pytest.raises(InputError, match="scale"):
        fit(rows, backbone=backbone, compose=enc.CompositionSettings())


def test_labels_say_which_part_of_a_pool_that_splits_agreement_follows():
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(300, 2, 2)).repeat(3, 2)  # three rules follow one thing, three another
    scores = (seen + 0.5 * rng.normal(size=seen.shape)).reshape(600, 6).astype(np.float32)
    pair, rules = np.arange(600).reshape(300, 2), tuple("abcdef")
    settings = enc.CompositionSettings(method="agreement")

    def weights(preferred):
        rows = RatedRows(rules, [], [], scores, np.isfinite(scores), pair, preferred)
        heads = HeadsAgreement(rows, scores, np.arange(600) // 2, "", True)
        made = composed_weights(settings, np.ones(6), heads)
        assert heads.facts()["agreement"] == pytest.approx(made) and not heads.facts()["agreement_warning"]
        return made

    with pytest.raises(InputError, match="pool splits"):
        weights(np.full(300, -1))
    by_second = weights(seen[..., 5].argmax(1))
    assert by_second[:3].sum() == pytest.approx(0, abs=1e-6) and by_second[3:].sum() == pytest.approx(1)


def test_what_is_saved_and_loaded_scores_the_same(model, tmp_path):
    model.save(tmp_path / "out")
    again = enc.RewardModel.from_pretrained(tmp_path / "out")
    prompts, responses = ["Question 1?"], [["yes yes", "no no no"]]
    np.testing.assert_array_equal(again.rewards(prompts, responses)[0], model.rewards(prompts, responses)[0])
    assert read_passport(tmp_path / "out") == model.passport and again.origin == model.origin
    exported = model.export(tmp_path / "hf", folded=True)
    folded = enc.RewardModel.from_pretrained(exported)
    np.testing.assert_allclose(folded.rewards(prompts, responses)[0], model.rewards(prompts, responses)[0], atol=1e-5)
    with pytest.raises(InputError, match="where its backbone lies is not known"):
        dataclasses.replace(model, origin="").save(tmp_path / "other")


@pytest.mark.parametrize("method", ["uniform", "agreement", "agreement_entropy"])
def test_other_weightings(method, backbone):
    made = fit(records(60), backbone=backbone, buckets=(128, 256), compose=enc.CompositionSettings(method=method))
    assert made.weights.sum() == pytest.approx(1, abs=1e-5) and (made.weights >= 0).all()
    assert method != "uniform" or len(set(made.weights.tolist())) == 1
    assert made.passport.weighting and made.passport.agreement_note
    assert len(made.passport.loading) == len(made.rules)


def test_a_call_that_was_ended_goes_on_from_its_features(model, backbone, tmp_path, monkeypatch):
    first = fit(records(40), backbone=backbone, buckets=(128, 256), cache=tmp_path / "cache")

    def never(*given):
        raise AssertionError("nothing is left to compute")

    monkeypatch.setattr("encore_jax.train.features.feature_function", lambda *given: never)
    again = fit(records(40), backbone=backbone, buckets=(128, 256), cache=tmp_path / "cache")
    np.testing.assert_array_equal(again.kernel, first.kernel)
    np.testing.assert_array_equal(first.kernel, model.kernel)


def bad(**changes):
    return [dataclasses.replace(record, **changes) for record in records(4)]


@pytest.mark.parametrize(("given", "options", "told"), [
    ([], {}, "there is no rated response"),
    ("pairs.jsonl", {}, "got a str.*read_comparisons"),
    ([3], {}, "record 0: is a int"),
    (bad(ratings=None, mask=None, rules=()), {}, "comparison row 0: its responses are not rated"),
    ([*records(2), *records(2, rules=("a", "b", "c"))], {}, "row 0: is rated on a, b, c"),
    (bad(ratings=[[9.0] * 3, [1.0] * 3]), {"compose": enc.CompositionSettings()}, "scale"),
    (records(2), {}, "rule 'violence': has 4 ratings, on prompts of fewer than two folds"),
    (records(40), {"buckets": (4,)}, "80 are longer than the 4 tokens"),
    (records(4), {"dtype": "float8"}, "dtype: 'float8' is unknown"),
    (records(4), {"folds": 1}, "folds: is 1"),
    (records(4), {"compose": enc.CompositionSettings(method="best")}, "compose.method: 'best' is unknown"),
    (records(4), {"pool": enc.RulePool.shipped("safety_10")}, "pool: its rules are"),
])  # fmt: skip
def test_what_it_refuses(given, options, told, backbone):
    with pytest.raises(InputError, match=told):
        fit(given, backbone=backbone, **options)


def test_an_evaluation_counts_what_people_prefer(model):
    held_out = records(30, seed=1)
    found = enc.evaluate(model, held_out, replicates=200, probe=False)
    rewards = model.rewards([c.prompt for c in held_out], [c.responses for c in held_out])
    right = [0.5 if r[0] == r[1] else float(r.argmax() == c.preferred) for c, r in zip(held_out, rewards, strict=True)]
    assert found.accuracy == pytest.approx(np.mean(right)) and found.pairs == 30
    assert found.prompts == len({prompt_key(c.prompt) for c in held_out}) == 15
    scores = np.stack(model.scores([c.prompt for c in held_out], [c.responses for c in held_out]))
    preferred = np.array([c.preferred for c in held_out])
    expected = enc.rule_accuracy(scores, preferred).ties_half
    np.testing.assert_allclose([row.accuracy for row in found.rows[1:]], expected, atol=1e-6)
    assert [row.name for row in found.rows] == [MODEL, *RULES]
    assert all(row.low <= row.accuracy <= row.high for row in found.rows)
    assert found.subsets["a"][1] == found.subsets["b"][1] == 15
    assert np.average([v for v, _ in found.subsets.values()]) == pytest.approx(found.accuracy)
    assert enc.evaluate(model, held_out, replicates=200, probe=False) == found


def test_an_evaluation_is_worth_looking_at(model, tmp_path):
    found = enc.evaluate(model, records(10, seed=2), replicates=100)
    said = repr(found)
    assert said.startswith("tiny") or "agrees with people in" in said.splitlines()[0]
    assert "Over-refusal probe" in said and "violence" in said
    html = found._repr_html_()
    assert "<table>" in html and "violence" in html
    page = found.report(tmp_path).read_text()
    assert page.startswith("<!") and "A reward model beside people" in page
    widths = {len(line) for line in aligned(cells(found))}
    assert len(widths) == 1


def test_of_many_responses_the_preferred_is_compared_with_each(model):
    prompt = (Message("user", "Which?"),)
    many = Comparison(prompt, ("yes yes", "no no", "no yes"), 1)
    found = enc.evaluate(model, [many, Comparison(prompt, ("a", "b"), None)], replicates=100, probe=False)
    reward = model.rewards([prompt], [many.responses])[0]
    assert found.pairs == 2 and found.accuracy == np.mean(reward[1] > reward[[0, 2]])
    assert found.left_out == {"say of no response that it is preferred": 1}
    assert "Left out, comparisons that say of no response that it is preferred: 1." in repr(found)


@pytest.mark.parametrize(("given", "options", "told"), [
    ([], {}, "0 of 0 comparisons"),
    ([Comparison((Message("user", "x"),), ("a", "b"), None)], {}, "1 say of no response"),
    (["row"], {}, "record 0: is a str"),
    (records(2), {"replicates": 1}, "replicates"),
    ([Comparison((Message("user", "x"),), ("a" * 4000, "b"), 0)], {}, "1 are longer than the model's 256 tokens"),
])  # fmt: skip
def test_what_an_evaluation_refuses(given, options, told, model):
    with pytest.raises(InputError, match=told):
        enc.evaluate(model, given, **options)


def test_rewards_follow_what_was_rated(model):
    rows = rated_rows(records(40))
    rewards = np.concatenate(model.rewards([p for p, _ in rows.texts], [[r] for _, r in rows.texts]))
    assert spearmanr(rewards, rows.ratings.mean(1)).statistic > 0.5


def test_the_readmes_lines_run(model, tmp_path, monkeypatch):
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    lines = next(block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "enc.fit(" in block)
    monkeypatch.chdir(tmp_path)
    pool = enc.RulePool(tuple(enc.Rule(name, f"The response is right on {name}.") for name in RULES))
    pool.to_yaml("rules.yaml")
    for name, seed in (("rated_pairs.jsonl", 0), ("held_out.jsonl", 1)):  # as people rate: whole numbers from 1 to 5
        likert = [dataclasses.replace(c, ratings=np.round(1 + 4 * c.ratings)) for c in records(40, seed)]
        write_comparisons(name, likert, pool=pool, scale=(1.0, 5.0))
    said = {"enc": enc}
    exec(lines.replace("hf://org/name", model.origin), said)
    assert len(repr(said["model"]).splitlines()) <= 5 and all(rule in repr(said["model"]) for rule in RULES)
    assert enc.RewardModel.from_pretrained("hf_out").rules and enc.RewardModel.from_pretrained("out").rules == RULES


def test_its_intervals_come_from_out_of_fold_scores_not_from_those_of_its_own_heads(model, backbone, tmp_path):
    rows, made = rated_rows(records(40)), model.calibration
    assert made.by == OUT_OF_FOLD and made.coverage == 0.9 and np.array_equal(made.ratings, rows.ratings)
    assert len(np.unique(made.prompt)) == 20 and made.prompt[0] == made.prompt[3] != made.prompt[4]
    own = np.concatenate(model.scores([prompt for prompt, _ in rows.texts], [[r] for _, r in rows.texts]))
    assert np.abs(made.scores - made.ratings).mean() > np.abs(own - made.ratings).mean()
    bounds = model.rewards(["Question 1?"], [["yes no no no 1"]], intervals=True)[0]
    assert bounds.lower[0] < bounds.value[0] < bounds.upper[0]
    found = enc.coverage(model, records(40, seed=1))
    assert found.rows[0].prompts == 20 and 0.6 < found.rows[0].coverage <= 1
    assert {row.subset for row in found.rows} == {"all", "a", "b"} and "no theorem" in "\n".join(found.sentences())
    model.save(tmp_path / "out", backbone)
    assert enc.RewardModel.from_pretrained(tmp_path / "out").passport.intervals == made.note
    half = fit(records(12), backbone=backbone, buckets=(128, 256), folds=2, coverage=0.5)
    assert half.calibration.coverage == 0.5
    with pytest.raises(InputError, match="from 0.001 to 0.999"):
        fit(records(4), backbone="none", coverage=90)
