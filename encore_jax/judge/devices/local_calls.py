"""The judge on this machine's devices, asked about several rules in one call.

What a served model writes freely is written for this one: the JSON object around the answers is given, and each answer
is the likeliest of those that are offered, fed back before the next one is read (`encore_jax.model.list_answers`). The
rating is read from the probabilities of the value's first token, as everywhere. Nothing can be missing or malformed.

It costs about what `encore_jax.judge.devices.local.LocalJudge` does, which runs a conversation once for all rules,
asked about one by one; what it is for is to see what a list does to a model's ratings.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from encore_jax.errors import InputError
from encore_jax.judge.calls.call import by_call, letter
from encore_jax.judge.calls.prompts import CallPrompt
from encore_jax.judge.devices.local import BUCKETS, TOO_LONG, local_identity, root_tokens
from encore_jax.judge.question import NOT_ASKED, Answer, Question, Status
from encore_jax.judge.reading import MOST_OTHER, answer_tokens, read_answer
from encore_jax.model.branch_rows import agree
from encore_jax.model.branching import run_root
from encore_jax.model.config import DecoderConfig
from encore_jax.model.list_answers import PromptRows, Template, answer_list
from encore_jax.text.chat_template import takes_system_role
from encore_jax.text.rendering import render_prompts

Asked = tuple[list[Question], np.ndarray]
"""Questions of a call, and the tokens of its prompt."""


class LocalCallJudge:
    """Rates several rules in a call with a decoder on this machine's devices; a `Judge`.

    Args:
      cfg, params, tokenizer, model, lm_head, dtype, tokens_per_step, rows, most_other, within: as of
        `encore_jax.judge.devices.local.LocalJudge`; over the devices of several processes it cannot be asked.
      prompt: a wording of lists with answers.
      rules_per_call: at most so many, 0 for all; told apart in the journal.
      buckets: lengths in tokens to which prompts (without instructions) are padded.
      window: questions drawn at once.

    Raises:
      InputError: a prompt without answers, answers that the tokenizer cannot tell apart, no LM head, or several
        processes.
    """

    def __init__(
        self,
        cfg: DecoderConfig,
        params: Any,
        tokenizer: Any,
        prompt: CallPrompt,
        *,
        model: str,
        rules_per_call: int = 0,
        lm_head: jax.Array | None = None,
        dtype: Any = jnp.float32,
        buckets: Sequence[int] = BUCKETS,
        tokens_per_step: int = 1024,
        window: int = 4096,
        rows: NamedSharding | None = None,
        most_other: float = MOST_OTHER,
        within: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    ):
        where = "local judge, several rules in a call"
        if not prompt.answers:
            problem = f"prompt {prompt.name!r} asks for numbers, which take several tokens"
            raise InputError(problem, where=where, fix="use yes_no_irrelevant.1, or a server")
        if rows is not None and not rows.is_fully_addressable:
            fix = "ask about each rule by itself, or use a single process"
            raise InputError("cannot be asked over the devices of several processes", where=where, fix=fix)
        head = params["embed"] if lm_head is None and cfg.tie_embeddings else lm_head
        if head is None:
            raise InputError("the model has no LM head", where=where, fix="load it with lm_head=True")
        if not takes_system_role(tokenizer):
            prompt = prompt.in_user_turn()
        self._cfg, self._params, self._tokenizer, self._prompt, self._head = cfg, params, tokenizer, prompt, head
        self._buckets, self._budget, self._window = tuple(sorted(buckets)), tokens_per_step, window
        self._answers, self._most_other = answer_tokens(tokenizer, prompt.answers), most_other
        self._rows, self._within, self._templates = rows, within, {}
        self._root_tokens = root_tokens(tokenizer, prompt)
        self._compute = _program(cfg, dtype)
        with within():
            self._root = jax.jit(functools.partial(run_root, cfg, dtype=dtype))(params, self._root_tokens)
        self.identity = local_identity(
            model, prompt, tokenizer, self._answers.ids, dtype, most_other, "list of answers",
            rules_per_call=rules_per_call,
        )  # fmt: skip

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Answer]]:
        """Yields every question with its answer; see `replies`."""
        for reply in self.replies(questions):
            yield from reply

    def replies(self, questions: Iterable[Question]) -> Iterator[list[tuple[Question, Answer]]]:
        """The questions of each call with their answers, prompts of like length together.

        A call that is too long is answered `FAILED`; nothing is cut.
        """
        calls = by_call(questions)
        size = max(1, self._window // 16)
        while drawn := list(itertools.islice(calls, size)):
            waiting: dict[tuple[int, int], list[Asked]] = {}
            for call in drawn:
                try:
                    (ids,) = render_prompts(self._tokenizer, [self._prompt.ask(call[0])])
                except InputError as error:
                    failed = Answer(Status.FAILED, evidence={"words": str(error)}, problem=NOT_ASKED)
                    yield [(question, failed) for question in call]
                    continue
                ids, rules = np.asarray(ids, np.int32), len(call[0].call)
                bucket = next((b for b in self._buckets if b >= len(ids) - self._shared(ids)), None)
                if bucket is None or len(ids) + self._written(rules) > self._cfg.longest_path:
                    yield [(question, Answer(Status.FAILED, problem=TOO_LONG)) for question in call]
                    continue
                waiting.setdefault((bucket, rules), []).append((call, ids))
            for (bucket, rules), asked in waiting.items():
                rows = self._per_step(bucket, rules)
                for start in range(0, len(asked), rows):
                    yield from self._step(asked[start : start + rows], bucket, rules, rows)

    def _shared(self, ids: np.ndarray) -> int:
        return min(agree(ids, self._root_tokens), len(ids) - 1)

    def _per_step(self, bucket: int, rules: int) -> int:
        devices = 1 if self._rows is None else self._rows.mesh.size
        return max(1, self._budget // (bucket + self._written(rules)) // devices) * devices

    def _written(self, rules: int) -> int:
        """Tokens of an answer about so many rules, at most."""
        template = self._template(rules)
        return rules * (template.before.shape[1] + template.values.shape[1])

    def _step(self, asked: list[Asked], bucket: int, rules: int, rows: int) -> Iterator[list[tuple[Question, Answer]]]:
        tokens, length, root = np.zeros((rows, bucket), np.int32), np.ones(rows, np.int32), np.zeros(rows, np.int32)
        for c, (_, ids) in enumerate(asked):
            root[c] = self._shared(ids)
            length[c] = len(ids) - root[c]
            tokens[c, : length[c]] = ids[root[c] :]
        laid = PromptRows(tokens, length, root)
        if self._rows is not None:
            laid = jax.device_put(laid, self._rows)
        with self._within():
            made = self._compute(self._params, self._head, self._root, laid, self._template(rules))
        logprobs = np.asarray(made, np.float64)
        for c, (call, _) in enumerate(asked):
            place = {rule.name: i for i, rule in enumerate(call[0].call)}
            yield [(question, self._answer(logprobs[c, place[question.rule.name]])) for question in call]

    def _answer(self, logprobs: np.ndarray) -> Answer:
        return read_answer(logprobs, self._answers, self._prompt.answers, self._prompt.rate, self._most_other)

    def _template(self, rules: int) -> Template:
        """The JSON object around so many answers."""
        if rules not in self._templates:
            self._templates[rules] = self._make_template(rules)
        return self._templates[rules]

    def _make_template(self, rules: int) -> Template:
        names = [letter(i) for i in range(rules)]
        before = [self._ids(f'{{"{names[0]}": "'), *(self._ids(f'", "{name}": "') for name in names[1:])]
        values = [self._ids(answer) for answer in self._prompt.answers]
        right, right_mask = _padded(before, left=True)
        left, left_mask = _padded(values, left=False)
        return Template(right, right_mask, left, left_mask, self._answers.ids, self._answers.answer.astype(np.int32))

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]


def _padded(rows: Sequence[Sequence[int]], *, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Token ids as one array, padded on the left or the right, and which of them are tokens."""
    width = max(map(len, rows))
    tokens, mask = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width), bool)
    for i, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        tokens[i, at], mask[i, at] = row, True
    return tokens, mask


@functools.lru_cache(maxsize=4)
def _program(cfg: DecoderConfig, dtype: Any) -> Callable:
    """Parameters, LM head, root, rows and template to log-probabilities ``[C, K, I]``, fp32."""
    return jax.jit(functools.partial(answer_list, cfg, dtype=dtype))
