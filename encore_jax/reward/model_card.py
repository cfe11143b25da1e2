"""The README.md of an exported reward model: what it scores, what it was made from, and what not to expect of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from encore_jax.model.heads import PREFERENCE
from encore_jax.reward.passport import Passport
from encore_jax.text.chat_template import prints_date
from encore_jax.text.pinned_clock import DATE_STRING

if TYPE_CHECKING:
    from encore_jax.reward.reward_model import RewardModel

OURS = "encore_jax"
_USE = """```python
import torch, transformers

tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
model = transformers.{auto}.from_pretrained(FOLDER{more})
chat = [{{"role": "user", "content": "..."}}, {{"role": "assistant", "content": "..."}}]
ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=False)
with torch.inference_mode():
    scores = model(ids).logits[0]
```"""


def model_card(
    model: RewardModel, passport: Passport, config: Mapping[str, Any], folded: bool, about: Mapping[str, str]
) -> str:
    """The card, in Markdown.

    Args:
      model: before its heads were composed, if they were.
      passport: of the export.
      config: its ``config.json``; holds the offsets.
      folded: whether it has one score instead of K.
      about: further sections, title -> Markdown.
    """
    adapter = config["architectures"] == ["LoRA adapter"]
    sections = {
        "Scores": _scores(model, config[OURS]["offset"], folded),
        "Rules": _rules(model),
        "Use": _use(adapter, len(passport.rules)),
        **({"Intervals": _intervals(config[OURS]["intervals"], passport)} if "intervals" in config[OURS] else {}),
        **about,
        "Limits": _limits(passport, folded, prints_date(model.tokenizer)),
        "Passport": "\n".join(f"- {name}: `{value}`" for name, value in passport.to_dict().items()),
    }
    kind = "one reward" if folded or len(model.rules) == 1 else f"{len(model.rules)} scores, one per rule"
    front = "---\npipeline_tag: text-classification\ntags:\n- reward-model\n- encore_jax\n---\n"
    title = f"# Reward model on {passport.model}: {kind}\n"
    return front + "\n".join([title, *(f"## {name}\n\n{text}\n" for name, text in sections.items())])


def _scores(model: RewardModel, offset: list[float], folded: bool) -> str:
    what = "the composed reward, the weighted sum of the rules' scores" if folded else "one score per rule, in order"
    numbers = ", ".join(f"{value:.6g}" for value in offset)
    return (
        f"A {model.cfg.family} backbone with linear heads on the last token of the conversation; its logits are "
        f"{what}. Higher is better on every rule. The classes of transformers have no bias, so the heads' offsets are "
        f"not in the logits: a score of this package is `logits + offset`, with offset {numbers} (in `config.json` "
        "under `encore_jax`, or in `encore_jax.json`). A constant changes no comparison of responses. "
        "Scores are linear, and so not confined to the scale of the ratings: a text unlike those rated may lie "
        "beyond its ends."
    )


def _intervals(facts: Mapping[str, Any], passport: Passport) -> str:
    """How far scores lie from ratings, and what that is known from."""
    note = passport.intervals
    each = {"the composed reward": facts["reward"]} if len(facts["rules"]) > 1 else {}
    lines = []
    for name, bands in (each | facts["rules"]).items():
        widths = [("unbounded" if radius is None else f"{radius:.4g}") for radius in bands["radius"]]
        lines.append(f"| {name} | {', '.join(widths)} | {', '.join(f'{edge:.4g}' for edge in bands['edges'])} |")
    told = [f"- Note: {text}." for text in facts["notes"]]
    return "\n".join([
        f"A rating lies within its score ± the radius with probability {facts['coverage']:g}, for prompts like those "
        f"of the calibration: {note.responses} rated responses of {note.prompts} prompts, {note.by} (split "
        "conformal, prompts as units). For other prompts nothing is promised. Where there are several radii, the edges "
        "say for which scores (of this package, offsets included) each is. The same numbers are in `config.json` (or "
        "`encore_jax.json`); `intervals.npz` is what they come from.",
        "", "| score | radius | edges of the bands of scores |", "|---|---|---|", *lines,
        *(["", *told] if told else []),
    ])  # fmt: skip


def _rules(model: RewardModel) -> str:
    passport = model.passport
    if len(model.rules) == 1:
        return "One head, no composition."
    loading = {"loading on what they have in common": passport.loading} if passport.loading else {}
    columns = {"entropy of its ratings (nats)": passport.entropy} | loading | {"weight": passport.weights}
    rows = zip(model.rules, *(values or ("",) * len(model.rules) for values in columns.values()), strict=True)
    lines = [f"| {rule} | {' | '.join(map(_number, values))} |" for rule, *values in rows]
    table = "\n".join([f"| rule | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|", *lines])
    return "\n\n".join(filter(None, [table, _weighting(passport), _graph(passport)]))


HOW_WEIGHED = {
    "ENCORE": "from the entropy of the rules' ratings (ENCORE)",
    "agreement": "from what the rules have in common (agreement; no label was used)",
    "agreement × entropy": "from what the rules have in common, times ENCORE's",
    "uniform": "equal",
    "given": "given by hand",
    PREFERENCE: "those of the preference head, which learnt people's choices and is alone the reward",
}
"""Sentence ends for `Passport.weighting`."""


def _weighting(passport: Passport) -> str:
    """How the weights were made; nothing of a passport that does not say."""
    if not passport.weighting:
        return ""
    told = f"The weights are {HOW_WEIGHED.get(passport.weighting, passport.weighting)}."
    if passport.agreement_note:
        kind = "Agreement of the rules" if passport.agreement else "Agreement weights are refused"
        told += f" {kind}: {passport.agreement_note}."
    return told


def _graph(passport: Passport) -> str:
    """What the logits do not say: vetoes and prerequisites."""
    if not passport.graph:
        return ""
    return (
        f"**The reward is not the weighted sum of these scores alone**: {passport.graph}. The logits are the rules' "
        "own scores. `encore serve --model=FOLDER` and `encore_jax.RewardModel` compose them under these conditions "
        "(in `passport.json`, field `graph`); other software that adds the logits up leaves them out."
    )


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4f}"


def _use(adapter: bool, count: int) -> str:
    if adapter:
        return _USE.format(auto="AutoModelForSequenceClassification", more="").replace(
            "model = transformers.AutoModelForSequenceClassification.from_pretrained(FOLDER)",
            f"model = peft.AutoPeftModelForSequenceClassification.from_pretrained(FOLDER, num_labels={count})",
        )
    return _USE.format(auto="AutoModelForSequenceClassification", more=", dtype=torch.float32")


def _limits(passport: Passport, folded: bool, dated: bool) -> str:
    lines = [
        f"- Texts of more than {passport.max_length} tokens were never scored while it was made: leave them out; a "
        "truncated response gets the score of another response.",
        "- Use the chat template that comes with it, and no other beginning-of-sequence token than the template's.",
        f"- Padding must be token {passport.pad_id}: transformers scores the last token that is another one.",
        "- In bfloat16 close scores tie; compute at least the head in fp32.",
        "- It ranks responses to one prompt. Nothing makes scores of different prompts comparable, and nobody has "
        "tested it as a filter that keeps people safe.",
    ]
    if dated:
        lines.append(
            f"- Its chat template prints the date, and here always {DATE_STRING}, so that no score changes from day "
            "to day: the template of the base model would print today's."
        )
    if folded:
        lines.append("- The rules' own scores cannot be had from it: export without folding for these.")
    if passport.mismatch:
        lines.append(f"- It was exported although it differed from its passport: {'; '.join(passport.mismatch)}.")
    return "\n".join(lines)
