"""What a runner remembers of failures: what is tried next, and when."""

from __future__ import annotations

from service.project.backlog import LIMIT_BATCHES
from service.project.setbacks import ATTEMPTS, LONGEST_REST, Setbacks, rest


def test_a_chunk_is_halved_until_one_batch_is_left_which_is_parked_in_the_end() -> None:
    setbacks = Setbacks()
    size, tried, now = 100, [], 0.0
    while not setbacks.failed(1, size, now):
        tried.append(size)
        size = min(size, setbacks.limit_batches(1))
        now += 10
    assert tried == [100, 50, 25, 12, 6, 3, *[1] * (ATTEMPTS - 1)]
    assert setbacks.resting(now) == []


def test_a_single_batch_rests_between_attempts_and_only_its_site_does() -> None:
    setbacks = Setbacks()
    setbacks.failed(1, 1, now=0.0)
    assert setbacks.resting(0.1) == [1]
    assert setbacks.resting(1.0) == []
    assert setbacks.limit_batches(2) == LIMIT_BATCHES


def test_after_successes_chunks_grow_again() -> None:
    setbacks = Setbacks()
    setbacks.failed(1, 4, now=0.0)
    sizes = []
    while (size := setbacks.limit_batches(1)) < LIMIT_BATCHES:
        sizes.append(size)
        setbacks.succeeded(1)
    assert sizes == [2, 4, 8, 16, 32, 64, 128, 256, 512]


def test_an_interruption_never_parks() -> None:
    setbacks = Setbacks()
    for turn in range(20):
        setbacks.interrupted(1, 1, now=turn)
    assert setbacks.resting(19 + LONGEST_REST - 0.01) == [1]
    assert setbacks.resting(19 + LONGEST_REST) == []
    assert setbacks.limit_batches(1) == 1
    assert not setbacks.failed(1, 1, now=100.0)


def test_rests_grow_to_a_limit() -> None:
    rests = [rest(failures) for failures in (1, 2, 3, 1000)]
    assert rests == [0.2, 0.4, 0.8, LONGEST_REST]
