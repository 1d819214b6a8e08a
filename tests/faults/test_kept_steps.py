"""Which steps are kept, whatever their scores are, also across resumes."""

import math
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from vigamma.checkpointing import Checkpointer, read_checkpoint
from vigamma.workdir import locked

NUM_NEWEST = 3

scores = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, -1.5, 1e308, 5e-324]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-3, 3).map(float),  # which are often equal
)


@st.composite
def streams(draw) -> tuple[list[tuple[int, float]], set[int]]:
    """(step, score) of up to eight steps, and the indices before which the run starts again."""
    gaps = draw(st.lists(st.integers(1, 120), min_size=1, max_size=8))
    found = [draw(scores) for _ in gaps]
    resumes = draw(st.sets(st.integers(1, len(gaps)), max_size=3))
    return list(zip(np.cumsum(gaps).tolist(), found, strict=True)), resumes


def arrays_of(step: int) -> dict:
    return {"step": jnp.uint32(step), "q": jnp.full(2, step, jnp.float32)}


def best_of(stream: list[tuple[int, float]]) -> int | None:
    """The first step with the highest of the finite scores, among all steps ever saved."""
    finite = [(score, -step) for step, score in stream if math.isfinite(score)]
    return -max(finite)[1] if finite else None


def steps_of(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in workdir.iterdir() if path.name.isdecimal())


def check(stream: list[tuple[int, float]], resumes: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        checkpoints = None
        for index in range(len(stream) + 1):
            if checkpoints is None or index in resumes:
                checkpoints = resumed(workdir, stream[:index])
            if index < len(stream):
                step, score = stream[index]
                with locked(workdir):
                    checkpoints.save(step, arrays_of(step), score)
                so_far = stream[: index + 1]
                newest = [step for step, _ in so_far[-NUM_NEWEST:]]
                assert steps_of(workdir) == sorted({*newest, best_of(so_far)} - {None})
        resumed(workdir, stream)
        if best_of(stream) is not None:
            assert read_checkpoint(workdir, pytest.fail, "best")[0] == best_of(stream)


def resumed(workdir: Path, saved: list[tuple[int, float]]) -> Checkpointer:
    """What goes on from the newest step."""
    with locked(workdir):
        checkpoints = Checkpointer(workdir, {"seed": 0})
        restored = checkpoints.restore(arrays_of(0), pytest.fail)
    if not saved:
        assert restored is None
        return checkpoints
    newest = saved[-1][0]
    assert checkpoints.last_saved == newest
    assert int(restored["step"]) == newest
    np.testing.assert_array_equal(restored["q"], np.float32([newest, newest]))
    return checkpoints


RANDOM = {
    "deadline": None,
    "database": None,
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@settings(max_examples=20, derandomize=True, **RANDOM)
@given(streams())
def test_the_best_and_the_newest_steps_are_kept(stream):
    check(*stream)


@pytest.mark.faults
@settings(max_examples=1000, **RANDOM)
@given(streams())
def test_the_best_and_the_newest_steps_are_kept_in_many_streams(stream):
    check(*stream)


@pytest.mark.parametrize(
    ("stream", "kept"),
    [
        ([1.0, 5.0, 2.0, 3.0, 4.0, 1.0], [2, 4, 5, 6]),
        ([math.nan] * 6, [4, 5, 6]),
        ([math.inf, math.nan, 2.0, 1.0, -math.inf, 1.0, math.inf], [3, 5, 6, 7]),
        ([-math.inf] * 5, [3, 4, 5]),
        ([-1e308, math.nan, math.nan, math.nan, math.nan], [1, 3, 4, 5]),
        ([2.0, 2.0, 2.0, 2.0, 2.0, 2.0], [1, 4, 5, 6]),  # as good as the best is not better
    ],
)
def test_plain_cases(stream, kept):
    numbered = list(enumerate(stream, 1))
    assert sorted({*(s for s, _ in numbered[-3:]), best_of(numbered)} - {None}) == kept
    check(numbered, {2, 3, 5})
