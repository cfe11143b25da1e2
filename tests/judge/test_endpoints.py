"""Which endpoint is asked when, how fast, and how long is waited between tries: on a clock of the test's own."""

import asyncio
import random

import pytest

from encore_jax.errors import InputError
from encore_jax.http import endpoints as module
from encore_jax.http.client import FATAL, _worth_a_retry, backoff, is_out_of_quota
from encore_jax.http.endpoints import DOWN_AFTER, Endpoints, RateLimit
from encore_jax.http.settings import RetrySettings

URLS = ["http://a:1", "http://b:2", "http://c:3"]


@pytest.fixture
def clock(monkeypatch):
    """Time passes where somebody sleeps or waits, and nowhere else; `slept` lists for how long."""

    class Clock:
        now, slept = 100.0, []

    time, rest = Clock(), asyncio.sleep

    async def sleep(seconds):
        time.slept.append(seconds)
        time.now += seconds
        await rest(0)

    async def wait_for(waiting, seconds):
        waiting.close()
        await sleep(seconds)
        raise TimeoutError

    time.slept = []
    monkeypatch.setattr(module.time, "monotonic", lambda: time.now)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    monkeypatch.setattr(module.asyncio, "wait_for", wait_for)
    return time


def make(urls=URLS, well=lambda: True, patience=60.0, first=10.0):
    asked = []

    async def probe(endpoint):
        asked.append(endpoint.url)
        return well()

    made = Endpoints(urls, probe, patience, first)
    made.asked = asked
    return made


def test_the_one_with_the_fewest_requests_is_taken_and_the_one_that_failed_only_if_there_is_no_other(clock):
    async def main():
        found = make()
        a, b, c = found.all
        taken = [await found.acquire() for _ in range(6)]
        assert {e.url: taken.count(e) for e in found.all} == dict.fromkeys(URLS, 2)
        assert [e.in_flight for e in found.all] == [2, 2, 2]
        found.release(b)
        assert b.in_flight == 1 and await found.acquire() is b
        found.release(c)
        found.release(c)
        assert await found.acquire(avoid=c) is not c
        alone = make(URLS[:1])
        assert await alone.acquire(avoid=alone.all[0]) is alone.all[0]
        assert a.in_flight == 3

    asyncio.run(main())


def test_an_endpoint_that_asked_for_rest_is_left_alone_so_long_and_that_is_not_being_down(clock):
    async def main():
        found = make(URLS[:1], patience=2.0, first=2.0)
        [one] = found.all
        found.rest(one, 30.0)
        found.rest(one, 5.0)  # the longer wish counts
        assert one.rests_until == 130.0 and not found.usable(one)
        assert await found.acquire() is one and clock.now >= 130.0
        assert found.usable(one) and not one.down

        found.rest(one, 30.0)
        since, slept = clock.now, len(clock.slept)
        waiting = asyncio.ensure_future(found.acquire())
        while clock.now < since + 10:
            await asyncio.sleep(0)
        one.down, down_at = True, clock.now
        with pytest.raises(TimeoutError):
            await waiting
        assert clock.now - down_at >= 2.0 and slept < len(clock.slept), "patience begins when it is down"

    asyncio.run(main())


def test_down_after_so_many_failures_in_a_row_and_up_once_it_is_well(clock):
    async def main():
        well = iter([False, False, True])
        found = make(URLS[:1], lambda: next(well))
        [one] = found.all
        for failed in [True] * (DOWN_AFTER - 1) + [False] + [True] * (DOWN_AFTER - 1):
            await found.acquire()
            found.release(one, failed=failed)
            assert not one.down
        assert one.failures == DOWN_AFTER - 1 and one.in_flight == 0
        await found.acquire()
        found.release(one, failed=True)
        assert one.down and not found.usable(one)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not one.down and len(found.asked) == 3
        assert [s for s in clock.slept if s] == [1.0, 2.0, 4.0], "twice as long after each"
        assert (one.failures, one.downs) == (DOWN_AFTER - 1, 1)
        await found.acquire()
        found.release(one, failed=True)
        assert one.down, "one more failure and it is down again"
        await found.close()

    asyncio.run(main())


@pytest.mark.parametrize(("heard", "seconds"), [(False, 10.0), (True, 60.0)])
def test_where_all_are_down_patience_ends(heard, seconds, clock):
    """Before the first answer of any it is the shorter one."""

    async def main():
        found = make(URLS[:2], lambda: False)
        for endpoint in found.all:
            endpoint.down = True
        found.all[1].heard = heard
        assert found.patience == seconds
        with pytest.raises(TimeoutError):
            await found.acquire()
        assert seconds < clock.now - 100 <= 1.5 * seconds

    asyncio.run(main())


def test_requests_are_evenly_spaced_and_never_bunched_after_a_pause(clock):
    async def main():
        limit, times = RateLimit(4.0), []
        for pause in (0, 0, 0, 10.0, 0, 0.1, 0):
            clock.now += pause
            await limit.wait()
            times.append(clock.now - 100)
        assert times == pytest.approx([0, 0.25, 0.5, 10.5, 10.75, 11.0, 11.25])
        before = clock.now
        for _ in range(5):
            await RateLimit(0.0).wait()
        assert clock.now == before

    asyncio.run(main())


class Highest(random.Random):
    def uniform(self, a, b):
        assert a == 0
        return b


def test_waits_double_up_to_the_longest():
    settings = RetrySettings(first_wait=0.5, longest_wait=30.0)
    waits = [backoff(tried, settings, Highest()) for tried in (0, 1, 2, 3, 6, 7, 8, 10_000)]
    assert waits == [0.5, 0.5, 1.0, 2.0, 16.0, 30.0, 30.0, 30.0]
    drawn = [backoff(3, settings, random.Random(seed)) for seed in range(200)]
    assert 0 <= min(drawn) < 0.2 and 1.8 < max(drawn) <= 2.0


def test_which_statuses_are_asked_again_which_not_and_which_end_the_run():
    again = {status for status in range(300, 600) if _worth_a_retry(f"HTTP {status}")}
    assert again == {408, 409, 425, 429, *range(500, 600)}
    assert set(FATAL) == {300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 407, 410, 451}
    assert not again & set(FATAL) and _worth_a_retry("no reply") and _worth_a_retry("body is not JSON")
    for body in (b'{"code": "insufficient_quota"}', b'{"error": {"type":"billing_hard_limit_reached"}}'):
        assert is_out_of_quota(429, body) and not is_out_of_quota(400, body)
    assert not is_out_of_quota(429, b"insufficient_quota") and not is_out_of_quota(429, b"")


def test_no_address_is_refused():
    with pytest.raises(InputError, match="urls: there is none"):
        make([])
