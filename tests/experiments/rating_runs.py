"""Rating runs in miniature: a judge's configuration on the files of `tiny_run`."""

from encore_jax.data import iter_comparisons
from encore_jax.http.settings import RetrySettings, ServerSettings
from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from encore_jax.recipes.run_config import validated
from encore_jax.rules import RulePool
from tests.experiments import tiny_run
from tests.judge.faulty_server import FaultyServer

VARIABLE, SENTINEL = "ENCORE_TEST_JUDGE_KEY", "sk-sentinel-0123456789"


def write_files(folder):
    """As `tiny_run` writes them, and a pool of one rule, one.yaml."""
    tiny_run.write_files(folder)
    RulePool(tiny_run.POOL.rules[:1], "one").to_yaml(folder / "one.yaml")
    return folder


def config(files, url="http://127.0.0.1:9", limit=12, patience=10.0, **judge):
    data = DataConfig(
        source="files",
        pool=str(files / "pool.yaml"),
        path=str(files / "pairs.jsonl"),
        ratings_path=str(files / "rated.jsonl"),
        ratings_format="encore",
        limit=limit,
    )
    retry = RetrySettings(first_wait=0.01, longest_wait=0.05, patience=patience, tries=3)
    server = ServerSettings(urls=(url,), concurrency=8, timeout=5.0, retry=retry, key_variable=judge.pop("key", ""))
    model = ModelConfig(path=judge.pop("model_path", str(files / "model")), buckets=(256,), tokens_per_batch=512)
    return validated(
        RatingConfig(name="rate", data=data, model=model, judge=JudgeConfig(model="m", server=server, **judge))
    )


def questions_in(workdir):
    pool = RulePool.from_yaml(workdir / "ingest" / "pool.yaml")
    pairs = list(iter_comparisons(workdir / "ingest" / "comparisons.jsonl", pool=pool))
    return pool, pairs, len({(c.prompt, r) for c in pairs for r in c.responses}) * len(pool)


class Saying(FaultyServer):
    """Always sends the same reply."""

    def __init__(self, body, status=200):
        super().__init__()
        self.reply, self.status = body, status

    async def answer(self, body):
        from aiohttp import web

        return web.json_response(self.reply, status=self.status)
