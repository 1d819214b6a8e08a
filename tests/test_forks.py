"""A process that was forked after JAX had started is told so, instead of waiting for ever."""

import os

import jax
import numpy as np
import pytest

from vigamma import PoissonFactorizer
from vigamma.devices.mesh import make_mesh
from vigamma.errors import RunError
from vigamma.random import forks, gamma
from vigamma.runs import fitted

COUNTS = np.random.default_rng(0).poisson(2.0, (20, 8))


def entries(tmp_path) -> list:
    """What would run JAX."""
    model = PoissonFactorizer(2, max_iter=5, tol=0).fit(COUNTS)
    key = jax.random.key(0)
    return [
        lambda: model.fit(COUNTS),
        lambda: model.partial_fit(COUNTS),
        lambda: model.transform(COUNTS),
        lambda: model.transform_interval(COUNTS),
        lambda: model.components_interval(),
        lambda: model.score(COUNTS),
        lambda: model.sample(2),
        lambda: gamma(key, 3.0),
        lambda: fitted.load_run(tmp_path),
        make_mesh,
    ]


def is_told(entry) -> bool:
    try:
        entry()
    except RunError as error:
        return "forked" in str(error)
    return False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
def test_every_entry_raises_in_the_child_and_none_in_the_parent(tmp_path):
    called = entries(tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(sum(not is_told(entry) for entry in called))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    forks.check_not_forked()


@pytest.mark.parametrize("has_started", [True, False])
def test_a_fork_before_jax_has_started_does_no_harm(monkeypatch, has_started):
    monkeypatch.setattr(forks, "_forked_after_start", None)
    monkeypatch.setattr(forks.xla_bridge, "backends_are_initialized", lambda: has_started)
    forks._note()
    if has_started:
        with pytest.raises(RunError, match="spawn"):
            forks.check_not_forked()
    else:
        forks.check_not_forked()
