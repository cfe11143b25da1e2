"""A served model: from conversations to scores, without HTTP. Tokens in one thread, the model in another."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Sequence

import numpy as np

from encore_jax.data.comparison import prompt_key
from encore_jax.errors import InputError
from encore_jax.model.pooling import pool_index
from encore_jax.reward.scored import Scored
from encore_jax.reward.scorer import Scorer
from encore_jax.serve.batcher import Batcher, NotFinite, ScoringFailed
from encore_jax.serve.dialects import Conversation, Served
from encore_jax.text.rendered import Template, normalize, read_template
from encore_jax.text.rendering import render_noting, warn_of_hidden, whole

NORMALISATION = 4
PIECE = 16
"""So many texts are tokenised before other requests have their turn."""


class TooMany(InputError):
    """More than the server ever takes in one request."""


class Service:
    """Scores conversations for many requests at once.

    Args:
      scorer: the model.
      name: what clients call it.
      max_waiting_tokens: more than so many waiting tokens are refused.
      report: called after every batch.
      remember: number of texts whose values are kept.

    Attributes:
      served: the model as clients see it.
      passport: what its scores depend on.
      batcher: what runs it.
      hidden_texts: how many conversations had messages that the chat template does not print. They are scored all the
        same, as everywhere: templates of reasoning models leave out earlier reasoning on purpose.
    """

    def __init__(
        self, scorer: Scorer, name: str, max_waiting_tokens: int, report=lambda report: None, *, remember: int = 1 << 16
    ):
        model = scorer.model
        weights = None if model.gate is not None else model.weights
        intervals = None if model.calibration is None else model.intervals
        self.served = Served(name, model.rules, weights, intervals, model.passport.mismatch)
        self.passport = model.passport
        self.batcher = Batcher(scorer, max_waiting_tokens, report, remember=remember)
        self._most, self.hidden_texts = max_waiting_tokens, 0
        self._scorer, self._longest, self._pooling = scorer, scorer.longest, model.passport.pooling
        self._tokenizer = model.tokenizer
        self._threads = concurrent.futures.ThreadPoolExecutor(1, "tokenizer")
        # A token stands for so many bytes at most: a text of more than that is too long whatever is in it. Unicode
        # normalisation, where a tokenizer has it, makes text shorter first, by less than this factor.
        self._widest = NORMALISATION * max((len(token.encode()) for token in model.tokenizer.get_vocab()), default=1)
        try:
            self._template: Template | InputError = read_template(model.tokenizer)
        except InputError as error:
            self._template = error

    async def scored(self, texts: Sequence[Conversation], partial: bool) -> tuple[Scored, list[int]]:
        """Scores, weights and lengths in tokens of N conversations; nothing goes on if the caller is cancelled.

        Args:
          texts: the conversations.
          partial: whether one that is too long gets NaN scores, not an error for all.

        Raises:
          InputError: a conversation that cannot be scored.
          TooMany: more tokens than may ever wait.
          NotFinite: the model's scores are no numbers.
          ScoringFailed: something on the way failed that is not the request's fault.
          Busy, Closed: see `Batcher.submit`.
        """
        loop, sequences, groups = asyncio.get_running_loop(), [], []
        for start in range(0, len(texts), PIECE):
            piece = texts[start : start + PIECE]
            tokens = await loop.run_in_executor(self._threads, self._tokens_of, piece, start)
            sequences += [sequence for sequence, _ in tokens]
            groups += [group for _, group in tokens]
        fits = [i for i, sequence in enumerate(sequences) if len(sequence) <= self._longest]
        if len(fits) < len(texts) and not partial:
            self._refuse_long(sequences)
        if sum(len(sequences[i]) for i in fits) > self._most:
            fix = "send fewer texts at a time"
            raise TooMany(f"more than {self._most} tokens in one request", where="body", fix=fix)
        values = np.full((len(texts), self._scorer.columns), np.nan, np.float32)
        if fits:
            job = self.batcher.submit([sequences[i] for i in fits], [groups[i] for i in fits])
            try:
                values[fits] = await asyncio.wrap_future(job.answer)
            except asyncio.CancelledError:
                self.batcher.drop(job)
                raise
        scored = self._scorer.scored(values)
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(scored.rewards)
        for i in fits:
            if not finite[i]:
                raise NotFinite(f"the model's reward of text {i} is not finite")
        return scored, [len(sequence) for sequence in sequences]

    def close(self, timeout: float | None = None) -> None:
        """Finishes what was accepted; does not wait for a tokenizer that nobody waits for any more."""
        self.batcher.close(timeout)
        self._scorer.finish()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _tokens_of(self, texts: Sequence[Conversation], start: int) -> list[tuple[np.ndarray, str]]:
        try:
            return self._tokenized(texts, start)
        except InputError:
            raise
        except BaseException as error:  # a panic of the tokenizer; StopIteration, which no future can hold
            raise ScoringFailed("a text could not be tokenised") from error

    def _tokenized(self, texts: Sequence[Conversation], start: int) -> list[tuple[np.ndarray, str]]:
        """Token ids up to the pooled one, and a key that is equal for texts of one prompt."""
        result = []
        for i, text in enumerate(texts, start=start):
            try:
                result.append(self._one(text))
            except InputError as error:
                raise InputError(error.problem, where=f"text {i}, {error.where}", fix=error.fix) from None
        return result

    def _one(self, text: Conversation) -> tuple[np.ndarray, str]:
        parts = (text,) if isinstance(text, str) else (*(turn.content for turn in text[0]), text[1])
        size = max(-(-sum(len(part.encode()) for part in parts) // self._widest), len(parts) // 2)
        if size > self._longest:
            return np.empty(size, np.int32), ""  # only its length is looked at
        if isinstance(text, str):
            if isinstance(self._template, InputError):
                raise self._template
            prompt, answer = normalize(text, self._template)
            tokens = self._tokenizer(prompt + answer, add_special_tokens=False)["input_ids"]
            group = prompt
        else:
            [(tokens, missing)] = render_noting(self._tokenizer, [whole(*text)], generation=False)
            warn_of_hidden(missing)
            self.hidden_texts += bool(missing)
            group = prompt_key(text[0])
        self._scorer.check(tokens, "conversation")
        end = pool_index(tokens, self._pooling, self._tokenizer.pad_token_id) + 1
        return np.asarray(tokens[:end], np.int32), group

    def _refuse_long(self, sequences: Sequence[np.ndarray]) -> None:
        i = next(i for i, sequence in enumerate(sequences) if len(sequence) > self._longest)
        raise InputError(
            f"{len(sequences[i])} tokens or more, and the model takes {self._longest}",
            where=f"text {i}",
            fix="leave it out; nothing is truncated here",
        )
