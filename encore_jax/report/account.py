"""Where the rows of a run's files are: so many read, so many used, and the others by reason, so that it adds up."""

from __future__ import annotations

from collections.abc import Mapping

from encore_jax.formats import printable


def account_lines(results: Mapping) -> list[str]:
    """A sentence on rated responses, one on comparisons, and which field holds prompts out; none for results of an
    older version.

    Args:
      results: of a run that trains rule heads.

    >>> ingest = {"rated_rows_read": 10, "rated_responses": 9, "rated_rows_skipped": {"with a blank response": 1},
    ...           "comparison_rows_read": 5, "comparison_rows_skipped": {}}
    >>> train = {"rated_responses_for_training": 6, "rated_responses_dropped_too_long": 1,
    ...          "comparisons_dropped_too_long": 0}
    >>> views = [{"comparisons": {"train": 3, "test": 2}}]
    >>> print(*account_lines({"counts": {"ingest": ingest, "train": train}, "views": views}), sep="\\n")
    Rated responses: 10 read, 6 train the heads; not trained on: 2 of held-out prompts, 1 longer than a row, \
1 with a blank response.
    Comparisons: 5 read, 2 judge, 3 fit; nothing is left out.
    """
    counts = results.get("counts", {})
    ingest, train = counts.get("ingest", {}), counts.get("train", {})
    if "rated_rows_read" not in ingest or "rated_responses_for_training" not in train:
        return []
    long, refused = "longer than a row", "refused by the chat template"
    lost = {
        long: train["rated_responses_dropped_too_long"],
        refused: train.get("rated_responses_refused_by_template", 0),
    }
    skipped = ingest["rated_rows_skipped"]
    again = ingest["rated_rows_read"] - sum(skipped.values()) - ingest["rated_responses"]
    used = train["rated_responses_for_training"]
    held_out = ingest["rated_responses"] - used - sum(lost.values())
    others = {"of held-out prompts": held_out, "that rate a response again": again} | lost | dict(skipped)
    rated = f"Rated responses: {ingest['rated_rows_read']:,} read, {used:,} train the heads; "
    rated += _listed("not trained on", others)
    views = results["views"]  # that of ratings as they are given has only the comparisons whose responses are rated
    compared = next((view for view in views if view.get("name") == "heads"), views[0])["comparisons"]
    lost = {
        long: train["comparisons_dropped_too_long"],
        refused: train.get("comparisons_refused_by_template", 0),
    } | dict(ingest["comparison_rows_skipped"])
    read = ingest["comparison_rows_read"]
    lost["for other reasons"] = read - compared["test"] - compared["train"] - sum(lost.values())
    line = f"Comparisons: {read:,} read, {compared['test']:,} judge, {compared['train']:,} fit; "
    return [rated, line + _listed("left out", lost), *_held_out(results, held_out)]


def _held_out(results: Mapping, responses: int) -> list[str]:
    """Why rated responses train nothing, and the field that says how many; nothing where none is held out."""
    share = results.get("config", {}).get("data", {}).get("test_fraction")
    if share is None or not responses:
        return []
    return [
        f"Held out: {100 * share:g} % of the prompts (--config.data.test_fraction={share:g}) train no head, so that "
        "heads and weightings are judged on texts that they have not seen."
    ]


def _listed(what: str, reasons: Mapping[str, int]) -> str:
    parts = [f"{count:,} {printable(reason)}" for reason, count in reasons.items() if count]
    return f"{what}: {', '.join(parts)}." if parts else f"nothing is {what}."
