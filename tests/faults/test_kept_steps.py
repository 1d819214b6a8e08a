"""Which steps are kept, and which posterior is the best, whatever its scores, across resumes."""

import math
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from vigamma.inference.coordinate_ascent import AscentState, CoordinateAscent
from vigamma.storage.checkpointing import Checkpointer
from vigamma.storage.workdir import locked

NUM_NEWEST = 3

scores = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, -1.5, 1e38, 2e-38]),
    st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=False, width=32),
    st.integers(-3, 3).map(float),  # which are often equal
)


@st.composite
def streams(draw) -> tuple[list[tuple[int, float]], set[int]]:
    """(step, score) of up to eight steps, and the indices before which the run starts again."""
    gaps = draw(st.lists(st.integers(1, 120), min_size=1, max_size=8))
    found = [draw(scores) for _ in gaps]
    resumes = draw(st.sets(st.integers(1, len(gaps)), max_size=3))
    return list(zip(np.cumsum(gaps).tolist(), found, strict=True)), resumes


def initial() -> AscentState:
    q = {"x": jnp.zeros(2, jnp.float32)}
    return CoordinateAscent().init({"prior": jnp.float32(0)}, q, validates=True)


def after(state: AscentState, step: int, score: float) -> AscentState:
    """The state after a step that was looked at; its posterior says which one it is."""
    q = {"x": jnp.full(2, step, jnp.float32)}
    state = state.replace(step=jnp.uint32(step), q=q, elbo=jnp.float32(-step))
    return CoordinateAscent().after_validation(state, score)


def best_of(stream: list[tuple[int, float]]) -> int:
    """The first step with the highest score above -inf, among all so far; 0 if there is none."""
    known = [(score, -step) for step, score in stream if score > -math.inf]
    return -max(known)[1] if known else 0


def steps_of(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in workdir.iterdir() if path.name.isdecimal())


def check(stream: list[tuple[int, float]], resumes: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        checkpoints, state = resumed(workdir, [])
        for index, (step, score) in enumerate(stream):
            if index in resumes:
                checkpoints, state = resumed(workdir, stream[:index])
            state = after(state, step, score)
            with locked(workdir):
                checkpoints.save(step, state)
            assert steps_of(workdir) == [s for s, _ in stream[: index + 1]][-NUM_NEWEST:]
        resumed(workdir, stream)


def resumed(workdir: Path, saved: list[tuple[int, float]]) -> tuple[Checkpointer, AscentState]:
    """What goes on from the newest step, the best so far with it."""
    with locked(workdir):
        checkpoints = Checkpointer(workdir, {"seed": 0})
        restored = checkpoints.restore(initial(), pytest.fail)
    if not saved:
        assert restored is None
        return checkpoints, initial()
    newest, best = saved[-1][0], best_of(saved)
    assert checkpoints.last_saved == int(restored.step) == newest
    np.testing.assert_array_equal(restored.q["x"], np.float32([newest, newest]))
    assert int(restored.best.step) == best
    np.testing.assert_array_equal(restored.best.q["x"], np.float32([best, best]))
    if best:
        assert float(restored.best.log_likelihood) == np.float32(dict(saved)[best])
        assert float(restored.best.elbo) == -best
    return checkpoints, restored


RANDOM = {
    "deadline": None,
    "database": None,
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@pytest.mark.slow
@settings(max_examples=8, derandomize=True, **RANDOM)
@example(([(1, 1e38), (2, 1e38)], set()))  # float32 rounds it down: the second is no better
@given(streams())
def test_the_best_and_the_newest_steps_are_kept(stream):
    check(*stream)


@pytest.mark.faults
@settings(max_examples=1000, **RANDOM)
@given(streams())
def test_the_best_and_the_newest_steps_are_kept_in_many_streams(stream):
    check(*stream)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stream", "best"),
    [
        ([1.0, 5.0, 2.0, 3.0, 4.0, 1.0], 2),
        ([math.nan] * 6, 0),
        ([math.nan, 2.0, 1.0, -math.inf, 1.0, 3.0], 6),
        ([-math.inf] * 5, 0),
        ([-1e38, math.nan, math.nan, math.nan, math.nan], 1),
        ([2.0, 2.0, 2.0, 2.0, 2.0, 2.0], 1),  # as good as the best is not better
    ],
)
def test_plain_cases(stream, best):
    numbered = list(enumerate(stream, 1))
    assert best_of(numbered) == best
    check(numbered, {2, 3, 5})
