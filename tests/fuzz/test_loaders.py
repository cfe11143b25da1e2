"""Every loader, given files that are damaged in type, shape and size, succeeds or says in one line what is wrong.

Not in a traceback, nor a hang, nor a GiB of memory, nor a process, nor a call of a network. `make fuzz` takes 10,000.
"""

import random

import pytest

from tests.fuzz.bad_targets import EXPECTED
from tests.fuzz.campaign import Worker, campaign, failures, mutants, table
from tests.fuzz.target import damage
from tests.fuzz.targets import TARGETS


def run(count: int, workers: int, first: int = 0) -> list[dict]:
    weights = {name: target.weight for name, target in TARGETS.items()}
    results = campaign(list(mutants(weights, count, first)), workers)
    assert len(results) == count
    bad = failures(results)
    assert not bad, "\n".join([table(results), *bad])
    return results


def test_hundreds_of_mutants_end_well():
    results = run(220, workers=1)
    assert {result["target"] for result in results} == set(TARGETS)
    outcomes = [result["outcome"] for result in results]
    assert min(outcomes.count("success"), outcomes.count("one line")) > 0.2 * len(outcomes)


@pytest.mark.slow
def test_ten_thousand_mutants_end_well():
    run(10_000, workers=2)


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
