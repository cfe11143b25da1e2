"""Rule heads: fp32, equivariant to the order of the rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from encore_jax.errors import InputError
from encore_jax.model.heads import RuleHeads, declare_heads, init_heads, rule_scores


def test_scores_are_fp32_and_do_not_tie_where_bf16_would():
    features = jnp.full((1, 8), 23.0, jnp.bfloat16)
    kernel = jnp.array([[0.125, 0.125 + 1e-6]]) * jnp.ones((8, 1))
    scores = rule_scores(features, kernel)
    assert scores.dtype == jnp.float32
    assert float(scores[0, 0]) != float(scores[0, 1])
    as_bf16 = scores.astype(jnp.bfloat16)
    assert float(as_bf16[0, 0]) == float(as_bf16[0, 1])


def test_permuting_the_rules_permutes_the_scores():
    rng = np.random.RandomState(0)
    features, kernel, bias = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((2, 3, 8), (8, 5), (5,)))
    order = rng.permutation(5)
    scores = rule_scores(features, kernel, bias)
    expected = np.asarray(features, np.float64) @ np.asarray(kernel, np.float64) + np.asarray(bias)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    permuted = rule_scores(features, kernel[:, order], bias[order])
    np.testing.assert_array_equal(permuted, scores[..., order])


def test_the_module_the_declaration_and_the_function_agree():
    features = jnp.asarray(np.random.RandomState(1).standard_normal((4, 8)), jnp.bfloat16)
    heads, declared = RuleHeads(rules=3), declare_heads(8, 3)
    boxed = heads.init(jax.random.key(0), features)["params"]
    assert {name: (box.names, box.value.shape) for name, box in boxed.items()} == {
        name: (param.axes, param.shape) for name, param in declared.items()
    }
    params = init_heads(jax.random.key(0), 8, 3)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, meta.unbox(boxed))
    assert {x.dtype for x in jax.tree.leaves((params, meta.unbox(boxed)))} == {jnp.dtype(jnp.float32)}
    params["bias"] = jnp.array([0.5, -1.0, 2.0])
    np.testing.assert_array_equal(heads.apply({"params": params}, features), rule_scores(features, **params))


def test_refusals():
    with pytest.raises(InputError, match="2 wide .* expect 3"):
        rule_scores(jnp.ones((1, 2)), jnp.ones((3, 1)))
