"""Whatever the batcher's thread runs into, whoever waits for it hears of it; and equal texts have one score."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from encore_jax.reward.scorer import Shape
from encore_jax.serve import batcher as module
from encore_jax.serve.batcher import Batcher, Closed, NotFinite, ScoringFailed


class Panic(BaseException):
    """As the tokenizers' own: no `Exception`."""


KINDS = (MemoryError, KeyboardInterrupt, SystemExit, StopIteration, RecursionError, GeneratorExit, Panic, OSError)
PLACES = ("next_batch", "dispatch", "collect", "_take", "_answer_known", "_answer", "_run")


class Sums:
    """Stands for a scorer: a text's values are the sum of its tokens, plus how often the model has been run."""

    def __init__(self, noise: float = 0.0):
        self.shapes, self.columns, self.runs, self.noise = (Shape(1, 64), Shape(4, 64)), 2, [], noise
        self.bad = set()

    def dispatch(self, rows, shape):
        branches = [(key, tree, branch) for trees in rows for tree in trees for branch, key in enumerate(tree.keys)]
        self.runs.append(len(branches))
        keys = np.array([key for key, _, _ in branches])
        values = np.array([[sum(tree.prefix) + sum(tree.branches[branch])] * 2 for _, tree, branch in branches])
        values = values.astype(np.float32) + self.noise * len(self.runs)
        values[[int(value[0]) in self.bad for value in values]] = np.nan
        return SimpleNamespace(collect=lambda: (keys, values))


def texts(*numbers: int) -> list[np.ndarray]:
    return [np.array([number, 1, 2], np.int32) for number in numbers]


def wait(job):
    return job.answer.result(timeout=20)[:, 0].tolist()


@pytest.fixture
def scorer():
    return Sums()


@pytest.fixture
def batcher(scorer):
    made = Batcher(scorer, 10_000)
    made.start()
    yield made
    made.close(20)
    assert not made._thread.is_alive()


def raising(kind, times: list):
    def fail(*_, **__):
        if times:
            times.pop()
            raise kind("injected")
        pytest.fail("called again")

    return fail


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_raised_reaches_who_waits_and_the_next_ones_are_scored(batcher, scorer, monkeypatch, kind, place):
    with monkeypatch.context() as broken:
        if place == "next_batch":
            broken.setattr(module, place, raising(kind, [1]))
        elif place == "collect":
            broken.setattr(scorer, "dispatch", lambda *_: SimpleNamespace(collect=raising(kind, [1])))
        elif place == "dispatch":
            broken.setattr(scorer, place, raising(kind, [1]))
        else:  # fails once, in the batcher's thread
            right, failed = getattr(batcher, place), []

            def once(*arguments):
                if threading.current_thread() is batcher._thread and not failed:
                    failed.append(True)
                    raise kind("injected")
                return right(*arguments)

            broken.setattr(batcher, place, once)
        with pytest.raises(ScoringFailed) as caught:
            wait(batcher.submit(texts(1, 2), ["a", "b"]))
        assert isinstance(caught.value.__cause__, kind)
    assert batcher.alive and batcher.waiting_tokens == 0 and not batcher._open
    assert wait(batcher.submit(texts(3), ["c"])) == [6]


def test_a_report_that_fails_costs_no_answer(scorer):
    batcher = Batcher(scorer, 10_000, raising(ValueError, [1]))
    batcher.start()
    assert wait(batcher.submit(texts(1), ["a"])) == [4]
    batcher.close(20)


@pytest.mark.parametrize("kind", KINDS)
def test_if_not_even_failing_works_everybody_is_told_and_nobody_waits(scorer, monkeypatch, kind):
    batcher = Batcher(scorer, 10_000)
    started, go = threading.Event(), threading.Event()

    def dispatch(*_):
        started.set()
        assert go.wait(20)
        raise MemoryError

    monkeypatch.setattr(scorer, "dispatch", dispatch)
    monkeypatch.setattr(batcher, "_fail", raising(kind, [1]))
    batcher.start()
    first = batcher.submit(texts(1), ["a"])
    assert started.wait(20)
    second = batcher.submit(texts(2), ["b"])
    go.set()
    for job in (first, second):
        with pytest.raises(ScoringFailed, match="stopped"):
            wait(job)
    with pytest.raises(ScoringFailed, match="stopped"):
        batcher.submit(texts(3), ["c"])
    assert not batcher.alive and batcher.waiting_tokens == 0
    batcher.close(20)


def test_scores_that_are_no_numbers_fail_their_request_alone(batcher, scorer, monkeypatch):
    scorer.bad = {5}
    with pytest.raises(NotFinite, match="text 1"):
        wait(batcher.submit(texts(1, 2), ["a", "b"]))
    assert wait(batcher.submit(texts(1, 3), ["a", "c"])) == [4, 6]
    with pytest.raises(NotFinite):
        wait(batcher.submit(texts(2), ["b"]))  # nor are they remembered


def test_equal_texts_are_run_once_and_have_one_score():
    scorer = Sums(noise=0.25)
    batcher = Batcher(scorer, 10_000)
    jobs = [batcher.submit(texts(1, 1, 2), ["a", "b", "a"]), batcher.submit(texts(2, 1), ["c", "d"])]
    batcher.start()
    got = [wait(job) for job in jobs]
    assert scorer.runs == [2]  # two different ones among five
    assert got == [[4.25, 4.25, 5.25], [5.25, 4.25]]
    later = [wait(batcher.submit(texts(n), ["e"])) for n in (3, 1, 2, 3)]
    assert scorer.runs == [2, 1] and later == [[6.5], [4.25], [5.25], [6.5]]
    batcher.close(20)


@pytest.mark.parametrize("remember", [0, 2])
def test_no_more_texts_are_remembered_than_asked(remember):
    scorer = Sums(noise=1)
    batcher = Batcher(scorer, 10_000, remember=remember)
    batcher.start()
    for number in (1, 2, 3, 3, 1):
        wait(batcher.submit(texts(number), ["a"]))
    assert len(batcher._known) == remember
    assert len(scorer.runs) == (5 if remember == 0 else 4)  # the last 3 is known, and 1 is forgotten
    batcher.close(20)


def test_what_is_dropped_makes_room_and_its_twin_is_still_answered(scorer):
    batcher = Batcher(scorer, 10_000)
    dropped, kept = (batcher.submit(texts(7), ["a"]) for _ in range(2))
    batcher.drop(dropped)
    assert batcher.waiting_tokens == 3
    batcher.start()
    assert wait(kept) == [10] and dropped.answer.cancelled()
    batcher.close(20)
    with pytest.raises(Closed):
        batcher.submit(texts(1), ["a"])
