"""Judges for `encore_jax.rate`: a server, this machine's devices, a trained reward model, or a table of ratings.

Each function gives something that `rate` takes. Anything else with an `identity` and a method `answers` does as well;
see `encore_jax.judge.question.Judge`.

>>> import encore_jax as enc
>>> enc.judges.server("http://127.0.0.1:8000", model="qwen").identity.model
'qwen'
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore_jax.data.comparison import Comparison, RatedResponse
from encore_jax.errors import InputError
from encore_jax.http.settings import RetrySettings, ServerSettings
from encore_jax.judge.calls.call import ISOLATED
from encore_jax.judge.calls.prompts import SCHEMAS
from encore_jax.judge.calls.request import check_call_options
from encore_jax.judge.named_request import request_by_name, wording
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Judge
from encore_jax.judge.reading import MOST_OTHER
from encore_jax.judge.request import MOST_TOP, RequestFormat
from encore_jax.judge.table import TableJudge, read_rated
from encore_jax.rules import RulePool

if TYPE_CHECKING:
    from encore_jax.judge.devices.local import LocalJudge
    from encore_jax.judge.devices.local_calls import LocalCallJudge
    from encore_jax.judge.devices.model import ModelJudge
    from encore_jax.parallel.mesh import MeshSettings
    from encore_jax.reward.reward_model import RewardModel

__all__ = ["local", "model", "server", "table"]


def server(
    url: str | Sequence[str] = "http://127.0.0.1:8000",
    *,
    model: str,
    prompt: str = YES_NO_IRRELEVANT.name,
    system_role: bool = True,
    api: str = "chat",
    tokenizer: str = "",
    top: int = MOST_TOP,
    extra: Mapping[str, Any] | None = None,
    revision: str = "",
    most_other: float = MOST_OTHER,
    key_variable: str = "",
    concurrency: int = 256,
    requests_per_second: float = 0.0,
    timeout: float = 120.0,
    retry: RetrySettings | None = None,
    offline: bool = False,
    rules_per_call: int = ISOLATED,
    structured: str = SCHEMAS[0],
) -> Judge:
    """A judge behind any OpenAI-compatible server; nothing is sent before it is asked.

    Args:
      url: address of the server, or several of servers of the same model.
      model: its name on the server.
      prompt: which wording: "yes_no_irrelevant.1" reads log-probabilities, "numeric.1" a number from 0 to 1.
      system_role: False puts the instructions into the user's turn (Gemma refuses a system message).
      api: "chat", or "completions" for the raw log-probabilities of the next token.
      tokenizer: of api "completions": its chat template makes the prompt; a folder, a .gguf file or a uri.
      top: likely tokens that the server lists.
      extra: more fields of every request, e.g. {"seed": 0}; None leaves a field out.
      revision: what else identifies the model; ratings of another revision are not reused.
      most_other: probability on none of the offered answers above which an answer counts as unparsable.
      key_variable: name of the environment variable that holds the API key; "" for none.
      concurrency: requests in flight at once.
      requests_per_second: limit over all servers; 0 for none.
      timeout: seconds for one request.
      retry: when a request is made again.
      offline: fetch no tokenizer.
      rules_per_call: how many rules are asked about in one call: 1 asks about each by itself, 0 about all at once. Many
        cost less, and let the answers lean on each other.
      structured: of several rules in a call, how the server is told the answer's shape: "json_schema", "json_object"
        (llama-cpp-python), "guided_json" (older vLLM) or "none".

    Raises:
      InputError: an option that cannot be, or the packages for HTTP are not installed.

    >>> server("http://127.0.0.1:8000", model="qwen", prompt="numeric.1").identity.kind
    'server'
    """
    how = request_by_name(
        model,
        prompt=prompt,
        system_role=system_role,
        api=api,
        tokenizer=tokenizer,
        top=top,
        extra=extra,
        revision=revision,
        most_other=most_other,
        offline=offline,
        rules_per_call=rules_per_call,
        structured=structured,
    )
    settings = ServerSettings(
        urls=(url,) if isinstance(url, str) else tuple(url),
        key_variable=key_variable,
        concurrency=concurrency,
        requests_per_second=requests_per_second,
        timeout=timeout,
        retry=RetrySettings() if retry is None else retry,
    )
    return server_judge(how, settings)


def server_judge(how: RequestFormat, settings: ServerSettings) -> Judge:
    """A judge behind a server, from how it is asked and where.

    Raises:
      InputError: settings that cannot be, or the packages for HTTP are not installed.
    """
    try:
        from encore_jax.judge.server import ServerJudge
    except ModuleNotFoundError as error:
        raise InputError(f"needs {error.name}", where="a server as judge", fix="pip install -e '.[judge]'") from None
    return ServerJudge(how, settings)


def local(
    model: str = "",
    *,
    prompt: str = YES_NO_IRRELEVANT.name,
    mesh: MeshSettings | None = None,
    dtype: Any = "float32",
    offline: bool = False,
    rules_per_call: int = ISOLATED,
    **options: Any,
) -> LocalJudge | LocalCallJudge:
    """A language model on this machine's devices as judge; loads it.

    Args:
      model: a Hugging Face folder, a .gguf file, or hf://org/name; SmolLM2-135M-Instruct if left out.
      prompt: a wording that offers answers.
      mesh: how all devices share the model; the default device alone if left out.
      dtype: of weights and computation.
      offline: fetch nothing.
      rules_per_call: how many rules are asked about in one call, see `server`.
      options: more of `encore_jax.judge.devices.local.LocalJudge`: buckets, tokens_per_step, window, most_other.

    Raises:
      InputError: the model cannot be had or read, or the wording offers no answers.

    >>> local("no/such/model")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    encore_jax.errors.InputError: no/such/model: no such file or folder. Fix: correct the path; a hub ...
    """
    import jax.numpy as jnp

    from encore_jax.judge.devices.load_local import load_local_judge

    if rules_per_call != ISOLATED:
        check_call_options(rules_per_call, SCHEMAS[0])
    options |= {"mesh": mesh, "dtype": jnp.dtype(dtype), "offline": offline, "rules_per_call": rules_per_call}
    return load_local_judge(model, wording(prompt, rules_per_call=rules_per_call), **options)


def model(
    reward_model: RewardModel | str | Path, name: str = "", *, offline: bool = False, fetch_backbone: bool = False
) -> ModelJudge:
    """A trained multi-head reward model as judge: the scores of its heads are the ratings.

    Args:
      reward_model: the model, or what `RewardModel.from_pretrained` loads.
      name: what it is called in records; the folder's or the backbone's name if left out.
      offline, fetch_backbone: see `RewardModel.from_pretrained`.

    Raises:
      InputError: there is no reward model at that place.

    >>> model("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    encore_jax.errors.InputError: no/such/folder: no such file or folder. Fix: correct the path; a hub ...
    """
    from encore_jax.judge.devices.model import ModelJudge
    from encore_jax.reward.reward_model import RewardModel

    if isinstance(reward_model, RewardModel):
        return ModelJudge(reward_model, name or reward_model.passport.model)
    options = {"offline": offline, "fetch_backbone": fetch_backbone}
    return ModelJudge(RewardModel.from_pretrained(reward_model, **options), name or Path(str(reward_model)).name)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of ratings, which becomes a judge once the rules are known; `table` makes it.

    Attributes:
      source: what `read_rated` reads.
      scale: lowest and highest rating; None infers it.
      label: what its ratings are called in reports.
    """

    source: object
    scale: tuple[float, float] | None = None
    label: str = "human-rated"

    def judge(self, pool: RulePool) -> TableJudge:
        """The judge that looks the ratings by these rules up.

        Raises:
          InputError: the table cannot be read, or rates one response twice, differently.
        """
        name = str(self.source) if isinstance(self.source, str | Path) else "table"
        return TableJudge(read_rated(self.source, pool, self.scale), pool, name, self.label)


def table(
    source: str | Path | Iterable[Comparison | RatedResponse] | object,
    *,
    scale: tuple[float, float] | None = None,
    label: str = "human-rated",
) -> Table:
    """Ratings that exist already, by people or by somebody else's judge, looked up.

    Args:
      source: a CSV, Parquet or JSONL file, a DataFrame or a list of dictionaries with prompts, responses and ratings by
        the rules that `rate` asks about; or rated records.
      scale: lowest and highest rating; inferred if left out.
      label: what its ratings are called in reports: "human-rated", "judge-rated", "model-rated".

    >>> rows = [{"prompt": "Hi", "response": "Hello!", "kind": 5}, {"prompt": "Hi", "response": "Go.", "kind": 1}]
    >>> table(rows).judge(RulePool.from_sentences({"kind": "It is kind."})).identity.label
    'human-rated'
    """
    return Table(source, scale, label)
