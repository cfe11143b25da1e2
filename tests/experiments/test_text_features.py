"""Features of a run with a frozen backbone: computed once, and read by every later stage."""

import contextlib
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.errors import InputError
from encore_jax.recipes.run import plan_of, run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.extract import Extracted
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.probe import probe_texts
from encore_jax.recipes.stages.texts import Split, compared_prompts, texts_of
from encore_jax.recipes.stages.train import TrainedHeads
from encore_jax.reward.sequences import token_sequences
from encore_jax.text.rendering import render
from encore_jax.text.tokenizer import load_tokenizer
from encore_jax.train import features as module
from encore_jax.train.features import extract_features
from tests.experiments import tiny_run
from tests.experiments.observed import counting


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """The folder of a run whose heads are trained, and its configuration."""
    workdir, config = tmp_path_factory.mktemp("runs") / "run", validated(tiny_run.config(files))
    run_experiment(config, workdir, until="train")
    return workdir, config


def test_features_and_scores_equal_those_of_each_text_run_alone(run):
    workdir, config = run
    stored, data = Extracted.load(workdir / "features"), Ingested.load(workdir / "ingest")
    texts = texts_of(data, Split(config.data.test_fraction, config.train.folds, config.seed))
    cfg, params, _ = load_backbone(config.model.path)
    tokenizer = load_tokenizer(config.model.path)
    prompts, _ = compared_prompts(data.comparisons)

    def alone(texts, sequences):
        """Every tenth text in a batch of its own."""
        options = {"dtype": jnp.float32, "buckets": (256,), "tokens_per_batch": 1}
        for i in range(0, len(texts), 10):
            yield i, extract_features(cfg, params, texts[i : i + 1], sequences[i : i + 1], **options)[0][0]

    ends = [np.asarray(render(tokenizer, prompt), np.int32) for prompt in prompts]
    trained = TrainedHeads.load(workdir / "train")
    heads, scores = trained.heads["human"], trained.scores["human"]
    fitted_on = set(heads.texts.tolist())
    for i, expected in alone(texts.texts, token_sequences(tokenizer, texts.texts, config.model.pooling, None)):
        np.testing.assert_allclose(stored.texts[i], expected, atol=1e-5)
        if i not in fitted_on:  # those have scores of heads that saw none of their prompt
            np.testing.assert_allclose(scores[i], expected @ heads.kernel + heads.bias, atol=1e-4)
    for i, expected in alone([(prompt, "") for prompt in prompts], ends):
        np.testing.assert_allclose(stored.prompts[i], expected, atol=1e-5)
    probe = probe_texts()
    scored = trained.probe
    for i, expected in alone(probe, token_sequences(tokenizer, probe, config.model.pooling, None)):
        np.testing.assert_allclose(stored.probe[i], expected, atol=1e-5)
        np.testing.assert_allclose(scored[i], expected @ heads.kernel + heads.bias, atol=1e-4)


def test_a_stage_that_is_killed_goes_on_with_the_next_batch(files, run, tmp_path):
    """What was computed is not computed again; the features are the same to the bit."""
    workdir, config = run
    real, done = module.feature_function, []

    def stopping(after):
        def of(*options):
            compute = real(*options)

            def batch(*args):
                if len(done) == after:
                    raise KeyboardInterrupt
                done.append(args[1])
                return compute(*args)

            return batch

        return of

    for after, ends in ((3, pytest.raises(KeyboardInterrupt)), (None, contextlib.nullcontext())):
        with mock.patch.object(module, "feature_function", stopping(after)), ends:
            run_experiment(config, tmp_path, until="features")
        if after:
            assert len(list((tmp_path / "features" / "batches").iterdir())) == len(done) == after
    seen = [b"".join(np.ascontiguousarray(part).tobytes() for part in batch) for batch in done]
    assert len(set(seen)) == len(seen) > 3, "no batch ran twice"
    for path in (workdir / "features").glob("*.npy"):
        assert (tmp_path / "features" / path.name).read_bytes() == path.read_bytes()


def test_data_that_cannot_be_used_end_the_run_before_the_model_is_loaded(files, tmp_path):
    config = tiny_run.config(files)
    config.data.test_fraction = 0.999
    with counting(load_backbone) as loaded, pytest.raises(InputError, match="to train on: .* held out"):
        run_experiment(validated(config), tmp_path)
    assert not loaded


@pytest.mark.parametrize(("method", "there"), [("ridge", True), ("gradient", False)])
def test_there_is_such_a_stage_only_where_the_backbone_is_frozen(files, tmp_path, method, there):
    config = tiny_run.config(files)
    config.train.method, config.train.length = method, 256
    plan = plan_of(config, tmp_path)
    assert ("features" in plan.stages) == ("features" in plan.at) == there
