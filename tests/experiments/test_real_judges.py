"""The study of real judges: on made-up files in full, and on the published ones what was measured before."""

import json

import numpy as np
import pytest

from encore_jax.data.judged import JudgedResponses
from encore_jax.data.readers.judged_sets import judged_folders, read_judged
from encore_jax.errors import InputError
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from experiments.studies.decisions import complete_pairs, critical_hits, rule_hits, weighting_hits
from experiments.studies.judges import study
from experiments.studies.junk import JUNK_RULES, KINDS, junk_ratings, real_rules, study_junk, with_junk
from experiments.studies.real_judges_config import JudgedDataConfig, RealJudgesConfig
from experiments.studies.real_judges_stages import JudgedSets, measure
from experiments.studies.resampled import accuracies, draw_units, entropies, pair_weights
from tests.data.judged_files import write_all, write_hanna, write_llmbar
from tests.report.page_checks import check_page


def made(units=40, rules=4, levels=5, seed=0, missing=0.0):
    """Two responses of each unit, the better one first."""
    rng = np.random.default_rng(seed)
    ratings = rng.integers(1, levels + 1, (2 * units, rules)).astype(np.float32)
    ratings[::2] = np.minimum(ratings[::2] + rng.integers(0, 2, (units, rules)), levels)
    mask = rng.random(ratings.shape) >= missing
    return JudgedResponses(
        "made up", tuple("abcdefg"[:rules]), np.where(mask, ratings, 0), mask, np.repeat(np.arange(units), 2),
        np.arange(2 * units).reshape(-1, 2), levels, (1.0, float(levels)), "nobody",
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges")
    write_all(folder / "data")
    config = RealJudgesConfig(data=JudgedDataConfig(str(folder / "data")), replicates=20, junk_draws=2)
    run_experiment(validated(config), folder / "run")
    return folder / "run"


def test_every_method_has_its_accuracy_under_every_policy_with_an_interval(finished, capsys):
    results = json.loads((finished / "results.json").read_text())
    assert [found["name"] for found in results["studies"]] == ["HANNA", "LLMBar", "LLM-Rubric, real"]
    assert results["missing"] == ["LLM-Rubric, synthetic"]
    for found in results["studies"]:
        names = [method["name"] for method in found["methods"]]
        assert {"uniform", "ENCORE", "agreement", "agreement × entropy", "one random rule"} < set(names)
        assert {"critical rules, r = 1", "critical rules × loading, r = 3"} < set(names)
        for method in found["methods"]:
            for policy in ("half", "wrong", "decided"):
                assert method[policy]["low"] <= method[policy]["value"] + 0.2 <= method[policy]["high"] + 0.4
            assert method["wrong"]["value"] <= method["half"]["value"] + 1e-9
    assert [row["kind"] for row in results["junk"]] == list(KINDS.values())
    page = (finished / "report.html").read_text()
    check_page(page)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "LLM-Rubric, synthetic" in page and "1 of 30 pairs lack a rating" in page


def test_another_name_is_another_report_and_measures_nothing_again(finished):
    values = json.loads((finished / "config.json").read_text())
    data = JudgedDataConfig(values["data"]["path"])
    config = RealJudgesConfig(name="other", data=data, replicates=20, junk_draws=2)
    before, results = (finished / "measure" / "results.json").stat().st_mtime_ns, finished / "results.json"
    stale = json.loads(results.read_text())
    run_experiment(validated(config), finished)
    assert (finished / "measure" / "results.json").stat().st_mtime_ns == before
    again = json.loads(results.read_text())
    assert again == stale | {"name": "other", "config": stale["config"] | {"name": "other"}}


def test_accuracies_are_counted_under_each_policy():
    data = made(missing=0.1)
    found = accuracies(rule_hits(data), np.ones((1, 40)), data)
    for k in range(4):
        both = data.mask[data.pairs, k].all(1)
        difference = (data.ratings[::2, k] - data.ratings[1::2, k])[both]
        right, ties = (difference > 0).sum(), (difference == 0).sum()
        n = len(difference)
        want = ((right + ties / 2) / n, right / n, right / (n - ties), ties / n)
        np.testing.assert_allclose([part[0, k] for part in found], want)


def test_a_draw_counts_pairs_as_often_as_their_units_come_up():
    data, times = made(units=3), np.array([[1.0, 1, 1], [3, 0, 0], [0, 2, 1]])
    np.testing.assert_array_equal(pair_weights(times, data), times)
    across = made(units=3)
    object.__setattr__(across, "pairs", np.array([[0, 2], [2, 5]]))
    np.testing.assert_array_equal(pair_weights(times, across), [[1, 1], [0, 0], [0, 2]])
    drawn = draw_units(7, 50, seed=1)
    assert (drawn[0] == 1).all() and (drawn.sum(1) == 7).all()
    repeated = entropies(data, np.array([[1.0, 1, 1], [2, 2, 2], [1, 0, 0]]))
    np.testing.assert_allclose(repeated[0], repeated[1], rtol=1e-6)
    assert not np.allclose(repeated[0], repeated[2])


def test_critical_rules_decide_as_a_plain_loop_says():
    data, scale = made(levels=5, units=60), np.array([1.0, 0.5, 0.0, 2.0])
    object.__setattr__(data, "ratings", (data.ratings + 0.01 * np.random.default_rng(0).random((120, 4))).astype("f4"))
    names, hits = critical_hits(data, {"c": scale}, (1, 3), seed=0)
    assert names == ["c, r = 1", "c, r = 3"]
    for column, r in enumerate((1, 3)):
        for n, (a, b) in enumerate(data.pairs):
            value = scale * (data.ratings[a].astype(float) - data.ratings[b])
            chosen = np.argsort(-abs(value))[:r]
            assert hits.correct[n, column] == (value[chosen].sum() > 0)


def test_tied_discrepancies_are_broken_at_random():
    """Two rules that always differ by one step, one right and one wrong: each decides half of the time."""
    ratings = np.tile(np.array([[2.0, 1.0], [1.0, 2.0]], np.float32), (100, 1))
    data = made(units=100, rules=2)
    data = JudgedResponses(**{**vars(data), "ratings": ratings, "mask": np.ones((200, 2), bool), "rules": ("a", "b")})
    _, hits = critical_hits(data, {"c": np.ones(2)}, (1,), seed=0)
    assert hits.correct.mean() == pytest.approx(0.5, abs=0.04) and not hits.tied.any()


def test_pairs_that_lack_a_rating_are_left_out_of_methods_only():
    data = made(missing=0.2)
    complete = complete_pairs(data)
    assert 0 < complete.sum() < 40
    assert weighting_hits(data, [np.full(4, 0.25)]).counted.sum() == complete.sum()
    assert (rule_hits(data).counted.sum(0) > complete.sum()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_junk_is_added_to_the_six_real_rules(tmp_path, kind):
    write_hanna(tmp_path, prompts=30)
    six = real_rules(read_judged("HANNA", tmp_path))
    assert len(six.rules) == 6 and all(rule.startswith("ChatGPT ") for rule in six.rules)
    rng = np.random.default_rng(0)
    data = with_junk(six, kind, rng)
    assert data.ratings.shape[1] == len(data.rules) == (6 if kind == "none" else 6 + JUNK_RULES)
    np.testing.assert_array_equal(data.ratings[:, :6], six.ratings)
    if kind == "nuisance":
        shared = np.corrcoef(junk_ratings(kind, 4000, rng).T)[~np.eye(JUNK_RULES, dtype=bool)]
        assert 0.35 < shared.mean() < 0.55
    elif kind != "none":
        assert abs(np.corrcoef(junk_ratings(kind, 4000, rng).T)[~np.eye(JUNK_RULES, dtype=bool)]).max() < 0.1


def test_without_chatgpt_there_is_no_junk(tmp_path):
    write_hanna(tmp_path, judges=("Beluga-13B", "Llama-13B"))
    assert real_rules(read_judged("HANNA", tmp_path)) is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"data": JudgedDataConfig("")}, r"config\.data\.path: is empty. Fix: give --config\.data\.path=DIR"),
        ({"tau": 0.0}, r"config\.tau"),
        ({"replicates": 1}, r"config\.replicates"),
        ({"junk_draws": 0}, r"config\.junk_draws"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, problem):
    with pytest.raises(InputError, match=problem):
        validated(RealJudgesConfig(**({"data": JudgedDataConfig("x")} | fields)))


def test_a_folder_without_data_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "empty").mkdir()
    config = validated(RealJudgesConfig(data=JudgedDataConfig(str(tmp_path / "empty"))))
    with pytest.raises(InputError, match="holds none of the data sets"):
        run_experiment(config, tmp_path / "run")
    assert not (tmp_path / "run" / "measure").exists()


BAD_SETS = {
    "a cell": (lambda d: (d / "ratings.jsonl").write_text('{"chosen": [1]}\n'), r"ratings\.jsonl:1"),
    "no names": (lambda d: (d / "judges.json").write_text("[]"), r"ratings\.jsonl"),
    "constant": (lambda d: (d / "ratings.jsonl").write_text('{"chosen": [5,5,5,5], "rejected": [5,5,5,5]}\n' * 30),
                 "no rule follows what the rules have in common"),
    "an empty judge": (lambda d: (d / "ratings.jsonl").write_text(
        "".join(f'{{"chosen": [{i % 9},{i % 7},{i % 5},null], "rejected": [{i % 4},3,1,null]}}\n' for i in range(30))),
        "judge 'B/Other': has no rating at all"),
    "no rating": (lambda d: (d / "ratings.jsonl").write_text(
        '{"chosen": [null,null,null,null], "rejected": [null,null,null,null]}\n' * 3), "judge 'A/Rating'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SETS)
def test_a_bad_data_set_is_named_with_what_to_do(name, tmp_path):
    damage, problem = BAD_SETS[name]
    write_llmbar(tmp_path / "data" / "llmbar")
    damage(tmp_path / "data" / "llmbar")
    sets = JudgedSets(tmp_path / "data")
    with pytest.raises(InputError, match=f"^data set LLMBar in .*llmbar: .*{problem}.*or move the data set") as caught:
        measure(sets, tau=2.0, replicates=20, junk_draws=1, seed=0)
    assert "\n" not in str(caught.value)


def test_names_of_judges_steer_no_terminal(tmp_path, capsys):
    write_llmbar(tmp_path / "llmbar")
    names = ["A\x1b[31m/Rating", "A\u202e/Other", "B\r/Rating", "B\x07|\n/Other"]
    (tmp_path / "llmbar" / "judges.json").write_text(json.dumps(names))
    config = RealJudgesConfig(data=JudgedDataConfig(str(tmp_path / "llmbar")), replicates=20, junk_draws=1)
    run_experiment(validated(config), tmp_path / "run")
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert not {"\x1b", "\u202e", "\r", "\x07"} & set(text)
    assert "x1b[31m" in printed.out and "u202e" in printed.out


MEASURED = {
    # r(entropy) ties half, decided; r(loading); uniform, ENCORE, agreement; of r = 1, 3, 5 critical rules × loading
    "HANNA": (0.21, -0.42, 0.83, 73.6, 73.3, 73.2, 70.5, 71.5, 71.7),
    "LLMBar": (0.98, 0.97, 0.99, 83.8, 83.3, 84.7, 85.0, None, None),
    "LLM-Rubric, synthetic": (-0.27, -0.27, 0.95, 54.3, 55.6, None, None, None, None),
    "LLM-Rubric, real": (None, None, 0.22, None, 55.4, None, None, None, None),
}
"""What scripts had measured before on the published files. Left out is what they measured otherwise: they drew some of
LLM-Rubric's pairs at random, where all are taken here, and added the critical rules' differences without loadings."""


@pytest.mark.parametrize("name", MEASURED)
def test_the_published_data_say_what_was_measured_before(shared_data, name):
    folders = judged_folders(shared_data)
    if name not in folders:
        pytest.skip(f"{name} is missing")
    found = study(read_judged(name, folders[name]), draws=2)
    r, methods = found["correlations"], {method["name"]: 100 * method["half"]["value"] for method in found["methods"]}
    got_r = (r["entropy"]["half"].value, r["entropy"]["decided"].value, r["loading"]["half"].value)
    critical = [methods[f"critical rules × loading, r = {number}"] for number in (1, 3, 5)]
    got = (*got_r, methods["uniform"], methods["ENCORE"], methods["agreement"], *critical)
    for i, (value, want) in enumerate(zip(got, MEASURED[name], strict=True)):
        assert want is None or value == pytest.approx(want, abs=0.03 if i < 3 else 0.5), (i, value, want)


def test_junk_costs_agreement_less_than_a_point_on_hanna_and_a_shared_nuisance_is_found(shared_data):
    folders = judged_folders(shared_data)
    if "HANNA" not in folders:
        pytest.skip("HANNA is missing")
    six = real_rules(read_judged("HANNA", folders["HANNA"]))
    found = {kind: study_junk(six, kind, draws=3, tau=2.0, seed=0) for kind in KINDS}
    alone = found["none"]["agreement"]["value"]
    assert alone == pytest.approx(0.67, abs=0.005)
    for kind in ("uniform", "skewed"):
        assert abs(found[kind]["agreement"]["value"] - alone) < 0.01 and "one common factor" in found[kind]["verdicts"]
        assert found[kind]["uniform"]["value"] < alone - 0.03
    assert found["nuisance"]["verdicts"] == {"the pool splits": 3}
    assert found["uniform"]["entropy"]["value"] == pytest.approx(-0.67, abs=0.03)
    assert found["skewed"]["entropy"]["value"] == pytest.approx(0.97, abs=0.03)
    assert found["nuisance"]["loading"]["value"] == pytest.approx(-0.99, abs=0.03)
