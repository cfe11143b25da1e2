"""A trained multi-head reward model as rater: its heads' scores are the ratings, and are called model-rated."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator

from encore_jax.judge.question import Answer, Identity, Question, Status
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.sequences import fits, token_sequences

TOO_LONG = "too long for the reward model"
NO_HEAD = "no head for this rule"


class ModelJudge:
    """Rates with the heads of a reward model; a `Judge`.

    A head's score is oriented (higher is better); the rating is given back as the rule's direction says, as any judge
    would give it, on the scale from 0 to 1 that heads are trained on. What lies outside is cut off at its end, and the
    raw score is evidence.

    Args:
      model: the reward model; asked about rules that it has no head for, it fails.
      name: what it is called in records.
      window: questions drawn at once.
    """

    def __init__(self, model: RewardModel, name: str, *, window: int = 4096):
        self._model, self._window = model, window
        passport = json.dumps(model.passport.to_dict(), sort_keys=True)
        heads = model.kernel.tobytes() + model.bias.tobytes()
        digest = hashlib.sha256(passport.encode() + heads).hexdigest()
        self.identity = Identity(
            kind="model",
            model=f"{name}@{digest[:16]}",
            decoding={"read": "heads"},
            label="model-rated",
            scale=(0.0, 1.0),
        )

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Answer]]:
        """Yields every question with its answer; each response goes through the model once, whatever the rules.

        Raises:
          InputError: a score is not finite: the model is broken, and would be for every further question.
        """
        questions = iter(questions)
        while drawn := list(itertools.islice(questions, self._window)):
            groups: dict[tuple, list[Question]] = {}
            for question in drawn:
                groups.setdefault((question.prompt, question.response), []).append(question)
            texts = list(groups)
            tokenizer, refused = self._model.tokenizer, {}
            sequences = token_sequences(tokenizer, texts, self._model.passport.pooling, tokenizer.pad_token_id, refused)
            problems = {texts[i]: problem for i, problem in refused.items()}
            longest = max(self._model.buckets)
            kept = [text for text, sequence in zip(texts, sequences, strict=True) if fits(sequence, longest)]
            scored = self._model.scores([prompt for prompt, _ in kept], [[response] for _, response in kept])
            scores = {text: row[0] for text, row in zip(kept, scored, strict=True)}
            for text, asked in groups.items():
                for question in asked:
                    yield question, self._answer(question, scores.get(text), problems.get(text, TOO_LONG))

    def _answer(self, question: Question, scores, problem: str) -> Answer:
        if scores is None:
            return Answer(Status.FAILED, problem=problem)
        if question.rule.name not in self._model.rules:
            return Answer(Status.FAILED, problem=NO_HEAD)
        score = float(scores[self._model.rules.index(question.rule.name)])
        oriented = min(max(score, 0.0), 1.0)
        rating = oriented if question.rule.direction == 1 else 1.0 - oriented
        return Answer(Status.OK, rating=rating, evidence={"score": score})
