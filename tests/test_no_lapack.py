"""No program that the library compiles for CPU calls LAPACK; fits for any number of rules end on two threads."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.composition import dpp
from encore_jax.evaluation import theory_ratings, theory_weights
from encore_jax.train import binary_heads, bradley_terry, gating
from encore_jax.train.positive_definite import solve_positive
from tests import no_lapack

MARGINS = jnp.asarray(np.random.default_rng(0).normal(size=(40, 5)), jnp.float32)
PENALTIES = jnp.array([1e-3, 1e-2, 1e-1])


def newton(margins, l2):
    return bradley_terry.bradley_terry_weights(margins, l2)


def greedy(gram):
    return dpp._greedy(gram, 3)


def gate(margins):
    params = gating.init_gate(jax.random.key(0), 4, 5, gating.GateSettings(width=8))
    weights = gating.gate_weights(params, margins[:, :4], 10.0)
    return -jax.nn.log_sigmoid((weights * margins).sum(-1)).mean()


PROGRAMS = {
    "Bradley-Terry": (newton, (MARGINS, 1e-2)),
    "Bradley-Terry, vmapped over penalties": (jax.vmap(newton, (None, 0)), (MARGINS, PENALTIES)),
    "Bradley-Terry, vmapped over draws": (jax.vmap(newton, (0, None)), (jnp.stack([MARGINS] * 6), 1e-2)),
    "hinge, vmapped": (jax.vmap(bradley_terry.hinge_weights, (None, 0)), (MARGINS, PENALTIES)),
    "equations of 40 unknowns, vmapped": (jax.vmap(solve_positive), (jnp.ones((6, 40, 40)), jnp.ones((6, 40)))),
    "binary heads": (binary_heads._minimise, (MARGINS, jnp.ones((40, 100), bool), 0.1, 2.0)),
    "gate's gradient": (jax.grad(gate), (MARGINS,)),
    "Gram matrix": (dpp.rating_gram, (MARGINS,)),
    "greedy choice": (jax.vmap(greedy), (jnp.stack([jnp.eye(5)] * 6),)),
    "k-DPP sample": (
        jax.vmap(lambda key: dpp._sample(jnp.zeros(5), jnp.eye(5), 3, key)),
        (jax.random.split(jax.random.key(0), 6),),
    ),
    "theory, fits": (
        functools.partial(theory_weights.fitted_weights, pairs=20, repeats=4),
        (jnp.zeros(2), jnp.eye(2), jax.random.key(0)),
    ),
    "theory, resampled": (lambda delta: theory_ratings._resampled(delta, np.arange(40), 0, 3, 1e-2), (MARGINS,)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_calls_lapack(name):
    function, arguments = PROGRAMS[name]
    assert not no_lapack.calls_in_program(jax.jit(function).lower(*arguments).compile().as_text())


def test_no_source_names_a_lapack_function_of_jax():
    found = {str(path): calls for path in no_lapack.sources() if (calls := no_lapack.calls_in_source(path.read_text()))}
    assert not found


BAD = {
    "cholesky": lambda x: jnp.linalg.cholesky(x),
    "eigh": lambda x: jnp.linalg.eigh(x)[0],
    "svd": lambda x: jnp.linalg.svd(x)[1],
    "qr": lambda x: jnp.linalg.qr(x)[0],
    "solve": lambda x: jnp.linalg.solve(x, jnp.ones(x.shape[:-1])[..., None]),
    "slogdet": lambda x: jnp.linalg.slogdet(x)[1],
    "inv": lambda x: jnp.linalg.inv(x),
    "lstsq": lambda x: jnp.linalg.lstsq(x, jnp.ones(len(x)))[0],
    "norm": lambda x: jnp.linalg.norm(x, ord=2),
    "triangular": lambda x: jax.scipy.linalg.solve_triangular(x, jnp.ones(len(x)), lower=True),
    "normal": lambda x: jax.random.multivariate_normal(jax.random.key(0), jnp.zeros(len(x)), x),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("batched", [False, True])
def test_whoever_compiles_lapack_is_noticed(name, batched):
    matrix = jnp.eye(4) * 2
    function, argument = (jax.vmap(BAD[name]), jnp.stack([matrix] * 3)) if batched else (BAD[name], matrix)
    with pytest.raises(AssertionError, match="for CPU: batches of LAPACK calls hang"):
        jax.jit(function).lower(argument)


@pytest.mark.parametrize(
    "line",
    ["jnp.linalg.solve(a, b)", "jax.numpy.linalg.eigh(a)", "jax.scipy.linalg.cho_solve((a, True), b)",
     "jax.lax.linalg.cholesky(a)", "jax.random.multivariate_normal(key, m, c)", "from jax.scipy.linalg import cholesky",
     "from jax.numpy import linalg", "jax.nn.initializers.orthogonal()"],
)  # fmt: skip
def test_sources_that_name_lapack_are_noticed(line):
    assert no_lapack.calls_in_source(line)


def test_compiled_text_that_calls_lapack_is_noticed():
    """By a process without the guard: its program is compiled, and its text names the call."""
    code = (
        "import jax, jax.numpy as jnp\n"
        "x = jnp.stack([jnp.eye(3)] * 5)\n"
        "print(jax.jit(jnp.linalg.cholesky).lower(x).compile().as_text())"
    )
    assert no_lapack.calls_in_program(_child(code)) == ["lapack_spotrf_ffi"]


ANY_NUMBER_OF_RULES = """
import jax, jax.numpy as jnp, numpy as np
from encore_jax.evaluation.ablation_tables import refitted_margins
from encore_jax.train.binary_heads import fit_binary_heads
from encore_jax.train.bradley_terry import bradley_terry_weights, hinge_weights
from encore_jax.train.preference_head import fit_preference_head
from encore_jax.train.ridge import fit_ridge

rng, fold = np.random.default_rng(0), np.arange(600) % 5
x = rng.normal(size=(600, 576)).astype(np.float32)
for rules in range(1, 13):
    y = rng.random((600, rules)).astype(np.float32)
    fit = fit_ridge(x, y, np.ones_like(y, bool), fold, (10.0, 1000.0))
    draw = rng.random(600) < 0.8
    refitted_margins(x, y, np.ones_like(y, bool), draw, fit.alpha, x[:20])
    margins = jnp.asarray(rng.normal(size=(rules, 50, 6)), jnp.float32)
    if rules in (2, 5, 6, 7):
        jax.block_until_ready(jax.jit(jax.vmap(bradley_terry_weights))(margins))
    print(rules, flush=True)
fit_preference_head(x[:, :64], fold, (0.1, 1.0))
fit_binary_heads(x[:200, :64], rng.random((200, 100)) < 0.3, 0.1)
hinge_weights(margins[0])
print("done")
"""


def test_fits_for_one_to_twelve_rules_end_on_two_threads():
    assert _child(ANY_NUMBER_OF_RULES, NPROC="2").split() == [*map(str, range(1, 13)), "done"]


def _child(code: str, **environment: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"} | environment
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    return done.stdout
