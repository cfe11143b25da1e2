"""A reward model as an NNX module with Tunix' call: token ids in, a reward at every token out.

For trainers that score token ids on the device (the ``reward`` and ``critic`` of Tunix' PPO). Trainers that score texts
take `encore_jax.reward.rl.reward_function`: it renders the reward model's own chat template and packs prefixes.

Shape letters: B batch, S sequence, D width, K rules.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from encore_jax.errors import InputError
from encore_jax.model.heads import rule_scores
from encore_jax.model.nnx_adapter import NnxBackbone
from encore_jax.reward.reward_model import RewardModel


class NnxReward(nnx.Module):
    """A reward model's backbone and rule heads as parameters (``nnx.Param``), and its composition weights.

    The token ids must be those of the reward model's own tokenizer and chat template, so the policy shares them.

    >>> reward = NnxReward(RewardModel.from_pretrained("runs/quickstart/compose"))  # doctest: +SKIP
    >>> RLCluster(actor=policy, critic=critic, reward=reward, ...)  # doctest: +SKIP

    Args:
      model: its parameters stay on the devices where they lie, and are not copied.
      remat: what the backward pass keeps, for a critic that is trained; see `encore_jax.model.decoder.REMAT`.

    Raises:
      InputError: the weights depend on the prompt (a gate), nobody has said how several heads compose, or the model has
        a rule graph.
    """

    def __init__(self, model: RewardModel, *, remat: str = "none"):
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
        self.weights = nnx.Variable(jnp.asarray(model.weights))

    def __call__(
        self,
        tokens: Int[Array, "B S"],
        positions: Int[Array, "B S"],
        cache: None = None,
        attention_mask: Bool[Array, "B S S"] | None = None,
    ) -> Float[Array, "B S 1"]:
        """The composed reward ``Σ_k w_k s_k`` of what each token ends, fp32.

        Args:
          tokens, positions, attention_mask: see `scores`.
          cache: None; a trainer that generates gives one to its policy.

        Raises:
          InputError: a cache.
        """
        if cache is not None:
            raise InputError("a reward model keeps no cache", where="cache", fix="leave it out")
        scores_BSK = self.scores(tokens, positions, attention_mask)
        return (scores_BSK * self.weights.get_value()[None, None]).sum(-1, keepdims=True)

    def scores(
        self,
        tokens: Int[Array, "B S"],
        positions: Int[Array, "B S"],
        attention_mask: Bool[Array, "B S S"] | None = None,
    ) -> Float[Array, "B S K"]:
        """Scores of every rule at every token, fp32.

        Args:
          tokens: of one conversation in each row, padded on either side or both.
          positions: distance from the conversation's first token; those of padding do not matter.
          attention_mask: which token sees which, causal; a token that does not see itself is padding. None: no padding.
        """
        if attention_mask is None:
            tree_BS = jnp.ones_like(tokens)
        else:
            tree_BS = jnp.diagonal(attention_mask, axis1=1, axis2=2).astype(tokens.dtype)
        hidden_BSD = self.backbone(tokens, tree_BS, jnp.zeros_like(tokens), jnp.maximum(positions, 0))
        return rule_scores(hidden_BSD, self.kernel.get_value(), self.bias.get_value())
