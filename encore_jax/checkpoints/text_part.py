"""Tensor names of models that read pictures too: which belong to the part that reads text, and what they are there.

Such checkpoints hold a whole decoder under ``language_model``, spelt in several ways over the years; what lies beside
it (vision tower, projector) takes no part in what is computed here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_TEXT = re.compile(r"^(model\.)?language_model\.(model\.)?")
_OTHER = re.compile(r"^(model\.)?(vision_tower|multi_modal_projector)\.")


def text_name(stored: str) -> str | None:
    """A tensor's name in the text model alone; None if it is of another part.

    >>> text_name("language_model.model.layers.0.mlp.up_proj.weight"), text_name("score.weight")
    ('model.layers.0.mlp.up_proj.weight', 'score.weight')
    >>> text_name("language_model.lm_head.weight"), text_name("model.vision_tower.post_layernorm.bias")
    ('lm_head.weight', None)
    """
    if _OTHER.match(stored):
        return None
    found = _TEXT.match(stored)
    if not found:
        return stored
    rest = stored[found.end() :]
    return rest if rest.startswith(("lm_head.", "score.")) else f"model.{rest}"


def is_multimodal(names: Iterable[str]) -> bool:
    """Whether a checkpoint with these tensors has a text part among others."""
    return any(_TEXT.match(name) for name in names)


def left_out(names: Iterable[str]) -> str:
    """Of tensors that are of another part, how many there are of each; "" for none.

    >>> left_out(["vision_tower.a", "vision_tower.b", "model.multi_modal_projector.c", "score.weight"])
    'multi_modal_projector 1, vision_tower 2'
    """
    counts = Counter(found.group(2) for name in names if (found := _OTHER.match(name)))
    return ", ".join(f"{part} {count}" for part, count in sorted(counts.items()))
