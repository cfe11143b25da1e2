"""Rated responses, whatever records they come from, as rows of arrays.

Letters: R rated responses, K rules, N comparisons.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from encore_jax.data import Comparison, RatedResponse
from encore_jax.data.mixed_scales import check_mixed
from encore_jax.errors import InputError
from encore_jax.reward.sequences import Text


class RatedRows(NamedTuple):
    """Rated responses.

    Attributes:
      rules: K names.
      texts: R conversations.
      names: what each is called in messages.
      ratings, mask: ``[R, K]``; 0 where there is no rating.
      pair: int ``[N, 2]``, rows of the two responses of a comparison.
      preferred: int ``[N]``, 0 or 1 by people, -1 where nobody chose.
      subsets: of every response, its record's subset, or else its source.
    """

    rules: tuple[str, ...]
    texts: list[Text]
    names: list[str]
    ratings: Float[np.ndarray, "R K"]
    mask: Bool[np.ndarray, "R K"]
    pair: np.ndarray
    preferred: np.ndarray
    subsets: list[str] = []

    @property
    def digest(self) -> str:
        """SHA-256 that tells these ratings of these texts from others."""
        texts = [[[(m.role, m.content) for m in prompt], response] for prompt, response in self.texts]
        digest = hashlib.sha256(json.dumps([self.rules, texts]).encode())
        digest.update(np.ascontiguousarray(self.ratings).tobytes() + np.ascontiguousarray(self.mask).tobytes())
        return digest.hexdigest()


def check_one_scale(rules: Sequence[str], ratings: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> None:
    """Refuses a rule that is rated on two scales, ``[R, K]``; the R responses are called by their names."""
    rows = {rule: np.flatnonzero(mask[:, k]) for k, rule in enumerate(rules)}
    values = {rule: ratings[rows[rule], k].astype(np.float64) for k, rule in enumerate(rules)}
    check_mixed(values, lambda rule, i: names[rows[rule][i]], "map them to 0 to 1")


def rated_rows(rated: Iterable[Comparison | RatedResponse]) -> RatedRows:
    """Every rated response of the records, in their order.

    Raises:
      InputError: there is none, something else is among them, they are rated on different rules, or one rule on two
        scales.

    >>> from encore_jax.data import Message
    >>> prompt = (Message("user", "Hi"),)
    >>> rows = rated_rows([Comparison(prompt, ("Hello", "Go away"), 0, ("kind",), [[1.0], [0.0]])])
    >>> rows.rules, rows.ratings.tolist(), rows.pair.tolist()
    (('kind',), [[1.0], [0.0]], [[0, 1]])
    """
    if isinstance(rated, (str, bytes)) or not isinstance(rated, Iterable):
        problem = f"got a {type(rated).__name__}"
        raise InputError(problem, where="rated", fix="pass records, as read_comparisons(FILE) gives them")
    rules: tuple[str, ...] = ()
    texts, names, ratings, masks, pairs, preferred, subsets = [], [], [], [], [], [], []
    for i, record in enumerate(rated):
        name = getattr(record, "id", "") or f"record {i}"
        if isinstance(record, Comparison):
            responses, values, mask = record.responses, record.ratings, record.mask
            if values is None:
                fix = "rate it (encore rate), or leave it out"
                raise InputError("its responses are not rated", where=f"comparison {name}", fix=fix)
        elif isinstance(record, RatedResponse):
            responses, values, mask = (record.response,), record.ratings[None], record.mask[None]
        else:
            problem = f"is a {type(record).__name__}"
            raise InputError(problem, where=name, fix="pass comparisons with ratings, or rated responses")
        rules = rules or record.rules
        if record.rules != rules:
            problem = f"is rated on {', '.join(record.rules[:5])}, and the first on {', '.join(rules[:5])}"
            raise InputError(problem, where=name, fix="read all with one rule pool")
        if len(responses) == 2:
            pairs.append((len(texts), len(texts) + 1))
            preferred.append(-1 if record.preferred is None else record.preferred)
        texts += [(record.prompt, response) for response in responses]
        names += [name] * len(responses)
        subsets += [record.subset or record.source or "all"] * len(responses)
        ratings.append(np.where(mask, values, 0))
        masks.append(mask)
    if not texts:
        raise InputError("there is no rated response", where="rated", fix="pass comparisons with ratings")
    stacked = np.concatenate(ratings).astype(np.float32), np.concatenate(masks)
    check_one_scale(rules, *stacked, names)
    return RatedRows(
        rules, texts, names, *stacked, np.array(pairs, np.int64).reshape(-1, 2), np.array(preferred, np.int64), subsets
    )
