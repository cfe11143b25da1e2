"""What training changes, and what it leaves alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array

from encore_jax.errors import InputError
from encore_jax.train.settings import TRAINABLE


class TrainState(NamedTuple):
    """Step count, trainable parameters, optimizer state; and the frozen rest.

    Parameters are a dict of "backbone", "heads" and, for low-rank training, "lora".
    """

    step: Array
    trainable: Any
    optimizer: Any
    frozen: Any

    @property
    def params(self) -> dict[str, Any]:
        """All parameters again."""
        return self.trainable | self.frozen


def split(params: dict[str, Any], trainable: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trainable and frozen parameters.

    Raises:
      InputError: an unknown choice, or parameters that lack a part it trains.
    """
    if trainable not in TRAINABLE:
        raise InputError(f"{trainable!r} is unknown", where="trainable", fix=f"use one of {', '.join(TRAINABLE)}")
    missing = set(TRAINABLE[trainable]) - params.keys()
    if missing:
        raise InputError(f"there is no {', '.join(sorted(missing))} to train", where=f"trainable {trainable!r}")
    chosen = {name: value for name, value in params.items() if name in TRAINABLE[trainable]}
    return chosen, {name: value for name, value in params.items() if name not in chosen}


def make_state(params: dict[str, Any], trainable: str, optimizer: optax.GradientTransformation) -> TrainState:
    """Splits parameters by a key of `TRAINABLE` and starts the optimizer."""
    chosen, frozen = split(params, trainable)
    return TrainState(jnp.zeros((), jnp.int32), chosen, optimizer.init(chosen), frozen)
