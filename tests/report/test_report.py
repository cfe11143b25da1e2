"""The report shows everything there is to show, harms nobody, and says in words only what the numbers say."""

import copy
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from encore_jax.evaluation.noise_study import NOISES
from encore_jax.evaluation.wording import NO_REAL_JUDGE, NOISE_MODELS, gain_words, noise_summary, verdict_words
from encore_jax.report import report_page
from encore_jax.report.figures import configured_cell, view_figures
from encore_jax.report.headline import headline
from encore_jax.report.noise_figures import noise_figures
from encore_jax.report.report_page import render_report
from tests.evaluation.hand_made import as_before_agreement, hand_made_results, hand_made_study, hand_made_view, interval

VOID = {"meta", "br", "link", "img", "hr", "input"}
EVIL = "<script>alert('x')</script> & \"$x_1$\" --> \x1b[31m"


@pytest.fixture
def results():
    return hand_made_results()


@pytest.fixture
def no_figures(monkeypatch):
    """For tests of words and tables: drawing is most of the time."""
    names = ("scatter", "weights", "variants", "forest", "sensitivity", "histograms", "correlation", "gain")
    blank = dict.fromkeys(names, "<svg></svg>")
    monkeypatch.setattr(report_page, "view_figures", lambda view, prefix: blank)
    monkeypatch.setattr(report_page, "noise_figures", lambda study, prefix: blank)


class Page(HTMLParser):
    """Elements, text, and text by <section> of a page; raises on tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.words, self.sections = [], [], [], {}
        self.section = None
        self.feed(html)
        self.close()
        assert not self.open
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attributes)["id"]
            self.sections[self.section] = ""

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.section = None if tag == "section" else self.section

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.words.append(data)
        if self.section:
            self.sections[self.section] += data


def test_everything_is_there(results):
    page = Page(render_report(results))
    for view in results["views"]:
        wanted = [view["label"], view["description"], view["premise"]["verdict"], *view["premise"]["reasons"]]
        wanted += view["warnings"] + [rule["name"] for rule in view["rules"]]
        wanted += [method["name"] for method in view["methods"]] + list(view["methods"][0]["subsets"])
        wanted += list(view["premise"]["variants"])
        wanted += [view["agreement"]["recommendation"], "Refused: the pool <splits>"]
        wanted += [method["name"] for method in view["refused"]]
        for text in wanted:
            assert text in page.sections[f"view-{results['views'].index(view) + 1}"], text
    for text in ("65.4", "[55.4, 75.4]", "−4.6", "65.0 ± 3.2", "tiny.gguf", "blank response", "a new count", "1 x cpu"):
        assert text in page.text, text
    assert "86 of 200 comparisons (43.0 %)" in page.sections["limits"]
    for section in ("noise", "counts", "limits", "glossary", "settings"):
        assert section in page.sections
    assert (
        json.loads(re.search(r"Passport(\{.*?\n\})", page.sections["settings"], re.DOTALL).group(1))
        == results["passport"]
    )


def test_page_stands_alone(results):
    html = render_report(results)
    page = Page(html)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "img", "iframe", "object", "image", "base")
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if "href" in attributes:
            assert attributes["href"].startswith("#") and attributes["href"][1:] in ids
    assert all(target in ids for target in re.findall(r"url\(#([^)]*)\)", html))
    assert not re.search(r"url\((?!#)|@import", html)
    assert "default-src 'none'" in html
    without_settings = html[: html.index('id="settings"')]
    assert "://" not in without_settings  # below it, the configuration is quoted


def test_same_results_same_page(results):
    first = render_report(results)
    assert render_report(copy.deepcopy(results)) == first
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", first)


def test_figures_are_well_formed_whatever_the_names(results):
    view = hand_made_view(name=EVIL, rules=(EVIL, "日本語 😀", "a_name_" * 20))
    figures = view_figures(view, "v")
    for name, drawn in (figures | noise_figures(results["noise_study"], "n")).items():
        assert "<script" not in drawn
        both = ElementTree.fromstring(f"<div>{drawn}</div>").findall("div/svg")
        assert len(both) == 2, name
        for root in both:
            assert root.get("aria-label") and root.get("viewBox")
            assert root.findall(".//text"), "text stays text"
    words = "".join(ElementTree.fromstring(f"<div>{figures['weights']}</div>").itertext())
    assert "<script>" in words and "日本語" in words


def test_names_are_escaped(results, no_figures):
    results["name"] = EVIL
    results["views"][0] = hand_made_view(name=EVIL, rules=(EVIL, "b", "c"))
    results["views"][0]["warnings"] = [EVIL]
    results["views"][0]["premise"]["reasons"] = [EVIL]
    results["counts"]["ingest"]["rated_rows_skipped"] = {EVIL: 1}
    results["config"]["data"]["path"] = "</pre>" + EVIL
    html = render_report(results)
    assert "<script" not in html
    page = Page(html)
    assert page.text.count("<script>alert('x')</script>") > 10


def test_semi_synthetic_is_unmistakable(results, no_figures):
    html = render_report(results)
    page = Page(html)
    classes = {a["id"]: a.get("class") for tag, a in page.elements if tag == "section"}
    assert classes["view-2"] == classes["noise"] == "made-up"
    assert classes["view-1"] is None and classes["view-3"] is None
    for section in ("view-2", "noise"):
        assert NO_REAL_JUDGE in page.sections[section]
        assert NOISE_MODELS["guess"][0] in " ".join(page.sections[section].split("\n"))
    assert NO_REAL_JUDGE not in page.sections["view-1"]
    for section, label in (("view-1", "human-rated"), ("view-2", "semi-synthetic"), ("view-3", "model-rated")):
        part = html[html.index(f'<section id="{section}"') :]
        part = part[: part.index("</section>")]
        assert re.search(rf'<h2>[^<]*<span class="badge {label}">', part), "a section says in its heading what it is of"
    assert set(NOISE_MODELS) == set(NOISES)


def test_one_view_without_noise_study(results, no_figures):
    results["views"] = [hand_made_view(label="model-rated")]
    results["noise_study"] = None
    results["config"]["semi_synthetic"]["judges"] = 0
    page = Page(render_report(results))
    assert "noise" not in page.sections and "view-2" not in page.sections
    assert "semi-synthetic" not in page.text[: page.text.index("Glossary")].lower()
    assert "All views" not in page.text


@pytest.mark.parametrize("missing", [None, math.nan])
def test_missing_numbers_show_as_such(results, missing):
    def blank(value):
        if isinstance(value, dict):
            return {key: blank(item) for key, item in value.items()}
        if isinstance(value, list):
            return [blank(item) for item in value]
        return missing if isinstance(value, float) else value

    for view in results["views"]:
        for part in ("premise", "rules", "methods"):
            view[part] = blank(view[part])
        view["sensitivity"]["accuracy"] = blank(view["sensitivity"]["accuracy"])
    results["noise_study"]["noise"] = blank(results["noise_study"]["noise"])
    page = Page(render_report(results))
    text = page.text[: page.text.index("Settings")]
    assert "n/a" in text
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_some_rules_without_ratings(results):
    rule = results["views"][0]["rules"][1]
    rule |= {"n": 0, "entropy": math.nan, "mean": math.nan, "histogram": [0] * 11}
    svg = view_figures(results["views"][0], "v")
    assert "no ratings" in svg["histograms"]
    assert rule["name"] not in svg["scatter"] and rule["name"] in svg["weights"]


def test_ratings_outside_the_histogram_are_counted(results, no_figures):
    results["views"][0]["rules"][0]["n"] += 5
    assert "outside [0, 1]" in Page(render_report(results)).sections["view-1"]
    assert "outside [0, 1]" not in Page(render_report(results)).sections["view-2"]


def test_oracles_are_marked(results):
    html = render_report(results)
    assert re.search(r'best of all <span class="oracle-mark">oracle</span>', html)
    assert not re.search(r'uniform <span class="oracle-mark">', html)
    assert "best of all (oracle)" in view_figures(results["views"][0], "v")["forest"]


def test_headline_takes_the_best_of_each_kind(results):
    names = [(m["name"], m["role"].split()[-1]) for m in headline(results["views"][0])]
    assert [name for name, _ in names] == [
        "ENCORE",
        "uniform",
        "random (Dirichlet)",
        "Bradley-Terry weights",
        "heuristic: shorter",
        "best of all",
    ]


def test_results_of_an_older_version_are_shown(results, no_figures):
    as_before_agreement(results)
    page = Page(render_report(results))
    assert "ENCORE's weights at τ = 2.0" in page.text and "of an older version" in page.text
    assert "Refused:" not in page.text


def test_weights_of_another_method_are_not_called_encores(results, no_figures):
    results["views"][0]["weighting"] = "agreement"
    page = Page(render_report(results))
    assert "Weights by agreement" in page.sections["view-1"] and "ENCORE's weights at" not in page.sections["view-1"]


def test_small_subsets_are_greyed(results, no_figures):
    html = render_report(results)
    greyed = re.findall(r'<tr class="few"><td class="name">(.*?)</td>', html)
    assert greyed == ["rare &lt;subset&gt;"] * 3


def test_configured_setting_is_framed_only_if_in_the_grid(results, no_figures):
    view = results["views"][0]
    assert configured_cell(view) == (1, 1)
    view["settings"]["tau"] = 3.0
    assert configured_cell(view) is None
    page = Page(render_report(results))
    assert "is not in this grid" in page.sections["view-1"] and "Framed" in page.sections["view-2"]


def test_many_rules(results, no_figures):
    results["views"] = [hand_made_view(rules=tuple(f"rule_{k}" for k in range(40)))]
    page = Page(render_report(results))
    assert "Numbers are those of the table of rules" in page.text
    assert "The 40 single rules are in the table only" in page.text


def test_words_follow_the_sign():
    assert "more often than equal weights, by 3.0 points" in gain_words(interval(0.03, 0.01))
    assert "less often than equal weights, by 3.0 points" in gain_words(interval(-0.03, 0.01))
    assert "cannot be told apart" in gain_words(interval(0.03, 0.05))
    assert "exactly as often" in gain_words(interval(0.0, 0.0))
    assert "could not be computed" in gain_words(interval(math.nan))
    premise = hand_made_view()["premise"]
    assert "agree more often" in verdict_words(premise)
    assert "do worse" not in verdict_words(premise)
    worse = premise | {"fisher": [-0.5, 0.5], "bootstrap": [-0.5, 0.5], "gain": interval(-0.1, 0.01)}
    assert "agree more often" not in verdict_words(worse)
    assert "do worse than equal weights" in verdict_words(worse)
    assert "agree less often" in verdict_words(premise | {"verdict": "holds"})
    assert "too few to tell" in verdict_words(premise | {"verdict": "cannot tell at this size"})


def test_noise_summary_follows_the_numbers():
    agrees, disagrees = noise_summary(hand_made_study()), noise_summary(hand_made_study(sign=-1))
    below = r"below zero, as ENCORE assumes: there entropy weights beat .* on average in (\d), lose to them in (\d)"
    assert re.search(below, agrees.split(" In ")[1]).groups() == ("4", "0")
    assert re.search(below, disagrees.split(" In ")[1]).groups() == ("0", "4")
    study = hand_made_study()
    study["noise"]["guess"]["correlation"]["sd"] = [50.0, 50.0]
    assert "In 4 settings of noise model, noise level and temperature r has no clear sign" in noise_summary(study)
