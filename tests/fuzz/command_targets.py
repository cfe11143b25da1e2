"""What is given on a command line, sent to the server, and answered by other servers."""

from __future__ import annotations

import functools
import io
import json
import random
from pathlib import Path

from tests.fuzz.mutate_bytes import mutate_bytes
from tests.fuzz.mutate_json import mutate_json, mutate_text
from tests.fuzz.target import Target, each

ARGUMENTS = [
    "--config.seed=3", "--config.compose.tau=0.5", "--config.model.buckets=(64, 128)", "--config.data.source=files",
    "--config.data.path=rows.jsonl", "--config.train.lr=1e-5", "--config.train.method", "gradient",
    "--noconfig.data.offline", "--config.name=mine",
]  # fmt: skip
CONFIG = '''
"""A run of my own."""

from encore_jax.recipes.config import ExperimentConfig, ModelConfig


def get_config():
    return ExperimentConfig(name="mine", seed=1, model=ModelConfig(buckets=(64, 128)))
'''


def _command(folder: Path) -> None:
    (folder / "config.py").write_text(CONFIG)
    (folder / "arguments.json").write_text(json.dumps(ARGUMENTS))
    (folder / "extra.json").write_text(json.dumps({"seed": 0, "top_k": [1, {"a": None}]}))


def _load_command(folder: Path):
    """As `encore_jax.cli.command.read_command`, which reads them with absl's flags beside."""
    from encore_jax.cli.config_file import load_config
    from encore_jax.cli.overrides import apply_overrides, override_texts, split_arguments, switches_of
    from encore_jax.json_shape import read_json
    from encore_jax.recipes.rating_config import JudgeConfig
    from encore_jax.recipes.run_config import check_field_types, validated

    extra = JudgeConfig(extra=(_content(folder / "extra.json") or b"").decode(errors="replace")).extra_fields()
    arguments = read_json(folder / "arguments.json", list[str])  # the shell gives texts, and nothing else
    config = load_config(str(folder / "config.py"))
    overrides = split_arguments(arguments, switches_of(config)).overrides
    config = apply_overrides(config, overrides)
    check_field_types(config)
    return extra, override_texts(config, overrides), validated(config)


def mutate_code(content: bytes, rng: random.Random) -> bytes:
    """A configuration's text; its numbers and texts become others, as those of JSON do."""
    if rng.random() < 0.4:
        return mutate_text(content, rng)
    value = mutate_json(json.dumps(rng.choice([1, 0.5, "mine", None, [1]])).encode(), rng)
    return content.replace(rng.choice((b'"mine"', b"seed=1", b"(64, 128)", b"ModelConfig(buckets=(64, 128))")), value)


REQUESTS = {
    "/v1/score": {"prompt": "Hi", "responses": ["No.", "Yes."], "explain": True, "model": "m"},
    "/classify": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No."}]},
    "/pooling": {"input": ["Hi", "No"], "use_activation": False},
    "/get_reward": {"query": ["Hi there \U0001f642", "No"], "prompts": ["Hi", "N"], "labels": [None, None]},
    "/rewards": {"prompts": [[{"role": "user", "content": "Hi"}]], "completions": ["No."]},
}


def _requests(folder: Path) -> None:
    for path, body in REQUESTS.items():
        (folder / f"{_name(path)}.json").write_text(json.dumps(body))
    items = [{"prompt": [{"role": "user", "content": "Hi"}], "responses": ["No."]}]
    (folder / "items.json").write_text(json.dumps({"items": items, "explain": False}))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _content(path: Path) -> bytes | None:
    """What a client has sent; None where a file was made into something that no client can send."""
    return path.read_bytes() if path.is_file() and path.stat().st_size < 1 << 26 else None


def _load_requests(folder: Path):
    import numpy as np

    from encore_jax.serve.app import _parsed
    from encore_jax.serve.dialects import DIALECTS, Served

    served = Served("m", ("kind", "rude"), np.array([0.5, 0.5]))
    paths = {folder / f"{_name(path)}.json": path for path in REQUESTS} | {folder / "items.json": "/v1/score"}
    asked = {path: content for path in paths if (content := _content(path)) is not None}
    return each(*(lambda p=path, c=content: DIALECTS[paths[p]](_parsed(c), served) for path, content in asked.items()))


def _bodies(folder: Path) -> None:
    import gzip

    (folder / "rewards.json").write_text(json.dumps({"rewards": [0.5, None]}))
    by_rule = {"scores": {"kind": [0.5, None]}, "weights": {"kind": [1.0, None]}}
    (folder / "by_rule.json").write_text(json.dumps(by_rule))
    models = {"data": [{"rules": ["kind"], "weights": {"kind": 1.0}, "passport": {}}]}
    (folder / "models.json").write_text(json.dumps(models))
    refusal = {"error": {"message": "not authorised", "where": "Authorization", "fix": "send a token"}}
    (folder / "refusal.json").write_text(json.dumps(refusal))
    (folder / "body.gz").write_bytes(gzip.compress(json.dumps({"choices": []}).encode()))


class _Body(io.BytesIO):
    """A reply, as urllib gives it."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self.headers = {}


def _load_bodies(folder: Path):
    """As the clients of reward and judge servers read them."""
    import urllib.error

    from encore_jax.http.client import Client
    from encore_jax.http.replies import BadBody, unpacked
    from encore_jax.http.settings import ApiKey
    from encore_jax.reward.rewards_client import RewardsClient, _Busy, _Models, _Rewards, _RuleRewards

    class Opener:
        def open(self, request, timeout):
            if self.status == 200:
                return _Body(self.content)
            raise urllib.error.HTTPError(request.full_url, self.status, "x", {}, _Body(self.content))

    client, opener = RewardsClient("http://127.0.0.1:1", "token"), Opener()
    client._opener = opener
    judge = Client.__new__(Client)
    judge._key = ApiKey("")

    def posted(name: str, status: int, shape: type = _Rewards):
        content = _content(folder / name)
        if content is None:
            return None
        opener.content, opener.status = content, status
        try:
            return client._once(b"", 1 << 20, shape, "http://127.0.0.1:1/rewards")
        except _Busy as busy:
            return str(busy)

    def unpack():
        try:
            return unpacked(_content(folder / "body.gz") or b"", "gzip", 1 << 20)
        except BadBody as error:
            return str(error)

    def parsed():
        return [judge._parsed(_content(folder / name) or b"", code) for name, code in
                (("rewards.json", ""), ("refusal.json", "identity"), ("body.gz", "gzip"))]  # fmt: skip

    def refused():
        from encore_jax.errors import InputError

        try:
            return posted("refusal.json", 401)
        except InputError as error:
            if "not authorised" in str(error):  # as it must be, where the file was not damaged
                return error
            raise

    replies = {"rewards.json": _Rewards, "by_rule.json": _RuleRewards, "models.json": _Models}
    good = [functools.partial(posted, name, 200, shape) for name, shape in replies.items()]
    return each(*good, refused, lambda: posted("refusal.json", 503), unpack, parsed)


COMMAND_TARGETS = {
    "command": Target(
        _command, {"config.py": mutate_code, "arguments.json": mutate_json, "extra.json": mutate_json},
        _load_command, 2,
    ),
    "requests": Target(_requests, {f"{_name(path)}.json": mutate_json for path in (*REQUESTS, "items")},
                       _load_requests),
    "bodies": Target(_bodies, {
        **{f"{name}.json": mutate_json for name in ("rewards", "by_rule", "models", "refusal")},
        "body.gz": mutate_bytes,
    }, _load_bodies),
}  # fmt: skip
