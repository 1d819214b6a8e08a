"""NaN or infinity from a random step on is seen at that step, and never in a checkpoint."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import save_npz

from tests.command import ROOT, run
from tests.test_train import hashes
from vigamma import (
    Adam,
    AnalyticElbo,
    ConfigError,
    CoordinateAscent,
    DigitCounts,
    Digits,
    DomainKnowledge,
    Experiment,
    GradientAscent,
    HeldOut,
    HierarchicalPoissonFactorization,
    NonFiniteError,
    PathwiseElbo,
    PoissonFactorization,
    SparseCounts,
    StochasticVariationalInference,
    run_experiment,
)
from vigamma.counts.sparse import rows_of
from vigamma.devices.mesh import make_mesh
from vigamma.inference import coordinate_ascent, train_state
from vigamma.models.factor_model import FactorModel
from vigamma.runs import train
from vigamma.runs.factors import FactorFit
from vigamma.runs.metrics import read_metrics
from vigamma.storage.checkpointing import read_checkpoint

NUM_STEPS = 24

ZERO = Experiment(
    data=Digits(),
    model=DomainKnowledge(),
    inference=GradientAscent(estimator=PathwiseElbo(num_samples=4), optimizer=Adam(decay_steps=60)),
    num_steps=NUM_STEPS,
    log_every=5,
    save_every=6,
)
FACTORS = dataclasses.replace(
    ZERO,
    data=DigitCounts(),
    heldout=HeldOut(protocol="thinning", test_fraction=0.2, valid_fraction=0.1),
    model=HierarchicalPoissonFactorization(num_factors=3, row_shape=0.3),
    inference=CoordinateAscent(tolerance=0, learn_priors=True),
)
FLAT = dataclasses.replace(
    FACTORS,
    model=PoissonFactorization(num_factors=3, row_shape=0.3),
    inference=CoordinateAscent(tolerance=0),
)
CONFIGS = {
    "zero": ZERO,
    "exact": dataclasses.replace(
        ZERO, inference=GradientAscent(estimator=AnalyticElbo(), optimizer=Adam(decay_steps=60))
    ),
    "factors": FACTORS,
    "flat": FLAT,
    "batches": dataclasses.replace(
        FACTORS, inference=StochasticVariationalInference(batch_rows=64, local_updates=3)
    ),
}


class Fault(NamedTuple):
    """One element of a leaf is this value, from a step on."""

    place: str
    value: float
    step: int


PLACES = {
    "zero": ("elbo", "gradient of log_rate", "gradient of log_shape", "optimizer"),
    "exact": ("elbo", "gradient of log_shape", "optimizer"),
    "factors": (
        "elbo",
        "parameter rows rate",
        "parameter columns concentration",
        "parameter column_rates rate",
        "parameter row_rates rate",
        "prior row_prior concentration",
        "start",
    ),
    "flat": ("elbo", "parameter rows rate", "parameter columns concentration", "start"),
    "batches": ("elbo", "parameter rows rate", "parameter columns concentration"),
}
SEEN_AS = {
    "optimizer": "optimizer 0 nu log_rate",
    "start": "parameter columns rate",
}


@contextlib.contextmanager
def injected(fault: Fault) -> Iterator[None]:
    """Inside, programs are compiled in which the fault happens."""
    current = []  # the number of the step that is being traced

    def poisoned(leaf):
        leaf = jnp.asarray(leaf)
        at = leaf.size // 8  # a real row or column, not one that pads
        bad = leaf.reshape(-1).at[at].set(fault.value).reshape(leaf.shape)
        return jnp.where(current[-1] >= fault.step, bad, leaf)

    def wrap(patch, owner, name, change):
        original = getattr(owner, name)
        patch.setattr(owner, name, lambda *args: change(original(*args)))

    def numbered(patch, owner, step_of):
        original = owner.step

        def step(self, *args):
            current.append(step_of(args[0]) + 1)
            return original(self, *args)

        patch.setattr(owner, "step", step)

    def of_posterior(q):
        _, name, field = fault.place.split()
        if name not in q:
            return q
        return q | {name: q[name].replace(**{field: poisoned(getattr(q[name], field))})}

    def of_gradient(estimate):
        elbo, gradient = estimate
        if fault.place == "elbo":
            return poisoned(elbo), gradient
        leaf = "log_rate" if fault.place == "optimizer" else fault.place.split()[-1]
        gradient[leaf] = gradient[leaf].replace(poisoned(gradient[leaf][...]))
        return elbo, gradient

    def of_prior(model):
        prior = model.row_prior
        return model.replace(row_prior=prior.replace(concentration=poisoned(prior.concentration)))

    def of_start(q):
        columns = q["columns"]
        return q | {"columns": columns.replace(rate=poisoned(columns.rate))}

    train_state._program.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        numbered(patch, GradientAscent, lambda state: state.step)
        numbered(patch, CoordinateAscent, lambda state: state.step)
        numbered(patch, StochasticVariationalInference, lambda state: state.step)
        wrap(patch, GradientAscent, "estimate", of_gradient)
        if fault.place == "elbo":
            wrap(
                patch,
                FactorModel,
                "statistics",
                lambda found: found.replace(elbo=poisoned(found.elbo)),
            )
        elif fault.place.startswith("parameter row"):
            wrap(patch, FactorModel, "with_local_conditionals", of_posterior)
        elif fault.place.startswith("parameter"):
            wrap(patch, FactorModel, "with_global_conditionals", of_posterior)
        elif fault.place.startswith("prior"):
            wrap(patch, FactorModel, "learned", of_prior)
        elif fault.place == "start":
            wrap(patch, coordinate_ascent, "extrapolated", of_start)
        yield
    train_state._program.cache_clear()


@pytest.fixture(autouse=True)
def _one_device(monkeypatch, no_figures):
    """Programs for one compile faster; other tests look at several."""
    monkeypatch.setattr(train, "make_mesh", lambda: make_mesh(jax.devices()[:1]))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What returns the hashes of a run that nothing has happened to."""
    folder, found = tmp_path_factory.mktemp("undisturbed"), {}

    def whole(kind: str) -> dict[str, str]:
        if kind not in found:
            run_experiment(CONFIGS[kind], folder / kind)
            found[kind] = hashes(folder / kind)
        return found[kind]

    return whole


def steps_of(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in workdir.iterdir() if path.name.isdecimal())


def assert_all_finite(workdir: Path) -> None:
    """In every checkpoint, but for scores that are -inf before the first look."""
    for step in steps_of(workdir):
        alone = workdir.parent / f"only {step}"
        alone.mkdir()
        (alone / str(step)).symlink_to(workdir / str(step))
        _, leaves, _ = read_checkpoint(alone, pytest.fail)
        for name, leaf in leaves.items():
            is_unknown = name in ("best.log_likelihood", "best.elbo") and leaf == -np.inf
            assert np.isfinite(leaf).all() or is_unknown, (step, name)


def check(kind: str, fault: Fault, tmp_path: Path, undisturbed) -> None:
    """It is seen exactly, all that was saved is good, and the run can then end as if whole."""
    config, workdir = CONFIGS[kind], tmp_path / "run"
    with injected(fault), pytest.raises(NonFiniteError) as error:
        run_experiment(config, workdir)
    message = str(error.value)
    names = re.match(rf"not finite at step {fault.step}: ([^;]*); ", message)
    assert names, message
    assert SEEN_AS.get(fault.place, fault.place) in names[1].split(", ")
    kept = (fault.step - 1) // config.save_every * config.save_every
    assert f"step {kept} is kept in" in message if kept else "nothing was saved yet" in message
    assert steps_of(workdir) == list(range(config.save_every, kept + 1, config.save_every))
    assert_all_finite(workdir)
    for line in read_metrics(workdir / "metrics.jsonl"):
        assert line["step"] < fault.step
        assert np.isfinite(list(line.values())).all()

    resumed = run_experiment(config, workdir).summary["resumed_from"]
    assert resumed == (kept or None)
    assert hashes(workdir) == undisturbed(kind)


def random_faults(kind: str) -> list[Fault]:
    """20 of each kind of run: every place in turn, with NaN, infinity and -infinity."""
    rng = np.random.default_rng(len(kind))
    faults = []
    for trial in range(20):
        place = PLACES[kind][trial % len(PLACES[kind])]
        value = (np.nan, np.inf, -np.inf)[trial % 3]
        if place == "optimizer":  # finite itself, its square is not
            value = 1e30
        faults.append(Fault(place, value, int(rng.integers(1, NUM_STEPS + 1))))
    return faults


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("exact", Fault("optimizer", 1e30, 8)),
        ("flat", Fault("start", np.nan, 12)),
    ],
)
def test_what_is_not_finite_is_seen_at_its_step(tmp_path, undisturbed, kind, fault):
    check(kind, fault, tmp_path, undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "fault"),
    [(kind, fault) for kind in ("zero", "factors", "batches") for fault in random_faults(kind)],
)
def test_random_faults_are_seen_at_their_steps(tmp_path, undisturbed, kind, fault):
    check(kind, fault, tmp_path, undisturbed)


def test_a_start_that_is_not_finite_is_not_passed_over(tmp_path):
    inference = CoordinateAscent(tolerance=0, num_restarts=3, restart_sweeps=5)
    config = dataclasses.replace(FLAT, inference=inference)
    said = r"not finite at step 3 of restart 1: .*, parameter rows rate; nothing was saved yet"
    with (
        injected(Fault("parameter rows rate", np.nan, 3)),
        pytest.raises(NonFiniteError, match=said),
    ):
        run_experiment(config, tmp_path)
    assert steps_of(tmp_path) == []


def test_a_report_that_is_not_finite_is_an_error(tmp_path, monkeypatch):
    def scored(self, *args):
        return original(self, *args)._replace(log_likelihood=value)

    original = FactorFit._score
    monkeypatch.setattr(FactorFit, "_score", scored)
    name = "valid_log_likelihood_independent"
    said = f"not finite in the report of step 2: {name}; step 2 is kept in {tmp_path}"
    for value in (-np.inf, np.nan):  # noqa: B007
        with pytest.raises(NonFiniteError, match=re.escape(said)):
            run_experiment(dataclasses.replace(FLAT, num_steps=2), tmp_path)
        assert not (tmp_path / "summary.json").exists()
    monkeypatch.undo()


CONFIG = """
import sys

sys.path.insert(0, {root!r})
from tests.faults.test_not_finite import CONFIGS, Fault, injected

FAULT = injected(Fault({place!r}, float("{value}"), {step}))
FAULT.__enter__()


def get_config():
    return CONFIGS["{kind}"]
"""


def check_the_exit_status(tmp_path, kind: str, fault: Fault) -> None:
    """Of `scripts/train.py`, with a config file that makes the fault happen."""
    values = {"root": str(ROOT), "kind": kind, **fault._asdict()}
    (tmp_path / "config.py").write_text(CONFIG.format(**values))
    config, workdir = tmp_path / "config.py", tmp_path / "run"
    status, out, err = run("train.py", "--config", config, "--workdir", workdir)
    assert status == 1, out + err
    (line,) = err.splitlines()
    assert re.match(rf"error: not finite at step {fault.step}: [^;]*{fault.place}", line)
    kept = (fault.step - 1) // CONFIGS[kind].save_every * CONFIGS[kind].save_every
    assert line.endswith(f"step {kept} is kept in {workdir}")
    assert_all_finite(workdir)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["zero", "factors", "batches"])
def test_the_exit_status_is_not_0(tmp_path, kind):
    check_the_exit_status(tmp_path, kind, Fault("elbo", np.inf, 9))


def test_data_that_are_not_finite_are_refused_before_the_first_step(tmp_path, monkeypatch):
    original = Digits.load

    def load(self):
        data = original(self)
        data.counts[3, 5] = bad
        return data

    monkeypatch.setattr(Digits, "load", load)
    counts = DigitCounts().load().counts.astype(float)
    factors = dataclasses.replace(FACTORS, data=SparseCounts(path=str(tmp_path / "counts.npz")))
    for bad in (np.nan, np.inf, -np.inf):
        counts.data[17] = bad
        save_npz(tmp_path / "counts.npz", counts)
        row, column = rows_of(counts)[17], counts.indices[17]
        for config, cell in ((ZERO, "row 3, column 5"), (factors, f"row {row}, column {column}")):
            with pytest.raises(ConfigError, match=f"must be finite, but it is {bad} at {cell}"):
                run_experiment(config, tmp_path / "run")
            assert not (tmp_path / "run").exists()
