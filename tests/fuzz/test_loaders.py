"""Every loader, given files that are damaged in type, shape and size, succeeds or says in one line what is wrong.

Not in a traceback, nor a hang, nor a GiB of memory, nor a process, nor a call of a network. `make fuzz` takes 10,000.
"""

import random

import pytest

from encore_jax.data import FORMATS
from tests.fuzz import data_targets
from tests.fuzz.bad_targets import EXPECTED
from tests.fuzz.campaign import Worker, campaign, failures, mutants, table
from tests.fuzz.readers import EXCEPTIONS, readers
from tests.fuzz.target import damage
from tests.fuzz.targets import TARGETS

WEIGHTS = {name: target.weight for name, target in TARGETS.items()}


def check(results: list[dict], count: int) -> None:
    assert len(results) == count and {result["target"] for result in results} == set(TARGETS)
    bad = failures(results)
    assert not bad, "\n".join([table(results), *bad])


@pytest.fixture(scope="module")
def small():
    """Two mutants of each target, and the functions that undamaged files enter."""
    functions, count = set(), 2 * sum(WEIGHTS.values())
    return campaign(list(mutants(WEIGHTS, count)), 1, functions=functions), functions


def test_hundreds_of_mutants_end_well(small):
    results, _ = small
    check(results, 2 * sum(WEIGHTS.values()))
    outcomes = [result["outcome"] for result in results]
    assert min(outcomes.count("success"), outcomes.count("one line")) > 0.2 * len(outcomes)


def test_every_function_that_reads_is_fuzzed(small):
    _, entered = small
    excused = set().union(*EXCEPTIONS.values())
    assert readers() - entered == excused, "give a new loader a target; an exception that is none any more goes"


@pytest.mark.slow
def test_ten_thousand_mutants_end_well():
    check(campaign(list(mutants(WEIGHTS, 10_000)), 2), 10_000)


def test_every_format_of_comparisons_is_among_them():
    assert {path.split("/")[0] for path in data_targets.FORMATS.values()} == set(FORMATS)


@pytest.mark.slow
def test_the_fuzzer_notices_what_no_loader_may_do():
    seen = {}
    for seconds, names in (60.0, ["hold slowly"]), (3.0, EXPECTED.keys() - {"hold slowly"}):  # memory may be slow
        worker = Worker("tests.fuzz.bad_targets", most_seconds=seconds, patience=5)
        try:
            for name in names:
                outcomes = (worker.run(name, number)["outcome"] for number in range(20))
                seen[name] = next((outcome for outcome in outcomes if outcome != "success"), "success")
        finally:
            worker.close()
    assert seen == {name: expected for name, (_, expected) in EXPECTED.items()}


def test_a_mutant_is_made_by_its_number_alone(tmp_path):
    made = []
    for attempt in range(2):
        for number in range(20):
            folder = tmp_path / f"{attempt}-{number}"
            folder.mkdir()
            TARGETS["weights"].make(folder)
            how = damage(folder, TARGETS["weights"], random.Random(f"weights {number}"))
            path = folder / "weights.json"
            small = path.is_file() and path.stat().st_size < 1 << 24
            made.append((how, path.read_bytes() if small else None))
    assert made[:20] == made[20:] and len(set(made)) > 15
