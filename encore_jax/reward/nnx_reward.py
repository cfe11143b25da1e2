"""A reward model as an NNX module with Tunix' call: token ids in, a reward at every token out.

For trainers that score token ids on the device (the ``reward`` and ``critic`` of Tunix' PPO). Trainers that score texts
take `encore_jax.reward.rl.reward_function`: it renders the reward model's own chat template and packs prefixes.

Tunix 0.1.7 does two things to such rewards that the arguments of `NnxReward` make good: it takes the answer's
end-of-turn token away before the answer is scored (`add_ending`), and it keeps rewards as whole numbers (`scale`).

Shape letters: B batch, S sequence, D width, K rules, E tokens of an ending.
"""

from __future__ import annotations

import itertools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.checks import real_number, shortened
from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.model.heads import rule_scores
from encore_jax.model.nnx_adapter import NnxBackbone
from encore_jax.model.remat import REMAT
from encore_jax.reward.nnx_inputs import checked_rows
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.sequences import token_sequences

LARGEST_SCALE = 1e9
"""Times a reward that is still no infinity, and tells rewards apart."""


class NnxReward(nnx.Module):
    """A reward model's backbone and rule heads as parameters (``nnx.Param``), and its composition weights.

    The token ids must be those of the reward model's own tokenizer and chat template, so the policy shares them.

    >>> model = RewardModel.from_pretrained("runs/quickstart/compose")  # doctest: +SKIP
    >>> reward = NnxReward(model, add_ending=True, scale=1000.0)  # doctest: +SKIP
    >>> RLCluster(actor=policy, critic=critic, reward=reward, ...)  # doctest: +SKIP

    Args:
      model: its parameters stay on the devices where they lie, and are not copied.
      remat: what the backward pass keeps, for a critic that is trained; see `encore_jax.model.decoder.REMAT`.
      add_ending: whether the tokens end with the answer's text: what the chat template prints behind an answer is then
        added, and the last token, with the padding behind it, gets the reward of the whole conversation, which is
        ``model.rewards``. What the mask hides between a row's first and last token is taken for a part of it: where the
        padding token ends turns, Tunix hides the ends of the prompt's turns. For a reward, not for a critic.
      scale: a factor on the reward; 1000 where a trainer keeps whole numbers and three decimals matter.

    Raises:
      InputError: an argument that is none of these, the weights depend on the prompt (a gate), nobody has said how
        several heads compose, or the model has a rule graph.
    """

    def __init__(self, model: RewardModel, *, remat: str = "none", add_ending: bool = False, scale: float = 1.0):
        if not isinstance(model, RewardModel):
            fix = "pass a reward model: RewardModel.from_pretrained(FOLDER)"
            raise InputError(f"got a {type(model).__name__}", where="NnxReward, model", fix=fix)
        fix = f"use a positive number of at most {LARGEST_SCALE:g}"
        scale = real_number(scale, "NnxReward, scale", lambda value: 0 < value <= LARGEST_SCALE, fix)
        if not isinstance(add_ending, bool):
            raise InputError(f"is {shortened(add_ending)}", where="NnxReward, add_ending", fix="use True or False")
        if remat not in REMAT:
            raise InputError(f"is {shortened(remat)}", where="NnxReward, remat", fix=f"use one of {', '.join(REMAT)}")
        if model.gate is not None:
            fix = "call model.weighted(...) for fixed weights, or use encore_jax.reward.rl.reward_function"
            raise InputError("the weights depend on the prompt", where=model.passport.model, fix=fix)
        if model.passport.graph:
            problem = f"it composes by a weighted sum, and the model has a rule graph ({model.passport.graph})"
            fix = "use encore_jax.reward_functions(model), or leave the graph out: model.with_graph(None)"
            raise InputError(problem, where=model.passport.model, fix=fix)
        self.backbone = NnxBackbone(model.cfg, model.params, dtype=jnp.dtype(model.passport.dtype), remat=remat)
        self.kernel = nnx.Param(jnp.asarray(model.kernel, jnp.float32))
        self.bias = nnx.Param(jnp.asarray(model.bias, jnp.float32))
        self.weights = nnx.Variable(jnp.asarray(model.weights) * jnp.float32(scale))
        self.ending = nnx.static(_ending(model) if add_ending else ())

    def __call__(
        self,
        tokens: Int[Array, "B S"],
        positions: Int[Array, "B S"],
        cache: None = None,
        attention_mask: Bool[Array, "B S S"] | None = None,
        segment_ids: Int[Array, "B S"] | None = None,
    ) -> Float[Array, "B S 1"]:
        """The composed reward ``Σ_k w_k s_k`` of what each token ends, fp32.

        Args:
          tokens, positions, attention_mask, segment_ids: see `scores`.
          cache: None; a trainer that generates gives one to its policy.

        Raises:
          InputError: a cache, or as `scores`.
        """
        if cache is not None:
            raise InputError("a reward model keeps no cache", where="cache", fix="leave it out")
        scores_BSK = self.scores(tokens, positions, attention_mask, segment_ids)
        return (scores_BSK * self.weights.get_value()[None, None]).sum(-1, keepdims=True)

    def scores(
        self,
        tokens: Int[Array, "B S"],
        positions: Int[Array, "B S"],
        attention_mask: Bool[Array, "B S S"] | None = None,
        segment_ids: Int[Array, "B S"] | None = None,
    ) -> Float[Array, "B S K"]:
        """Scores of every rule at every token, fp32.

        Args:
          tokens: conversations, padded on either side or both; several to a row if `segment_ids` tells them apart.
          positions: distance from the conversation's first token; those of padding do not matter.
          attention_mask: which token sees which, causal; a token that does not see itself is padding. None: no padding.
          segment_ids: which conversation of its row each token belongs to, 0 for padding. None: one a row.

        Raises:
          InputError: shapes or kinds of numbers that do not fit, see `encore_jax.reward.nnx_inputs.checked_rows`; or an
            ending is to be added to rows that may hold several conversations.
        """
        given = (tokens, positions, attention_mask, segment_ids)
        tokens, positions, attention_mask, segment_ids = checked_rows(*given, self.backbone.cfg, len(self.ending))
        tree_BS = jnp.ones_like(tokens) if segment_ids is None else segment_ids.astype(tokens.dtype)
        if attention_mask is not None:
            tree_BS *= jnp.diagonal(attention_mask, axis1=1, axis2=2).astype(tokens.dtype)
        elif segment_ids is not None and self.ending:
            fix = "leave add_ending out, or give each conversation a row of its own with an attention mask"
            raise InputError("a row of several conversations has no one ending", where="segment_ids", fix=fix)
        positions = jnp.maximum(positions, 0)
        if not self.ending:
            return self._scores(tokens, tree_BS, positions)
        longer, last_B = with_ending(tokens, *whole_rows(tree_BS), self.ending)
        scores_BSK = self._scores(*longer)
        whole_BK = scores_BSK[jnp.arange(len(tokens)), last_B + len(self.ending)]
        behind_BS = jnp.arange(tokens.shape[1])[None] >= last_B[:, None]
        return jnp.where(behind_BS[..., None], whole_BK[:, None], scores_BSK[:, : tokens.shape[1]])

    def _scores(self, tokens: Array, tree_BS: Array, positions: Array) -> Float[Array, "B S K"]:
        hidden_BSD = self.backbone(tokens, tree_BS, jnp.zeros_like(tokens), positions)
        return rule_scores(hidden_BSD, self.kernel.get_value(), self.bias.get_value())


def whole_rows(tree: Int[Array, "B S"]) -> tuple[Int[Array, "B S"], Int[Array, "B S"]]:
    """Tree and positions of rows whose tokens are all there from the first to the last.

    A trainer that finds padding by its token id hides the end of every earlier turn where that is the same token.

    >>> tree, positions = whole_rows(jnp.array([[0, 1, 0, 1, 0]]))
    >>> tree[0].tolist(), positions[0].tolist()
    ([0, 1, 1, 1, 0], [0, 0, 1, 2, 3])
    """
    index_1S, real_BS = jnp.arange(tree.shape[1], dtype=tree.dtype)[None], tree != 0
    first_B1 = jnp.argmax(real_BS, 1, keepdims=True).astype(tree.dtype)
    last_B1 = jnp.where(real_BS, index_1S, 0).max(1, keepdims=True)
    inside_BS = (index_1S >= first_B1) & (index_1S <= last_B1)
    return inside_BS.astype(tree.dtype), jnp.maximum(index_1S - first_B1, 0)


def with_ending(
    tokens: Int[Array, "B S"], tree: Int[Array, "B S"], positions: Int[Array, "B S"], ending: tuple[int, ...]
) -> tuple[tuple[Array, Array, Array], Int[Array, " B"]]:
    """Rows ``[B, S + E]`` in which an ending follows each row's last token, and where that token stands.

    >>> ids, real, at = jnp.array([[5, 6, 0]]), jnp.array([[1, 1, 0]]), jnp.array([[0, 1, 1]])
    >>> rows, last = with_ending(ids, real, at, (8, 9))
    >>> [row[0].tolist() for row in rows], last.tolist()
    ([[5, 6, 8, 9, 0], [1, 1, 1, 1, 0], [0, 1, 2, 3, 0]], [1])
    """
    last_B = jnp.where(tree != 0, jnp.arange(tree.shape[1])[None], 0).max(1)
    row_B1, steps_1E = jnp.arange(len(tokens))[:, None], jnp.arange(1, len(ending) + 1)[None]
    added = jnp.array(ending)[None], jnp.ones_like(steps_1E), positions[row_B1, last_B[:, None]] + steps_1E
    rows = tuple(
        jnp.pad(row, ((0, 0), (0, len(ending)))).at[row_B1, last_B[:, None] + steps_1E].set(new.astype(row.dtype))
        for row, new in zip((tokens, tree, positions), added, strict=True)
    )
    return rows, last_B


def _ending(model: RewardModel) -> tuple[int, ...]:
    """Token ids that stand behind every answer, up to the token that is pooled: what two that differ have in common."""
    prompt = (Message("user", "Hi"),)
    texts = [(prompt, "No"), (prompt, "7")]
    sequences = token_sequences(model.tokenizer, texts, model.passport.pooling, model.passport.pad_id)
    backwards = [ids[::-1].tolist() for ids in sequences]
    common = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*backwards, strict=False))
    return tuple(token for token, _ in common)[::-1]
