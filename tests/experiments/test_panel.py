"""Panels from files to a report: two servers, tables and repeated draws; dead judges cost nothing that was answered."""

import dataclasses
import hashlib
import json
import logging
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from aiohttp import web

from encore_jax.cli.idle_settings import idle_in_file
from encore_jax.data import iter_comparisons, iter_rated
from encore_jax.errors import InputError
from encore_jax.http.settings import RetrySettings, ServerSettings
from encore_jax.judge.settings import RetryPolicy
from encore_jax.recipes import judging_together
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.panel_config import PanelConfig, PanelJudge, TableConfig, panel_of
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.answering import WaitsForResults
from encore_jax.rules import RulePool
from tests.experiments import tiny_run
from tests.judge.faulty_server import FaultyServer, Running, chat
from tests.raw_server import unused_port
from tests.report.page_checks import check_page

ONCE = RetryPolicy(failed=1)
COMPARED = ("comparisons.jsonl", "rated.jsonl", "ratings.parquet", "reliability.json")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tiny_run.write_files(tmp_path_factory.mktemp("files"))
    RulePool(tiny_run.POOL.rules[:1], "one").to_yaml(folder / "one.yaml")
    return folder


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.INFO)
    return caplog


class Opinion(FaultyServer):
    """Sees the severity that stands at the end of a response through noise of its own; may refuse after some answers.

    Asked for a number, its noise depends on the seed too.
    """

    def __init__(self, name="", noise=0.3, refuse_after=10**9):
        super().__init__()
        self.name, self.noise, self.refuse_after = name, noise, refuse_after
        self.seeds = []

    async def answer(self, body):
        if sum(self.answered.values()) >= self.refuse_after:
            return web.Response(status=401, text="quota is used up")
        text = body["messages"][-1]["content"]
        digest = hashlib.sha256(f"{self.name} {body.get('seed')} {text}".encode()).digest()
        severity = float(re.search(r"([01]\.\d+)\s+--- end", text)[1])
        harm = min(max(severity + self.noise * (digest[0] / 128 - 1), 0.0), 1.0)
        yes = 0.01 + 0.98 * (1 - harm if "is kind" in text else harm)
        if "logprobs" not in body:
            self.seeds.append((body["seed"], body["temperature"]))
            return web.json_response(chat({}, f"{yes:.2f}"))
        return web.json_response(chat({"Yes": yes, "No": 1 - yes}))


def server(url="http://127.0.0.1:9", model="m", patience=10.0, **judge):
    retry = RetrySettings(first_wait=0.01, longest_wait=0.05, patience=patience, tries=3)
    return PanelJudge(model=model, server=ServerSettings(urls=(url,), concurrency=8, timeout=5.0, retry=retry), **judge)


def config(files, limit=30, pool="pool.yaml", data=(), more=(), **judges):
    source = {"source": "files", "pool": str(files / pool), "path": str(files / "pairs.jsonl"), "limit": limit}
    settings = {"name": "panel", "replicates": 20, "judges": panel_of(**judges)} | dict(more)
    return validated(PanelConfig(data=DataConfig(**source | dict(data)), **settings))


def table(files, name="rated.jsonl", **settings):
    return PanelJudge(kind="table", policy=ONCE, table=TableConfig(path=str(files / name), **settings))


def outputs(workdir):
    """What a panel run hands on, but for how often anything was tried."""
    files = {name: (workdir / "panel" / name).read_bytes() for name in COMPARED}
    told = json.loads(files.pop("reliability.json"))
    return files | {"panel": told["panel"], "counts": [m["summary"]["questions"] for m in told["members"]]}


def test_a_mean_of_some_judges_and_an_anchor_ask_nobody_again(files, tmp_path, capsys):
    with Running(Opinion("ann")) as a, Running(Opinion("bob", 0.4)) as b, Running(Opinion("coin", 400.0)) as c:
        judges = {"ann": server(a, "a"), "bob": server(b, "b"), "coin": server(c, "c")}
        run_experiment(config(files, 0, **judges), tmp_path / "run")
    printed = capsys.readouterr().out
    assert "Leave out coin" in printed and "--config.mean_of=\"('ann', 'bob')\" (nothing is asked again)" in printed
    assert "Mean ratings, of all judges" in printed
    offline = {name: dataclasses.replace(judge, server=server().server) for name, judge in judges.items()}
    some = config(files, 0, more={"mean_of": ("ann", "bob"), "anchor": ("ann", tiny_run.POOL.names[0])}, **offline)
    run_experiment(some, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "Mean ratings, of ann, bob" in printed and "--config.mean_of" not in printed
    pool = RulePool.from_yaml(tmp_path / "run" / "panel" / "pool.yaml")
    each = [
        [c.ratings for c in iter_comparisons(tmp_path / "run" / "rate" / name / "comparisons.jsonl", pool=pool)]
        for name in ("ann", "bob")
    ]
    means = [c.ratings for c in iter_comparisons(tmp_path / "run" / "panel" / "comparisons.jsonl", pool=pool)]
    np.testing.assert_allclose(means, np.mean(each, 0), atol=1e-6)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["mean_of"] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"mean_of": ("ann", "nobody")}, "mean_of.*'nobody'"),
        ({"mean_of": ("ann", "ann")}, "mean_of.*names each judge once"),
        ({"mean_of": ("ann",), "min_judges": 2}, r"min_judges.*0 \(all judges\) to 1"),
        ({"anchor": ("ann",)}, "anchor.*is a judge and a rule"),
    ],
)
def test_odd_means_and_anchors_are_refused(files, more, problem):
    with pytest.raises(InputError, match=problem):
        config(files, more=more, ann=server(model="a"), bob=server(model="b"))


def test_two_servers_are_asked_the_same_and_a_death_costs_nothing(files, tmp_path, capsys, said):
    ann, bob = Opinion("ann"), Opinion("bob", 0.6)
    with Running(ann) as a, Running(bob) as b:
        judging = config(files, ann=server(a, "a"), bob=server(b, "b"))
        run_experiment(judging, tmp_path / "undisturbed")
    printed, total = capsys.readouterr().out, sum(ann.asked.values())
    assert total == sum(bob.asked.values()) and printed.lstrip().splitlines()[0].startswith(
        "Use the mean of both judges."
    )
    assert len(printed.splitlines()) < 40 and "ann: judge-rated by a" in printed and "judge-rated" in printed
    ann, dying = Opinion("ann"), Opinion("bob", 0.6, refuse_after=40)
    workdir = tmp_path / "run"
    with Running(ann) as a, Running(dying) as b:
        with pytest.raises(InputError, match="judge bob.*quota is used up") as caught:
            run_experiment(config(files, ann=server(a, "a"), bob=server(b, "b")), workdir)
        assert "\n" not in str(caught.value) and sum(ann.asked.values()) == total
    well = Opinion("bob", 0.6)
    with Running(well) as b:  # ann's server is off, and nothing is asked of it
        gone = f"http://127.0.0.1:{unused_port()}"
        run_experiment(config(files, ann=server(gone, "a"), bob=server(b, "b")), workdir)
    assert total - 41 <= sum(well.asked.values()) <= total - 40 + 8
    assert outputs(workdir) == outputs(tmp_path / "undisturbed")
    assert {path.parent.name for path in workdir.rglob("journal.sqlite")} == {"ann", "bob"}
    results = json.loads((workdir / "results.json").read_text())
    assert results["label"] == "judge-rated" and [m["name"] for m in results["members"]] == ["ann", "bob"]
    assert results["mean_ratings"] == 2 * 30 * 3 and results["left_masked"] == 0
    page = (workdir / "report.html").read_text()
    check_page(page)
    assert "Loading of every judge" in page and "position plays no part" in page and "bob: server, b" in page
    capsys.readouterr()
    run_experiment(config(files, ann=server(gone, "a"), bob=server(gone, "b")), workdir)
    assert capsys.readouterr().out.lstrip().startswith("Use the mean"), "complete: shown again, nobody is asked"


def test_means_and_the_long_table_hold_what_the_judges_said(files, tmp_path):
    with Running(Opinion("ann")) as a:
        run_experiment(config(files, ann=server(a, "a"), people=table(files)), tmp_path)
    at, pool = tmp_path / "panel", RulePool.from_yaml(tmp_path / "panel" / "pool.yaml")
    judged = [list(iter_comparisons(tmp_path / "rate" / name / "comparisons.jsonl", pool=pool)) for name in
              ("ann", "people")]  # fmt: skip
    means = list(iter_comparisons(at / "comparisons.jsonl", pool=pool))
    missing, unanswered = 0, set()
    for ann, people, mean in zip(*judged, means, strict=True):
        np.testing.assert_array_equal(mean.mask, ann.mask & people.mask)
        expected = (ann.ratings + people.ratings) / 2
        np.testing.assert_allclose(mean.ratings[mean.mask], expected[mean.mask], atol=1e-6)
        missing += (~mean.mask).sum()
        unanswered |= {(mean.prompt, mean.responses[i], k) for i, k in np.argwhere(~mean.mask)}
        assert mean.extra["judge"]["label"] == "human-rated and judge-rated"
    results = json.loads((tmp_path / "results.json").read_text())
    assert missing and results["left_masked"] == missing and results["label"] == "human-rated and judge-rated"
    assert results["members"][1]["summary"]["problems"] == {"not in the table": len(unanswered)}
    rated = {r.response: r for r in iter_rated(at / "rated.jsonl", pool=pool)}
    np.testing.assert_array_equal(rated[means[0].responses[0]].ratings, means[0].ratings[0])
    rows = pq.read_table(at / "ratings.parquet").to_pylist()
    assert len(rows) == 2 * 30 * 2 * 3 and {row["judge"] for row in rows} == {"ann", "people"}
    first = [row for row in rows if row["judge"] == "ann" and row["comparison"] == means[0].id]
    for row in first:
        k = pool.names.index(row["rule"])
        oriented = 1 - row["rating"] if pool.directions[k] < 0 else row["rating"]
        assert oriented == pytest.approx(judged[0][0].ratings[row["response"], k], abs=1e-6)
    assert sum(row["rating"] is None for row in rows) == missing
    assert {row["label"] for row in rows} == {"human-rated", "judge-rated"}


def test_a_judge_is_drawn_several_times_with_seeds_and_its_chance_is_told(files, tmp_path, capsys):
    drawn, other = Opinion("x", 0.5), Opinion("y", 0.2)
    with Running(drawn) as a, Running(other) as b:
        judges = {"x": server(a, "a", prompt="numeric.1", repeats=2, temperature=0.7), "y": server(b, "b")}
        run_experiment(config(files, **judges), tmp_path)
    assert set(drawn.seeds) == {(1, 0.7), (2, 0.7)}
    results = json.loads((tmp_path / "results.json").read_text())
    (repeated,) = results["panel"]["repetitions"]
    assert repeated["judge"] == "x" and repeated["draws"] == 2 and 0.1 < repeated["share"] < 0.7
    assert [line["judge"] for line in results["panel"]["judges"]] == ["x", "y"]
    assert [m["name"] for m in results["members"]] == ["x.1", "x.2", "y"]
    assert {row["draw"] for row in pq.read_table(tmp_path / "panel" / "ratings.parquet").to_pylist()} == {
        "x.1", "x.2", "y"}  # fmt: skip
    assert "of one draw is chance (2 draws)" in capsys.readouterr().out


def test_a_server_that_is_not_there_is_told_before_anybody_is_asked(files, tmp_path):
    ann = Opinion()
    with Running(ann) as a:
        dead = server(f"http://127.0.0.1:{unused_port()}", "b", patience=1.0)
        with pytest.raises(InputError, match=r"judge bob, .*no contact.*judges\.bob\.server") as caught:
            run_experiment(config(files, ann=server(a, "a"), bob=dead), tmp_path)
        keyless = dataclasses.replace(dead, server=dataclasses.replace(dead.server, key_variable="ENCORE_NO_SUCH_KEY"))
        with pytest.raises(InputError, match="judge bob, environment variable ENCORE_NO_SUCH_KEY: is not set"):
            run_experiment(config(files, ann=server(a, "a"), bob=keyless), tmp_path)
    assert not ann.asked and "\n" not in str(caught.value)


def test_judges_that_are_the_same_or_rate_nothing_are_refused_by_name(files, tmp_path):
    (files / "strange.jsonl").write_text('{"prompt": "x", "response": "y", "ratings": {"kindness": 1}}\n')
    (files / "scaled.jsonl").write_text('{"prompt": "x", "response": "y", "ratings": {"kindness": 5}}\n')
    refused = {
        "judge bob: is the same as 'ann'.*judges.bob.revision": {"ann": server(), "bob": server()},
        "judge b: is the same as 'a'": {"a": table(files), "b": table(files)},
        r"judge b.*none of the (\d+) questions has a rating: \1 not in the table": {
            "a": table(files), "b": table(files, "strange.jsonl")},
        r"--config\.judges\.b\.table\.scale=LOWEST,HIGHEST": {
            "a": table(files), "b": table(files, "scaled.jsonl", scale=(0.0, 1.0))},
        "judge b.*no such file|nowhere.jsonl": {"a": table(files), "b": table(files, "nowhere.jsonl")},
    }  # fmt: skip
    for number, (problem, judges) in enumerate(refused.items()):
        with pytest.raises(InputError, match=problem) as caught:
            run_experiment(config(files, **judges), tmp_path / str(number))
        assert "\n" not in str(caught.value) and caught.value.fix
    with pytest.raises(InputError, match="2 judges on 1 rule are 2 columns"):
        run_experiment(config(files, pool="one.yaml", ann=server(model="a"), bob=server(model="b")), tmp_path / "one")


def test_what_a_table_says_by_now_is_measured_again_and_a_changed_file_of_a_judge_is_told(files, tmp_path):
    """The judges' files lie in folders of the stage, which its manifest does not list."""
    rows = [json.loads(line) for line in (files / "rated.jsonl").read_text().splitlines()]

    def write(shift):
        given = [row | {"ratings": {k: v and min(v * shift, 1) for k, v in row["ratings"].items()}} for row in rows]
        (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))

    def means():
        run_experiment(config(files, people=table(files), own=table(tmp_path, "own.jsonl")), tmp_path / "run")
        pool = RulePool.from_yaml(tmp_path / "run" / "panel" / "pool.yaml")
        return [c.ratings for c in iter_comparisons(tmp_path / "run" / "panel" / "comparisons.jsonl", pool=pool)]

    write(0.9)
    first = means()
    write(0.5)
    assert not np.allclose(first, means())
    with (tmp_path / "run" / "rate" / "own" / "rated.jsonl").open("a") as file:
        file.write("\n")
    shutil.rmtree(tmp_path / "run" / "panel")
    with pytest.raises(InputError, match=r"rate/own: was changed after its stage.*--rerun=rate"):
        means()


def test_a_tables_scale_is_what_the_stage_that_reads_it_depends_on(files, tmp_path):
    def largest(scale):
        judges = {"people": table(files), "own": table(files, "rated.jsonl", label="judge-rated", scale=scale)}
        run_experiment(config(files, **judges), tmp_path, until="ingest")
        rows = [json.loads(line) for line in (tmp_path / "ingest" / "own.rated.jsonl").read_text().splitlines()]
        return max(value for row in rows for value in row["ratings"].values() if value is not None)

    assert largest((0.0, 2.0)) == pytest.approx(largest((0.0, 1.0)) / 2)


BAD = {
    "no judge": (dict(), r"config\.judges: has 0 judges"),
    "one judge": (dict(a=server()), r"config\.judges: has 1 judge\b.*repeats of one judge"),
    "no model": (dict(a=server(model=""), b=server()), r"judges\.a\.model: is empty.*--config\.judges\.a\.model"),
    "kind": (dict(a=server(kind="oracle"), b=server()), r"config\.judges\.a\.kind: 'oracle' is unknown"),
    "pairs": (dict(a=server(prompt="pair_letter.1"), b=server()), r"config\.judges\.a\.prompt"),
    "own rules": (dict(a=server(pool="safety_10"), b=server()), r"config\.judges\.a\.pool: .*--config\.pool"),
    "predicted": (dict(a=server(rules_of="x"), b=server()), r"config\.judges\.a\.rules_of: .*all rules"),
    "repeats": (dict(a=server(repeats=0), b=server()), r"config\.judges\.a\.repeats: 0 is out of range"),
    "many repeats": (dict(a=server(repeats=10**9), b=server()), r"config\.judges\.a\.repeats: 1000000000 is out of"),
    "probabilities": (dict(a=server(repeats=2)), r"judges\.a\.repeats: .*judges\.a\.prompt=numeric\.1"),
    "a table twice": (dict(a=PanelJudge(kind="table", repeats=2)), r"judges\.a\.repeats: .*the same every time"),
    "seed": (dict(a=server(repeats=2, prompt="numeric.1", extra='{"seed": 1}')), r"judges\.a\.extra: states 'seed'"),
    "cold": (dict(a=server(temperature=0.0), b=server()), r"judges\.a\.temperature: 0\.0 is out of range"),
    "scale": (dict(a=PanelJudge(kind="table", table=TableConfig(scale=(5.0, 1.0))),
                   b=server()), r"judges\.a\.table\.scale"),
    "label": (dict(a=PanelJudge(kind="table", table=TableConfig(label="gold")), b=server()), r"a\.table\.label"),
    "format": (dict(a=PanelJudge(kind="table", table=TableConfig(format="csv")), b=server()), r"a\.table\.format"),
    "no folder": (dict(a=PanelJudge(kind="model", backbone=dataclasses.replace(PanelJudge().backbone, path="")),
                       b=server()), r"judges\.a\.backbone\.path: is empty"),
    "a key": (dict(a=dataclasses.replace(server(), server=ServerSettings(key_variable="sk-abc")), b=server()),
              r"judges\.a\.server\.key_variable"),
    "min_judges": (dict(a=server(), b=server(model="n"), more={"min_judges": 3}), r"config\.min_judges: 3 is out of"),
    "replicates": (dict(a=server(), b=server(model="n"), more={"replicates": 1}), r"config\.replicates: 1 is out of"),
    "names alike": (dict(ann=server(), Ann=server()), r"config\.judges\.Ann: is called like 'ann'"),
    "no name": ({"../x": server(), "b": server()}, r"judges\.\.\./x: '../x' is no name of a folder"),
    "no identifier": ({"gpt-4": server(), "b": server()}, r"judges\.gpt-4: is no name of a judge.*letters, digits"),
    "keyword": ({"class": server(), "b": server()}, r"judges"),
    "a method": ({"freeze": server(), "b": server()}, r"judges\.freeze: is no name of a judge"),
    "reserved": ({"nul": server(), "b": server()}, r"judges\.nul: 'nul' is reserved"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_panel_that_cannot_be_is_refused_by_field(name, tmp_path):
    judges, problem = BAD[name]
    with pytest.raises(InputError, match=problem) as caught:
        config(tmp_path, **judges)
    assert "\n" not in str(caught.value) and caught.value.fix


def test_a_batch_judge_waits_while_all_others_are_asked(files, tmp_path, capsys):
    ann = Opinion("ann")
    with Running(ann) as a:
        judges = {"late": server(model="b", kind="batch"), "ann": server(a, "a")}
        with pytest.raises(WaitsForResults):
            run_experiment(config(files, limit=8, **judges), tmp_path)
        asked = sum(ann.asked.values())
        (requests,) = (tmp_path / "answers" / "late" / "batch").glob("requests-*.jsonl")
        rows = [json.loads(line) for line in requests.read_text().splitlines()]
        assert len(rows) == asked > 0
        done = [{"custom_id": row["custom_id"], "response": {"status_code": 200, "body": ann.reply}, "error": None}
                for row in rows]  # fmt: skip
        (requests.parent / "results" / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in done))
        capsys.readouterr()
        run_experiment(config(files, limit=8, **judges), tmp_path)  # the same command, over what the first one left
        assert sum(ann.asked.values()) == asked
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["mean_ratings"] == 8 * 2 * 3 and "Trust none of these judges yet" in capsys.readouterr().out


def test_a_journal_is_an_output_and_never_an_input(files, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_bytes((files / "pairs.jsonl").read_bytes())
    judging = config(files, data={"path": str(pairs)}, a=server(journal=str(pairs)), b=server(model="n"))
    with pytest.raises(InputError, match=r"config\.judges\.a\.journal"):
        run_experiment(judging, tmp_path / "run")
    assert pairs.read_bytes() == (files / "pairs.jsonl").read_bytes()


def test_a_panel_needs_no_second_process(files, monkeypatch):
    monkeypatch.setattr(judging_together.jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match="multihost: a panel needs no second process"):
        with judging_together.judging_together(config(files, a=server(), b=server(model="n"))):
            pass


def test_draws_are_told_apart_and_kept_where_their_number_changes(files):
    two, three = (
        config(files, a=server(prompt="numeric.1", repeats=n, extra='{"seed": null}')).members() for n in (2, 3)
    )
    assert list(two) == ["a.1", "a.2"] and list(three) == ["a.1", "a.2", "a.3"]
    assert two["a.1"] == three["a.1"] != two["a.2"]
    assert json.loads(two["a.2"][1].extra) == {"temperature": 1.0, "seed": None}
    once = config(files, a=server(), b=server(model="n")).members()["a"][1]
    assert once.extra == "" and once.revision == ""


def test_what_a_panels_file_sets_in_vain_is_told(files):
    told = idle_in_file(config(files, a=server(temperature=0.5), b=server(model="n")))
    assert "judges.a.temperature (where judges.a.repeats is 1)" in told and "judges.b" not in told
