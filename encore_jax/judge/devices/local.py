"""The judge on this machine's devices: K ratings for one conversation plus K short questions.

Next-token log-probabilities of the offered answers, from this project's own backbone with its LM head. Instructions are
run once for all conversations, each conversation once for all rules (`model.branch_rows`, `model.branching`); the
numbers are those of asking every question alone.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from encore_jax.data.comparison import Message
from encore_jax.data.distinct import digest
from encore_jax.errors import InputError
from encore_jax.judge.devices.followers import send_step
from encore_jax.judge.prompts import Wording
from encore_jax.judge.question import NOT_ASKED, Answer, Identity, Question, Status
from encore_jax.judge.reading import MOST_OTHER, answer_tokens, read_answer
from encore_jax.model.branch_rows import (
    BranchTree,
    Shape,
    Steps,
    agree,
    full_steps,
    last_steps,
    lay_out,
    make_tree,
    shape_of,
)
from encore_jax.model.branching import BranchRows, Root, run_branches, run_root
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import lm_logits
from encore_jax.text.chat_template import takes_system_role
from encore_jax.text.rendering import render_prompts
from encore_jax.text.tokenizer import template_digest

BUCKETS = (*range(64, 513, 64), *range(640, 1025, 128), *range(1280, 2049, 256))
TOO_LONG = "too long for the local judge"


class _Asked(NamedTuple):
    """Open questions by number; and of a question's number those of the same tokens, which wait for its answer."""

    questions: dict[int, Question]
    same: dict[int, list[int]]

    def wait_for(self, number: int, other: int) -> bool:
        """Lets `other` have the answer to `number`, if that is still open."""
        if number not in self.questions:
            return False
        self.same.setdefault(number, []).append(other)
        return True

    def answered(self, number: int, answer: Answer) -> Iterator[tuple[Question, Answer]]:
        """The question, and all that waited for its answer."""
        for each in (number, *self.same.pop(number, ())):
            yield self.questions.pop(each), answer


def local_identity(
    model: str, prompt: Wording, tokenizer, tokens: Iterable[int], dtype, most_other: float, read: str, **more
) -> Identity:
    """What a local judge's answers are kept under.

    Args:
      model, prompt, tokenizer: who is asked, and in which words.
      tokens: ids of the offered answers.
      dtype, most_other: how they are computed, and when an answer counts as none.
      read: what is read of them.
      **more: what else answers depend on.
    """
    decoding = {
        "read": read,
        "dtype": jnp.dtype(dtype).name,
        "template": template_digest(tokenizer),
        "tokens": [int(i) for i in tokens],
        "most_other": most_other,
    }
    return Identity(kind="local", model=model, prompt=prompt.digest, decoding=decoding | more, scale=prompt.scale)


class LocalJudge:
    """Rates with a decoder on this machine's devices; a `Judge`.

    Where the chat template has no system role, instructions go into the user's turn (`Wording.in_user_turn`).

    Args:
      cfg, params, tokenizer: the model; parameters where they shall stay (on a mesh, if `rows` says so).
      prompt: a prompt with answers, of ratings or of verdicts on pairs.
      model: what the model is called in records, best with a hash of its files.
      lm_head: of a model that does not tie it to the embedding.
      dtype: compute type.
      buckets: lengths in tokens to which conversations (without instructions and rules) are padded.
      tokens_per_step: about how many tokens go through the model at once, on all devices together; accelerators want
        far more than the default, which is as fast as any on a CPU.
      window: questions drawn at once; more of them fill the steps better, and come back later.
      rows: the sharding of rows of a step, ``PartitionSpec(axes of the batch)`` on a mesh. Over devices of several
        processes, process 0 asks and all others `encore_jax.judge.devices.followers.follow` it.
      most_other: probability on none of the offered answers above which an answer is unparsable.
      within: what is active while programs run, e.g. the mesh (`encore_jax.parallel.mesh.activate`).

    Raises:
      InputError: a prompt without answers, answers that the tokenizer cannot tell apart, or no LM head.
    """

    def __init__(
        self,
        cfg: DecoderConfig,
        params: Any,
        tokenizer: Any,
        prompt: Wording,
        *,
        model: str,
        lm_head: jax.Array | None = None,
        dtype: Any = jnp.float32,
        buckets: Sequence[int] = BUCKETS,
        tokens_per_step: int = 1024,
        window: int = 4096,
        rows: NamedSharding | None = None,
        most_other: float = MOST_OTHER,
        within: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    ):
        if not prompt.answers:
            raise InputError(
                f"prompt {prompt.name!r} asks for a text, and a text takes several tokens",
                where="local judge",
                fix="use a prompt with answers, such as yes_no_irrelevant.1 or pair_letter.1, or a server",
            )
        if not takes_system_role(tokenizer):
            prompt = prompt.in_user_turn()
        self._cfg, self._params, self._tokenizer, self._prompt = cfg, params, tokenizer, prompt
        self._buckets, self._budget, self._window = tuple(buckets), tokens_per_step, window
        self._answers = answer_tokens(tokenizer, prompt.answers)
        self._rows, self._within, self._most_other = rows, within, most_other
        self._followed = rows is not None and not rows.is_fully_addressable
        self._compute = judge_program(cfg, dtype, rows)
        self._head = params["embed"] if lm_head is None and cfg.tie_embeddings else lm_head
        if self._head is None:
            raise InputError("the model has no LM head", where="local judge", fix="load it with lm_head=True")
        self._root_tokens = root_tokens(tokenizer, prompt)
        with within():
            self._root = _root_program(cfg, dtype, rows)(params, self._root_tokens)
        self.identity = local_identity(model, prompt, tokenizer, self._answers.ids, dtype, most_other, "next token")

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Answer]]:
        """Yields every question with its answer, conversations of like length together.

        Questions of equal tokens, such as both orders of a pair of equal responses, are run once if they are drawn
        together.

        A conversation that is too long is answered `FAILED`; nothing is cut. Evidence holds the log-probability of
        every token that counts, and as `other` how much probability all tokens have that do not.
        """
        waiting: dict[Shape, list[BranchTree]] = {}
        asked = _Asked({}, {})
        numbers = itertools.count()
        questions = iter(questions)
        while drawn := {next(numbers): q for q in itertools.islice(questions, self._window)}:
            asked.questions.update(drawn)
            trees, refused = self._trees(drawn, asked)
            for number, why in refused.items():
                yield from asked.answered(number, Answer(Status.FAILED, evidence={"words": why}, problem=NOT_ASKED))
            for tree in trees:
                shape = shape_of(tree, self._buckets)
                if shape is None or self._longest(tree) > self._cfg.longest_path:
                    for key in tree.keys:
                        yield from asked.answered(key, Answer(Status.FAILED, problem=TOO_LONG))
                else:
                    waiting.setdefault(shape, []).append(tree)
            yield from self._run(full_steps(waiting, self._per_step), asked)
        yield from self._run(last_steps(waiting, self._per_step), asked)

    def _longest(self, tree: BranchTree) -> int:
        return tree.root + len(tree.prefix) + max(map(len, tree.branches))

    def _trees(self, drawn: dict[int, Question], asked: _Asked) -> tuple[list[BranchTree], dict[int, str]]:
        """Questions by conversation (`drawn` by number), and why the template refuses others.

        A question of the same tokens as another one waits for its answer.
        """
        first: dict[bytes, int] = {}
        groups: dict[tuple[str, int], list[int]] = {}
        for number, q in drawn.items():
            groups.setdefault(q.key[:2], []).append(number)
        trees, refused = [], {}
        for numbers in groups.values():
            chats = [self._prompt.ask(drawn[i]) for i in numbers]
            try:
                sequences = render_prompts(self._tokenizer, chats)
            except InputError as error:
                refused |= dict.fromkeys(numbers, str(error))
                continue
            new = []
            for number, sequence in zip(numbers, sequences, strict=True):
                same = first.setdefault(digest(np.asarray(sequence, np.int32)), number)
                if same == number or not asked.wait_for(same, number):
                    new.append((sequence, number))
            if new:
                trees.append(make_tree(*zip(*new, strict=True), self._root_tokens))
        return trees, refused

    def _per_step(self, shape: Shape) -> int:
        """C, rows of a step: as many as the budget allows, evenly over the devices."""
        devices = 1
        if self._rows is not None:
            axes = self._rows.spec[0]
            devices = int(np.prod([self._rows.mesh.shape[a] for a in ((axes,) if isinstance(axes, str) else axes)]))
        return rows_per_step(self._budget, shape, devices)

    def _run(self, steps: Steps, asked: _Asked) -> Iterator[tuple[Question, Answer]]:
        """Runs steps, each one dispatched before the previous one's answers are read."""
        pending = None
        for trees, shape in steps:
            rows, keys = lay_out(trees, shape, self._per_step(shape))
            if self._followed:
                send_step(rows, shape)
            made = self.step(rows, shape)
            if pending is not None:
                yield from self._read(*pending, asked)
            pending = made, keys
        if pending is not None:
            yield from self._read(*pending, asked)

    def step(self, rows: BranchRows, shape: Shape) -> jax.Array:
        """Starts the program on laid-out rows: log-probabilities ``[C, E, T]`` of the answers' tokens at the ends."""
        with self._within():
            placed, ids = self._place(rows), self._answers.ids
            return self._compute(self._params, self._head, self._root, placed, ids, shape.prefix, shape.longest)

    def _place(self, rows: BranchRows) -> BranchRows:
        if self._rows is None:
            return rows
        return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, self._rows, lambda at: x[at]), rows)

    def _read(self, made, keys: np.ndarray, asked: _Asked) -> Iterator[tuple[Question, Answer]]:
        logprobs = np.asarray(made, np.float64)
        for c, e in zip(*np.nonzero(keys >= 0), strict=True):
            yield from asked.answered(int(keys[c, e]), self._answer(logprobs[c, e]))

    def _answer(self, logprobs: np.ndarray) -> Answer:
        return read_answer(logprobs, self._answers, self._prompt.answers, self._prompt.rate, self._most_other)


def rows_per_step(tokens_per_step: int, shape: Shape, devices: int) -> int:
    """C, rows of a step: as many as the tokens allow, evenly over the devices that share rows."""
    return max(1, tokens_per_step // shape.tokens // devices) * devices


def root_tokens(tokenizer, prompt: Wording) -> np.ndarray:
    """What questions begin with whatever the conversation is: the instructions. May be empty."""
    firsts = (("user", "a"), ("system", "b"), ("assistant", "."), ("user", "(1"))
    chats = [prompt.ask(prompt.example([Message(*first), Message("user", "c")], "d")) for first in firsts]
    shown = [np.asarray(ids, np.int32) for ids in render_prompts(tokenizer, chats)]
    return shown[0][: min(agree(shown[0], other) for other in shown[1:])]


@functools.lru_cache(maxsize=4)
def judge_program(cfg: DecoderConfig, dtype: Any, rows: NamedSharding | None) -> Callable:
    """Parameters, LM head, root, rows and token ids ``[T]`` to log-probabilities ``[C, E, T]``, fp32."""

    def compute(params, head, root: Root, rows: BranchRows, ids, prefix: int, longest: int):
        hidden = run_branches(cfg, params, root, rows, prefix, longest, dtype)
        logits = lm_logits(cfg, params, hidden, head)
        return jnp.take(logits, ids, axis=-1) - jax.nn.logsumexp(logits, axis=-1, keepdims=True)

    return jax.jit(compute, static_argnums=(5, 6), out_shardings=_everywhere(rows))


@functools.lru_cache(maxsize=4)
def _root_program(cfg: DecoderConfig, dtype: Any, rows: NamedSharding | None) -> Callable:
    return jax.jit(functools.partial(run_root, cfg, dtype=dtype), out_shardings=_everywhere(rows))


def _everywhere(rows: NamedSharding | None) -> NamedSharding | None:
    return None if rows is None else NamedSharding(rows.mesh, PartitionSpec())
