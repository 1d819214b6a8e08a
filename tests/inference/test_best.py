"""When validation counts are looked at."""

import itertools

import pytest

from vigamma.inference.best import next_look


def looks(steps_per_sweep: int, last: int) -> list[int]:
    found, step = [], 0
    while step < last:
        step = next_look(step, steps_per_sweep)
        found.append(step)
    return found


def test_every_early_sweep_is_looked_at_and_then_at_growing_distances():
    found = looks(1, 300)
    assert found[:20] == [*range(1, 17), 18, 20, 22, 24]
    assert all(later <= 9 / 8 * earlier for earlier, later in itertools.pairwise(found[16:]))
    assert len(found) < 45


def test_minibatches_are_looked_at_when_all_rows_have_been_seen():
    found = looks(49, 490)
    assert found[:3] == [49, 55, 61]
    assert len(found) < 25


@pytest.mark.parametrize("steps_per_sweep", [1, 3, 49])
def test_the_looks_do_not_depend_on_where_a_run_was_cut(steps_per_sweep):
    found = looks(steps_per_sweep, 200)
    for step in range(200):
        assert next_look(step, steps_per_sweep) == next(look for look in found if look > step)
