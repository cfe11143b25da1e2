"""What several rules in one call do to ratings, and what they cost, as plain text (Markdown)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from encore_jax.formats import bounds, count, fixed, known, percent
from encore_jax.report.text_tables import markdown
from encore_jax.terminal_text import one_line

RULES = ("rule", "n", "same side, % [95 %]", "mean difference", "correlation", "reversed: same side, %", "difference")
COST = ("way", "requests", "prompt tokens", "without cached prefixes", "answer tokens, at most", "seconds")


def halo_text(halo: Mapping, cost: Mapping = MappingProxyType({})) -> str:
    """The tables and the sentence.

    Args:
      halo: of `encore_jax.evaluation.halo.Halo` its fields as JSON values and `sentence`, and `judge`; and
        `rules_per_call` and `label`, where they are known.
      cost: of each way of asking its requests, tokens and seconds, where they are known.
    """
    size = halo.get("rules_per_call")
    calls = "in calls" if size is None else f"{size or 'all'} in a call"
    rules = f"{len(halo['rules'])} rule{'s' * (len(halo['rules']) != 1)}"
    shown = len(RULES) if known(halo["same_reversed"]["value"]) else len(RULES) - 2
    lines = [
        f"{one_line(halo['judge'])}, {halo.get('label', 'judge-rated')}: {rules}, {calls}, beside each "
        f"by itself; {halo['responses']} response{'s' * (halo['responses'] != 1)} to {halo['groups']} "
        f"prompt{'s' * (halo['groups'] != 1)}",
        "",
        markdown(RULES[:shown], [row[:shown] for row in (*map(_rule, halo["rules"]), _mean(halo))]),
        "",
        "mean correlation between two rules: "
        + ", ".join(
            f"{name} {fixed(halo[key]['value'], sign=True)} {bounds(halo[key], _signed)}"
            for name, key in (("one by one", "isolated"), ("in calls", "together"), ("difference", "halo"))
        ),
    ]
    if cost:
        lines += ["", markdown(COST, [_cost(name, told, cost["isolated"]) for name, told in cost.items()])]
    lines += [
        f"{name}: {told['unrated'][problem]} without a rating: {one_line(problem)}"
        for name, told in cost.items()
        for problem in told["unrated"]
    ]
    return "\n".join([*lines, "", halo["sentence"]])


def _signed(value: float | None) -> str:
    return fixed(value, sign=True)


def _rule(rule: Mapping) -> tuple[str, ...]:
    return (
        one_line(rule["rule"]),
        str(rule["n"]),
        f"{percent(rule['same']['value'])} {bounds(rule['same'])}",
        fixed(rule["difference"], 3),
        fixed(rule["correlation"]),
        f"{percent(rule['same_reversed']['value'])} {bounds(rule['same_reversed'])}",
        fixed(rule["difference_reversed"], 3),
    )


def _mean(halo: Mapping) -> tuple[str, ...]:
    same, again = (f"{percent(halo[key]['value'])} {bounds(halo[key])}" for key in ("same", "same_reversed"))
    return "mean", "", same, fixed(halo["difference"], 3), fixed(halo["correlation"]), again, ""


def _cost(name: str, told: Mapping, isolated: Mapping) -> tuple[str, ...]:
    def share(key: str) -> str:
        shown = count(told[key]) if told[key] is not None else "no limit"
        comparable = told is not isolated and told[key] and isolated[key]
        return f"{shown} ({percent(told[key] / isolated[key])} %)" if comparable else shown

    seconds = "answered before" if told["seconds"] is None else fixed(told["seconds"], 1)
    return (
        name, share("requests"), share("prompt_tokens"), share("fresh_tokens"),
        "no limit" if told["answer_tokens"] is None else count(told["answer_tokens"]), seconds,
    )  # fmt: skip
