"""Features of packed texts: equal to each text run alone, cached batch by batch, and resumed after a kill."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.data.comparison import Message
from encore_jax.data.prefix_tree import tree_batches
from encore_jax.errors import InputError
from encore_jax.model.decoder import Backbone
from encore_jax.reward.sequences import feature_function, prompt_trees, token_sequences
from encore_jax.train import features as module
from encore_jax.train.features import extract_features
from tests.experiments import tiny_model

CFG, PARAMS = tiny_model.decoder_config(), tiny_model.draw()
LONGEST = 96
PROMPTS = ["Hi", "What is a lock?", "Qu'est-ce que c'est?", "Hi!"]
ANSWERS = ["No.", "Sure, take a pick and turn it.", "I cannot help with that; ask a locksmith.", "Nono."]
TEXTS = [((Message("user", p),), a) for p, a in itertools.product(PROMPTS, ANSWERS)]


@pytest.fixture(scope="module")
def sequences():
    return token_sequences(tiny_model.tokenizer(), TEXTS, "last", None)


def run_alone(params, sequences):
    """Each text as a plain causal sequence in a row of its own; what follows it cannot matter."""
    tokens = np.full((len(sequences), LONGEST), 7, np.int32)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = sequence
    one, position = np.ones_like(tokens), np.tile(np.arange(LONGEST, dtype=np.int32), (len(tokens), 1))
    hidden = Backbone(CFG).apply({"params": params}, tokens, one, 0 * one, position)
    return hidden[np.arange(len(tokens)), [len(sequence) - 1 for sequence in sequences]]


@pytest.fixture(scope="module")
def alone(sequences):
    return np.asarray(jax.jit(lambda params: run_alone(params, sequences))(PARAMS))


def extract(sequences, cache, texts=TEXTS, params=PARAMS, **options):
    options = {
        "dtype": jnp.float32,
        "buckets": (64, LONGEST),
        "tokens_per_batch": 2 * LONGEST,
        "cache": cache,
        "track": lambda batches, total: batches,
    } | options
    return extract_features(CFG, params, texts, sequences, **options)


@pytest.fixture
def computed(monkeypatch):
    """Counts the batches that really go through the model; the compiled function is shared by all tests."""
    calls = []

    def counting(cfg, dtype, sharding):
        compute = shared_function(dtype)
        return lambda params, batch: calls.append(batch) or compute(params, batch)

    monkeypatch.setattr(module, "feature_function", counting)
    return calls


_functions = {}


def shared_function(dtype):
    return _functions.setdefault(jnp.dtype(dtype), feature_function(CFG, dtype))


def test_equal_each_text_run_alone(sequences, alone, computed, tmp_path):
    got, counts = extract(sequences, tmp_path)
    assert np.abs(alone).max() > 1 and got.dtype == np.float32
    np.testing.assert_allclose(got, alone, atol=1e-5)
    assert counts["texts"] == len(TEXTS) and counts["dropped"] == 0
    assert counts["separate"] == sum(map(len, sequences))
    assert counts["useful"] < counts["separate"]  # prompts ran once for all their answers
    assert counts["useful"] <= counts["tokens"] == sum(batch.tokens.size for batch in computed)


def test_texts_of_equal_tokens_are_run_once_and_have_equal_features(sequences, alone, computed, tmp_path):
    rng = np.random.default_rng(2)
    order = rng.integers(0, len(TEXTS), 60)  # equal tokens, also under other prompts
    got, counts = extract([sequences[i] for i in order], tmp_path, [TEXTS[i] for i in rng.permutation(60) % len(TEXTS)])
    np.testing.assert_allclose(got, alone[order], atol=1e-5)
    assert len(np.unique(got, axis=0)) == len(set(order.tolist()))
    assert sum((batch.key >= 0).sum() for batch in computed) == len(set(order.tolist()))
    assert (counts["texts"], counts["dropped"]) == (60, 0)
    assert counts["separate"] == sum(len(sequences[i]) for i in order)
    got, counts = extract([sequences[i] for i in order], tmp_path / "short", [TEXTS[i] for i in order], buckets=(64,))
    assert counts["dropped"] == sum(len(sequences[i]) > 64 for i in order) == np.isnan(got[:, 0]).sum()


def test_gradient_equals_that_of_every_text_run_alone(sequences):
    cotangent = np.random.default_rng(0).normal(size=(8, CFG.width)).astype(np.float32)
    (batch,) = tree_batches(prompt_trees(TEXTS[:8], sequences[:8], 128), (128,), 4 * 128)

    @jax.jit
    @jax.grad
    def packed(params):
        got = feature_function(CFG, jnp.float32)(params, batch)
        return (got * np.where(batch.key[:, None] >= 0, cotangent[batch.key], 0)).sum()

    @jax.jit
    @jax.grad
    def separate(params):
        return (run_alone(params, sequences[:8]) * cotangent).sum()

    for got, expected in zip(*(jax.tree.leaves(f(PARAMS)) for f in (packed, separate)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


def test_order_buckets_and_batch_size_do_not_matter(sequences, alone, computed, tmp_path):
    order = np.random.default_rng(1).permutation(len(TEXTS))
    got, _ = extract([sequences[i] for i in order], tmp_path, [TEXTS[i] for i in order])
    np.testing.assert_allclose(got, alone[order], atol=1e-5)
    got, _ = extract(sequences, tmp_path, buckets=(LONGEST,), tokens_per_batch=1)
    np.testing.assert_allclose(got, alone, atol=1e-5)


def test_texts_that_are_too_long_are_nan_and_counted(sequences, alone, computed, tmp_path):
    limit = 64
    long = np.array([len(sequence) > limit for sequence in sequences])
    assert 0 < long.sum() < len(long)
    got, counts = extract(sequences, tmp_path, buckets=(limit,))
    assert counts["dropped"] == long.sum()
    assert np.isnan(got[long]).all()
    np.testing.assert_allclose(got[~long], alone[~long], atol=1e-5)


def test_bf16_computes_close_by_and_returns_fp32(sequences, alone, computed, tmp_path):
    got, _ = extract(sequences, tmp_path, dtype=jnp.bfloat16)
    assert got.dtype == np.float32
    assert 0 < np.linalg.norm(got - alone) / np.linalg.norm(alone) < 0.03


def test_a_second_run_reads_the_cache(sequences, computed, tmp_path):
    first, counts = extract(sequences, tmp_path)
    batches = len(computed)
    assert batches == len(list(tmp_path.iterdir())) > 2
    second, again = extract(sequences, tmp_path)
    assert len(computed) == batches and again == counts
    np.testing.assert_array_equal(first, second)


def test_a_killed_run_continues_where_it_was(sequences, computed, tmp_path):
    expected, _ = extract(sequences, tmp_path / "whole")
    batches = len(computed)
    computed.clear()

    class Killed(Exception):
        pass

    def die(items, total):
        yield from itertools.islice(items, 2)
        raise Killed

    with pytest.raises(Killed):
        extract(sequences, tmp_path / "killed", track=die)
    assert len(computed) == 2
    got, _ = extract(sequences, tmp_path / "killed")
    assert len(computed) == batches
    np.testing.assert_array_equal(got, expected)


def damaged(content: bytes):
    """Ways in which a file of the cache may have been spoilt."""
    yield b""
    for size in (1, 8, 31, 32, 33, 64, len(content) // 2, len(content) - 1):
        yield content[:size]
    yield content + b"\0"
    yield b"PK\x03\x04" + content[4:]
    yield bytes(len(content))
    for place in (0, 7, 20, 40, 80, 127, 128, 200, len(content) - 1):
        yield content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :]


def test_a_damaged_cache_file_is_computed_again(sequences, computed, tmp_path):
    expected, _ = extract(sequences, tmp_path)
    victim = sorted(tmp_path.iterdir())[1]
    content = victim.read_bytes()
    for spoilt in damaged(content):
        victim.write_bytes(spoilt)
        computed.clear()
        got, _ = extract(sequences, tmp_path)
        assert len(computed) == 1
        np.testing.assert_array_equal(got, expected)
        assert victim.read_bytes() == content


def test_other_tokens_never_meet_an_old_cache(sequences, computed, tmp_path):
    extract(sequences, tmp_path)
    batches = len(computed)
    changed = [sequence.copy() for sequence in sequences]
    for sequence in changed:
        sequence[3] += 1
    got, _ = extract(changed, tmp_path)
    assert len(computed) == 2 * batches
    fresh, _ = extract(changed, tmp_path / "fresh")
    np.testing.assert_array_equal(got, fresh)


def test_progress_is_told_the_tokens(sequences, computed, tmp_path):
    seen = {}

    def track(batches, total):
        batches = list(batches)
        seen.update(total=total, tokens=sum(batch.tokens.size for batch in batches))
        return batches

    _, counts = extract(sequences, tmp_path, track=track)
    assert seen["total"] == seen["tokens"] == counts["tokens"]


def test_features_that_are_not_finite_are_refused_not_called_too_long(sequences, computed, tmp_path):
    broken = {**PARAMS, "final_norm": PARAMS["final_norm"].at[3].set(jnp.inf)}
    with pytest.raises(InputError, match="text .*not finite.*float32"):
        extract(sequences, tmp_path, params=broken)
    assert not list(tmp_path.iterdir())  # and are not kept
