"""A comparison as a TFDS example, and back; exact both ways.

K is the number of rules of the data set's pool, n that of a comparison's responses. The rules'
names are the same in every record, so they are kept once, beside the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from encore_jax.data.comparison import Comparison, Message
from encore_jax.errors import InputError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def features(rules: int) -> tfds.features.FeaturesDict:
    """The features of comparisons with so many rules (K).

    ``ratings`` and ``mask`` are ``[n, K]`` where ``rated``, else ``[0, K]``; without rules they are left out, since
    TFDS cannot hold ``[n, 0]``. ``preferred`` is -1 where nobody chose; ``extra`` is a JSON object.
    """
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    per_rule = {
        "ratings": tfds.features.Tensor(shape=(None, rules), dtype=np.float32),
        "mask": tfds.features.Tensor(shape=(None, rules), dtype=np.bool_),
    }
    return tfds.features.FeaturesDict(
        {
            "prompt": tfds.features.Sequence({"role": text(), "content": text()}),
            "responses": tfds.features.Sequence(text()),
            "preferred": tfds.features.Scalar(dtype=np.int32),
            "rated": tfds.features.Scalar(dtype=np.bool_),
            **(per_rule if rules else {}),
            **{name: text() for name in ("subset", "source", "id", "extra")},
        }
    )


def to_example(comparison: Comparison, rules: tuple[str, ...]) -> dict[str, Any]:
    """The values of `features`, for a comparison that is rated on just these rules or not at all.

    Raises:
      InputError: rated on other rules, or ``extra`` holds what JSON cannot.
    """
    where = f"comparison {comparison.id}"
    rated = comparison.ratings is not None
    if rated and comparison.rules != rules:
        raise InputError("rated on other rules than the data set's pool", where=where, fix="read with one rule pool")
    try:
        extra = json.dumps(dict(comparison.extra), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"holds what JSON cannot: {error}", where=f"{where}, field 'extra'", fix="use JSON values"
        ) from None
    none = np.zeros((0, len(rules)))
    per_rule = {
        "ratings": comparison.ratings if rated else none.astype(np.float32),
        "mask": comparison.mask if rated else none.astype(bool),
    }
    return {
        "prompt": [{"role": message.role, "content": message.content} for message in comparison.prompt],
        "responses": list(comparison.responses),
        "preferred": -1 if comparison.preferred is None else comparison.preferred,
        "rated": rated,
        **(per_rule if rules else {}),
        "subset": comparison.subset,
        "source": comparison.source,
        "id": comparison.id,
        "extra": extra,
    }


def from_example(example: Mapping[str, Any], rules: tuple[str, ...]) -> Comparison:
    """The comparison that `to_example` was given; TFDS hands out texts as bytes."""
    turns = zip(example["prompt"]["role"], example["prompt"]["content"], strict=True)
    responses = tuple(text.decode() for text in example["responses"])
    rated = {}
    if example["rated"]:
        empty = np.zeros((len(responses), 0))
        rated = {
            "rules": rules,
            "ratings": example["ratings"] if rules else empty,
            "mask": example["mask"] if rules else empty.astype(bool),
        }
    return Comparison(
        tuple(Message(role.decode(), content.decode()) for role, content in turns),
        responses,
        None if example["preferred"] < 0 else int(example["preferred"]),
        **rated,
        **{name: example[name].decode() for name in ("subset", "source", "id")},
        extra=json.loads(example["extra"]),
    )
