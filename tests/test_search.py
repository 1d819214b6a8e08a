"""The search: which candidates go on, what it costs, what it writes, how it refuses."""

import dataclasses
import json
import math
import runpy
import shlex
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.command import ROOT, run, start
from tests.simulated_cells import simulated_cells
from tests.test_negative_binomial import bursty_counts
from vigamma import (
    ConfigError,
    CoordinateAscent,
    DomainKnowledge,
    Experiment,
    HeldOut,
    HierarchicalNegativeBinomialFactorization,
    HierarchicalPoissonFactorization,
    NegativeBinomialFactorization,
    NonFiniteError,
    PoissonFactorization,
    SparseCounts,
    SyntheticFactors,
    fit,
    model_grid,
    run_experiment,
    search,
)
from vigamma.contracts import StepInfo
from vigamma.data.layout.count_rows import lay_out_rows
from vigamma.inference.train_state import TrainState
from vigamma.models.poisson_factorization import row_shape_of
from vigamma.runs import factors
from vigamma.runs import search as search_module
from vigamma.runs.search import (
    Rung,
    Trial,
    _Trials,
    default_grid,
    halve,
    neighbours,
    varied_fields,
    write_search,
)
from vigamma.typing import spec

DATA = SyntheticFactors(num_rows=300, num_columns=200, num_factors=4, num_nonzeros=8000)
CONFIG = Experiment(
    data=DATA,
    heldout=HeldOut(),
    model=PoissonFactorization(num_factors=4, row_shape=0.3),
    inference=CoordinateAscent(tolerance=1e-4),
    num_steps=200,
    log_every=10,
)
RUNGS = (Rung(2, 0.5), Rung(4, 0.5))


class Climbers:
    """Candidates with known ends, which they near at different speeds."""

    def __init__(self, ends, speeds, length=20):
        self.ends, self.speeds, self.length = ends, speeds, length
        self.taken = [0] * len(ends)

    def climb(self, candidate, sweeps):
        sweeps = self.length if sweeps is None else sweeps
        assert sweeps >= self.taken[candidate]
        self.taken[candidate] = sweeps
        return self.ends[candidate] - math.exp(-self.speeds[candidate] * sweeps)


def test_the_best_wins_though_it_is_slow_at_first():
    ends, speeds = [0, 0.1, 0.3, 0.2, -1, -1, -1, -1], [3, 3, 0.5, 1, 1, 1, 1, 1]
    climbers = Climbers(ends, speeds)
    assert min(range(4), key=lambda i: Climbers(ends, speeds).climb(i, 2)) == 2
    assert halve(range(8), climbers.climb, RUNGS) == 2


def test_every_rung_drops_its_share_and_only_the_last_go_to_the_end():
    climbers, rungs = Climbers(ends=list(range(8)), speeds=[1] * 8), []
    assert halve(range(8), climbers.climb, RUNGS, lambda *rung: rungs.append(rung)) == 7
    assert rungs == [(RUNGS[0], [7, 6, 5, 4], [3, 2, 1, 0]), (RUNGS[1], [7, 6], [5, 4])]
    assert climbers.taken == [2, 2, 2, 2, 4, 4, 20, 20]


def test_the_share_that_goes_on_is_rounded_up_and_some_are_never_dropped():
    climbers, rungs = Climbers(ends=list(range(5)), speeds=[1] * 5), []
    options = {"after_rung": lambda *rung: rungs.append(rung), "never_dropped": (0,)}
    assert halve(range(5), climbers.climb, RUNGS, **options) == 4
    assert rungs == [(RUNGS[0], [4, 3, 2, 0], [1]), (RUNGS[1], [4, 3, 0], [2])]


def test_the_best_look_is_the_first_of_the_highest():
    scores = [(1, math.nan), (2, -3.0), (3, -2.0), (4, -2.5), (5, -2.0)]
    trial = Trial(PoissonFactorization(), scores, 5, None)
    assert trial.best == (3, -2.0)
    assert trial.valid_log_likelihood == -2.0


def test_no_rungs_are_a_full_grid_and_one_candidate_needs_none():
    climbers = Climbers(ends=[1, 2, 0], speeds=[1, 1, 1])
    assert halve(range(3), climbers.climb, ()) == 1
    assert climbers.taken == [20, 20, 20]
    alone = Climbers(ends=[1], speeds=[1])
    assert (halve([0], alone.climb, RUNGS), alone.taken) == (0, [20])


def test_a_score_that_is_not_a_number_is_the_worst():
    scores = [math.nan, -5.0, math.nan, -4.0]
    assert halve(range(4), lambda candidate, _: scores[candidate], RUNGS) == 3


looks = st.lists(
    st.one_of(
        st.floats(-10, 10), st.integers(-3, 3).map(float), st.sampled_from([math.nan, -math.inf])
    ),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(looks, min_size=1, max_size=25), st.integers(0, 24))
def test_no_candidate_of_the_table_nor_the_default_is_better_than_the_winner(streams, default):
    """The scores of each candidate are any: they rise and fall, and stop anywhere."""
    default %= len(streams)
    taken = dict.fromkeys(range(len(streams)), 0)

    def best_of(scores):
        return max((s for s in scores if not math.isnan(s)), default=math.nan)

    def climb(candidate, sweeps):
        taken[candidate] = len(streams[candidate][:sweeps])
        return best_of(streams[candidate][:sweeps])

    winner = halve(range(len(streams)), climb, RUNGS, never_dropped=(default,))
    table = {candidate: best_of(streams[candidate][:n]) for candidate, n in taken.items()}
    best = best_of(table.values())
    assert table[winner] == best or (math.isnan(best) and math.isnan(table[winner]))
    assert taken[default] == len(streams[default])
    assert taken[winner] == len(streams[winner])
    assert not best_of(streams[default]) > table[winner]


def test_a_peak_before_the_first_rung_counts():
    peaks, levels = [5.0, 1.0, 1.0, 1.0], [-9.0, 3.0, 2.0, 1.5]

    def climb(candidate, sweeps):  # the best so far: the peak is long past at the first rung
        return max(peaks[candidate], levels[candidate])

    assert halve(range(4), climb, RUNGS) == 0


def test_what_is_near_a_model_is_a_step_away_in_one_direction():
    model = dataclasses.replace(CONFIG.model, num_factors=1, row_shape=0.01)
    found = neighbours(model)
    assert len(set(found)) == len(found) == 5  # no half of one factor
    for near in found:
        changed = [n for n in vars(model) if getattr(near, n) != getattr(model, n)]
        assert len(changed) <= 1
        near.validate()


@pytest.mark.nightly
def test_the_default_grid_is_searched_and_then_what_is_near_the_best():
    said = []
    outcome = search(dataclasses.replace(CONFIG, num_steps=12), say=said.append)
    models = [trial.model for trial in outcome.trials]
    assert CONFIG.model in models
    assert set(default_grid(CONFIG.model)) < set(models)
    scores = [trial.valid_log_likelihood for trial in outcome.trials]
    assert scores == sorted(scores, reverse=True)
    assert all(score == max(s for _, s in t.scores) for t, score in zip(
        outcome.trials, scores, strict=True
    ))  # fmt: skip
    (line,) = [line for line in said if line.startswith("the best so far is")]
    later = said[said.index(line) + 1 :]
    assert len(models) > len(default_grid(CONFIG.model)) + 1
    assert any("num_factors" in line for line in later)
    default = next(trial for trial in outcome.trials if trial.model == CONFIG.model)
    assert default.dropped_at is None
    assert default.sweeps == 12


@pytest.mark.slow
def test_a_candidate_that_is_not_finite_is_dropped(monkeypatch):
    take_steps = search_module.take_steps

    def failing(fit, state, last_step, where):
        if float(fit.model.row_prior.concentration) == 1.0:
            raise NonFiniteError(f"not finite at step 3{where}")
        return take_steps(fit, state, last_step, where=where)

    monkeypatch.setattr(search_module, "take_steps", failing)
    config, said = dataclasses.replace(CONFIG, num_steps=12), []
    outcome = search(config, model_grid(CONFIG.model, row_shapes=[0.1, 1.0]), say=said.append)
    assert outcome.best.model.row_shape != 1.0
    assert math.isnan(outcome.trials[-1].valid_log_likelihood)
    assert any("not finite at step 3 of row_shape 1" in line for line in said)
    alone = dataclasses.replace(config, model=dataclasses.replace(CONFIG.model, row_shape=1.0))
    with pytest.raises(NonFiniteError, match="no candidate"):
        search(alone, [alone.model])


def test_a_candidate_that_was_not_finite_takes_no_further_step():
    trials = object.__new__(_Trials)
    trials.models, trials._config = [CONFIG.model], CONFIG
    trials._scores, trials._states = {0: [(3, math.nan)]}, {}
    assert math.isnan(trials._climb(0, 10))
    assert trials._scores[0][1:] == []


def test_only_the_state_of_the_winner_stays(monkeypatch):
    monkeypatch.setattr(_Trials, "_climb", lambda trials, number, _: trials._scores[number][-1][1])
    trials = object.__new__(_Trials)
    trials._scores = {0: [(1, -3.0)], 1: [(1, -1.0)], 2: [(1, -2.0)]}
    trials._states, trials._perturbations = dict(enumerate("abc")), {}
    assert trials.choose([0, 1, 2], rungs=()) == 1
    assert trials._states == {1: "b"}


def test_a_grid_has_all_combinations_once_and_keeps_what_is_not_named():
    models = model_grid(CONFIG.model, row_shapes=[0.1, 1.0, 0.1], num_factors=[2, 3])
    assert [(m.row_shape, m.num_factors) for m in models] == [
        (0.1, 2),
        (0.1, 3),
        (1.0, 2),
        (1.0, 3),
    ]
    assert {m.column_shape for m in models} == {CONFIG.model.column_shape}
    assert model_grid(CONFIG.model) == [CONFIG.model]


def test_a_grid_has_both_likelihoods_each_with_its_own_defaults():
    poisson = HierarchicalPoissonFactorization(
        num_factors=9, rate_shape=0.5, row_sum_exposures=True
    )
    likelihoods = ["poisson", "negative_binomial"]
    models = model_grid(poisson, likelihoods=likelihoods, column_shapes=[0.1, 1.0])
    assert [(type(m), m.column_shape) for m in models] == [
        (HierarchicalPoissonFactorization, 0.1),
        (HierarchicalPoissonFactorization, 1.0),
        (HierarchicalNegativeBinomialFactorization, 0.1),
        (HierarchicalNegativeBinomialFactorization, 1.0),
    ]
    assert {(m.num_factors, m.rate_shape, m.row_sum_exposures) for m in models} == {(9, 0.5, True)}
    assert [row_shape_of(m) for m in models[1:3]] == [6 / 9, 3 / 9]
    assert varied_fields(models) == ["likelihood", "column_shape"]
    given = dataclasses.replace(models[3], failure_shape=7.0, row_shape=0.2)
    assert model_grid(given, likelihoods=["negative_binomial"]) == [given]
    (back,) = model_grid(given, likelihoods=["poisson"])
    assert back == dataclasses.replace(poisson, column_shape=1.0, row_shape=0.2)
    assert {type(m) for m in default_grid(given)} == {HierarchicalNegativeBinomialFactorization}


@pytest.mark.slow
def test_of_both_likelihoods_the_better_wins_and_its_config_is_written(tmp_path):
    """Each score is the log probability of the same counts: bursty ones are no Poisson counts."""
    scipy.sparse.save_npz(tmp_path / "counts.npz", scipy.sparse.csr_array(bursty_counts()[0]))
    config = dataclasses.replace(
        CONFIG,
        data=SparseCounts(path=str(tmp_path / "counts.npz")),
        heldout=HeldOut(protocol="cells", valid_fraction=0.1),
        num_steps=12,
    )
    both = model_grid(config.model, likelihoods=["poisson", "negative_binomial"])
    outcome = search(config, both)
    assert [trial.model for trial in outcome.trials] == both[::-1]
    assert type(outcome.best.model) is NegativeBinomialFactorization
    gain = outcome.best.valid_log_likelihood - outcome.trials[1].valid_log_likelihood
    assert gain == pytest.approx(0.5, abs=0.3)
    assert outcome.table.split()[0] == "likelihood"
    assert outcome.changes["model"] == "NegativeBinomialFactorization"
    winner = tmp_path / "winner.py"
    command = write_search(outcome, tmp_path, "configs/any.py", {"num_steps": 12})
    assert command == f"vigamma train --config {winner}"
    assert runpy.run_path(str(winner))["get_config"]() == outcome.config
    trials = json.loads((tmp_path / "search.json").read_text())["trials"]
    assert [trial["likelihood"] for trial in trials] == ["negative_binomial", "poisson"]


@pytest.mark.nightly
def test_the_winner_is_among_the_best_of_the_full_grid():
    candidates = model_grid(
        CONFIG.model, row_shapes=[0.03, 0.1, 0.3, 1.0], column_shapes=[0.1, 0.3, 1.0]
    )
    said = []
    outcome, full = (
        search(CONFIG, candidates, say=said.append),
        search(CONFIG, candidates, rungs=()),
    )
    assert said[0] == "nothing is held out for validation; the search takes 0.1"
    scores = {trial.model: trial.valid_log_likelihood for trial in full.trials}
    # Not always the best: a start that parts late is dropped early, whatever it would come to.
    assert outcome.best.model in sorted(scores, key=scores.__getitem__)[-3:]
    assert outcome.best.valid_log_likelihood > sorted(scores.values())[len(scores) // 2] + 0.01
    assert scores[outcome.best.model] == pytest.approx(outcome.best.valid_log_likelihood, abs=1e-5)
    assert sum(t.sweeps for t in outcome.trials) < 0.7 * sum(t.sweeps for t in full.trials)
    assert {trial.dropped_at for trial in full.trials} == {None}
    assert outcome.config.model == outcome.best.model
    assert set(outcome.changes) == {
        "heldout.valid_fraction", "model.row_shape", "model.column_shape"
    }  # fmt: skip


@pytest.mark.nightly
def test_a_run_fits_the_winner_again(tmp_path):
    outcome = search(CONFIG, model_grid(CONFIG.model, row_shapes=[0.1, 1.0], num_factors=[2, 4]))
    again = run_experiment(outcome.config, tmp_path / "run").summary
    assert again["sweeps"] == outcome.best.sweeps
    for name in ("elbo", "heldout_log_likelihood"):
        assert again[name] == pytest.approx(outcome.summary[name], rel=1e-5)


@pytest.mark.slow
def test_the_counts_are_laid_out_once_and_every_k_has_one_shape(monkeypatch):
    calls = []

    def take_nothing(state, num_steps):
        calls.append(jax.tree.map(jnp.shape, state.arrays.q))
        state.arrays = state.arrays.replace(step=state.arrays.step + num_steps)
        return StepInfo(np.zeros(num_steps), {"elbo": np.ones(num_steps, bool)})

    def lay_out(*args, **options):
        calls.append("layout")
        return lay_out_rows(*args, **options)

    monkeypatch.setattr(TrainState, "step", take_nothing)
    monkeypatch.setattr(factors, "lay_out_rows", lay_out)
    candidates = model_grid(CONFIG.model, row_shapes=[0.1, 1.0], num_factors=[2, 4])
    outcome = search(CONFIG, candidates, grow=False)
    assert calls.count("layout") == 1
    assert len({str(shapes) for shapes in calls}) == 3
    assert sorted(t.dropped_at or 0 for t in outcome.trials) == [
        0,
        0,
        0,
        10,
        10,
    ]  # the config's own is never dropped
    assert outcome.best.sweeps == CONFIG.num_steps


def test_what_was_searched_is_named_and_of_equal_scores_the_winner_is_first(monkeypatch):
    def climb(trials, candidate, sweeps):
        trials._scores[candidate].append((sweeps or 50, -1.0))
        trials._states[candidate] = None
        return -1.0

    monkeypatch.setattr(_Trials, "_climb", climb)
    monkeypatch.setattr(_Trials, "report", lambda *_: {})
    inference = CoordinateAscent(num_restarts=3)
    outcome = search(
        dataclasses.replace(CONFIG, inference=inference),
        model_grid(CONFIG.model, row_shapes=[1.0, 0.1]),
    )
    assert outcome.best.model == outcome.config.model == CONFIG.model
    assert outcome.changes == {
        "heldout.valid_fraction": 0.1, "inference.num_restarts": 1, "model.row_shape": 0.3
    }  # fmt: skip


def stub_trials(monkeypatch, score):
    """Candidates whose scores are known: (sweeps taken, models in the order they were fitted)."""
    fitted = []

    def climb(trials, candidate, sweeps):
        model = trials.models[candidate]
        fitted.append(model)
        trials._scores[candidate].append((sweeps or 50, score(model)))
        trials._states[candidate] = candidate
        return trials._scores[candidate][-1][1]

    monkeypatch.setattr(_Trials, "_climb", climb)
    monkeypatch.setattr(_Trials, "report", lambda *_: {})
    monkeypatch.setattr(factors.FactorFit, "validation_of_rows", lambda *_: np.zeros(300))
    monkeypatch.setattr(factors.FactorFit, "independent_validation", -2.0)
    return fitted


def test_a_grid_grows_where_its_best_is_at_the_edge_and_says_so(monkeypatch):
    stub_trials(monkeypatch, lambda model: -abs(math.log(model.row_shape / 9.0)))
    grid, said = model_grid(CONFIG.model, row_shapes=[0.3, 1.0]), []
    outcome = search(CONFIG, grid, say=said.append)
    tried = [trial.model.row_shape for trial in outcome.trials]
    assert sorted(tried) == [0.3, 1.0, 3.333, 11.109, 37.027]
    assert outcome.best.model.row_shape == tried[0] == 11.109
    assert outcome.changes["model.row_shape"] == 11.109
    assert (
        said[-1] == "row_shape 11.109 is at the edge of what was tried; now also row_shape 37.027"
    )
    kept = search(CONFIG, grid, grow=False)
    assert kept.best.model.row_shape == 1.0
    assert len(kept.trials) == 2


def test_a_grid_grows_three_times_and_not_where_its_best_is_inside(monkeypatch):
    stub_trials(monkeypatch, lambda model: model.num_factors)
    outcome = search(CONFIG, model_grid(CONFIG.model, num_factors=[5, 10]))
    assert outcome.best.model.num_factors == 80
    stub_trials(monkeypatch, lambda model: -abs(model.num_factors - 10))
    outcome = search(CONFIG, model_grid(CONFIG.model, num_factors=[5, 10, 20]))
    assert outcome.best.model.num_factors == 10
    assert len(outcome.trials) == 4


def test_automatic_factors_are_the_fewest_within_an_error_or_a_thousandth_of_the_gain(monkeypatch):
    def score(model):  # 1.0 above independent columns
        return -1.0 + 0.0009 * (model.num_factors == 8) - (model.num_factors < 6)

    stub_trials(monkeypatch, score)
    config = dataclasses.replace(CONFIG, model=PoissonFactorization(num_factors=77))
    said = []
    outcome = search(config, num_factors="auto", say=said.append)
    assert outcome.best.model.num_factors == outcome.config.model.num_factors == 6
    assert outcome.trials[1].model.num_factors == 8
    assert said[-1].startswith("num_factors 6, row_shape 1 is as good as num_factors 8")
    assert {t.model.num_factors for t in outcome.trials} < {4, 5, 6, 7, 8, 12, 16}
    assert outcome.changes["model.num_factors"] == 6
    monkeypatch.setattr(factors.FactorFit, "independent_validation", -1.1)
    assert search(config, num_factors="auto").best.model.num_factors == 8
    rows = iter(np.tile(np.eye(300)[:2] * 0.002, (99, 1)))  # an error of 0.003
    monkeypatch.setattr(factors.FactorFit, "validation_of_rows", lambda *_: next(rows))
    assert search(config, num_factors="auto").best.model.num_factors == 6


def test_automatic_factors_have_the_best_shapes_of_a_grid(monkeypatch):
    stub_trials(monkeypatch, lambda model: model.row_shape - abs(model.num_factors - 6))
    grid = model_grid(CONFIG.model, row_shapes=[0.1, 1.0])
    outcome = search(CONFIG, grid, num_factors="auto", grow=False)
    assert (outcome.best.model.row_shape, outcome.best.model.num_factors) == (1.0, 6)
    with pytest.raises(ConfigError, match="num_factors must be \"auto\" or None, got 'all'"):
        search(CONFIG, num_factors="all")


def test_automatic_factors_without_a_finite_score_are_refused(monkeypatch):
    stub_trials(monkeypatch, lambda _: math.nan)
    with pytest.raises(NonFiniteError, match="no candidate"):
        search(CONFIG, num_factors="auto")


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (CONFIG, {"row_shapes": [0.3, -1.0]}, "config.model.row_shape must be finite and at least"),
        (CONFIG, {"num_factors": [0]}, "config.model.num_factors must be at least 1, got 0"),
        (CONFIG, {"likelihoods": ["gauss"]}, "likelihood must be one of .*, got 'gauss'"),
        (dataclasses.replace(CONFIG, model=DomainKnowledge()), {}, "got DomainKnowledge"),
        (dataclasses.replace(CONFIG, heldout=None), {}, "a search needs a config with"),
    ],
)
def test_what_cannot_be_searched_is_refused(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        search(config, model_grid(config.model, **changes))


def test_candidates_of_another_kind_are_refused():
    others = (
        dataclasses.replace(CONFIG.model, row_sum_exposures=True),
        HierarchicalPoissonFactorization(num_factors=4),
    )
    for other in others:
        with pytest.raises(ConfigError, match="may differ"):
            search(CONFIG, [CONFIG.model, other])
    with pytest.raises(ConfigError, match="at least one"):
        search(CONFIG, [])


@spec
class Own(PoissonFactorization):
    """A model of one's own."""


def test_a_model_of_ones_own_has_one_likelihood():
    assert model_grid(Own(), likelihoods=["poisson"]) == [Own()]
    with pytest.raises(ConfigError, match="Own has the likelihood poisson only"):
        model_grid(Own(), likelihoods=["negative_binomial"])


COUNTS_FACTORS = ROOT / "configs" / "counts_factors.py"


@pytest.mark.slow
def test_the_script_writes_the_outcome_and_the_command(tmp_path):
    data = tmp_path / "my counts.npz"
    scipy.sparse.save_npz(data, DATA.load().counts)
    flags = ("--config", COUNTS_FACTORS, f"--config.data.path={data}", "--config.num_steps=41")
    status, out, err = run(
        "search.py", *flags, "--row_shapes=0.1,1", "--num_factors", "3", "--nogrow", "--workdir",
        tmp_path / "s",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "validation (nats)  at sweep  of  dropped at" in out
    found = json.loads((tmp_path / "s" / "search.json").read_text())
    assert {trial["model"]["row_shape"] for trial in found["trials"]} == {0.1, 0.3, 1.0}
    assert found["summary"]["heldout_log_likelihood"] < 0
    assert (tmp_path / "s" / "search.png").stat().st_size > 1000
    words = shlex.split(found["command"])
    assert words[:2] == ["python", "scripts/train.py"]
    assert set(words) >= {
        f"--config.data.path={data}",
        f"--config.model.row_shape={found['config']['model.row_shape']}",
        f"--config.model.num_factors={found['config']['model.num_factors']}",
        "--config.heldout.valid_fraction=0.1",
    }
    assert out.splitlines()[-1] == f"to fit the first: {found['command']}"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--row_shapes=0.1,a", "--row_shapes must be numbers with commas between, got '0.1,a'"),
        (
            "--column_shapes=0",
            "config.model.column_shape must be finite and at least 0.01, got 0.0",
        ),
    ],
)
def test_a_bad_flag_is_one_line_and_an_exit_status(tmp_path, flag, message):
    path = "--config.data.path=counts.npz"
    arguments = ("--config", COUNTS_FACTORS, path, flag, "--workdir", tmp_path / "s")
    status, out, err = run("search.py", *arguments)
    assert (status, out) == (1, "")
    assert err == f"error: {message}\n"
    assert not (tmp_path / "s").exists()


def test_ctrl_c_is_one_line(tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        COUNTS_FACTORS.read_text()
        .replace('SparseCounts(path="")', "SyntheticFactors()")
        .replace("SparseCounts,", "SyntheticFactors,")
    )
    flags = ("--row_shapes=0.1,1", "--config.num_steps=1000000", "--config.inference.tolerance=0")
    process = start("search.py", "--config", config, *flags, "--workdir", tmp_path)
    assert process.stdout.readline().startswith("nothing is held out for validation")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err == "stopped by SIGINT: before the end; nothing is written\n"


def test_a_published_split_without_validation_counts_cannot_be_searched(tmp_path):
    for name, counts in {"train": [[1, 0], [2, 1]], "test": [[0, 3], [0, 0]]}.items():
        scipy.sparse.save_npz(tmp_path / f"{name}.npz", scipy.sparse.csr_array(counts))
    heldout = HeldOut(protocol="entries")
    data = SparseCounts(path=str(tmp_path))
    config = dataclasses.replace(CONFIG, data=data, heldout=heldout)
    with pytest.raises(ConfigError, match=r"a split of its own needs a valid\.npz for a search"):
        search(config, [CONFIG.model])


@pytest.mark.slow
def test_one_command_chooses_the_factors_and_fits_them(tmp_path):
    scipy.sparse.save_npz(tmp_path / "counts.npz", DATA.load().counts)
    path = f"--config.data.path={tmp_path / 'counts.npz'}"
    flags = ("--config", COUNTS_FACTORS, path, "--config.num_steps=12", "--num_factors=auto")
    status, out, err = run("search.py", *flags, "--workdir", tmp_path / "s")
    assert (status, err) == (0, "")
    found = json.loads((tmp_path / "s" / "search.json").read_text())
    summary = json.loads((tmp_path / "s" / "fit" / "summary.json").read_text())
    assert summary["num_factors"] == found["config"]["model.num_factors"] < 16
    assert found["config"] == {name: summary["config"][name] for name in found["config"]}
    assert f"now the fit of the first, in {tmp_path / 's' / 'fit'}" in out
    assert "\nCertificate\n" in out
    assert f"\nwritten: {tmp_path / 's' / 'fit'}: " in out


@pytest.mark.nightly
@pytest.mark.parametrize("mean_count", [0.5, 2.0])
def test_cells_of_five_types_get_a_factor_or_two_each(mean_count, tmp_path):
    cells = simulated_cells(mean_count=mean_count)
    scipy.sparse.save_npz(tmp_path / "cells.npz", cells.counts)
    config = dataclasses.replace(
        CONFIG,
        data=SparseCounts(path=str(tmp_path / "cells.npz")),
        heldout=HeldOut(test_fraction=0.2, valid_fraction=0.1),
        model=HierarchicalPoissonFactorization(),
        inference=CoordinateAscent(stop_on_validation=True),
    )
    chosen = search(config, num_factors="auto")

    def fitted(num_factors):
        model = dataclasses.replace(config.model, num_factors=num_factors)
        return fit(model, cells.counts, config.inference, heldout=config.heldout)

    found, by_hand = fitted(chosen.best.model.num_factors), fitted(8)
    assert found.summary["heldout_log_likelihood"] >= by_hand.summary["heldout_log_likelihood"]
    theta, beta = (np.asarray(found.posterior[side].mean) for side in ("rows", "columns"))
    for of_type in range(5):
        expected = (theta * beta.sum(axis=0))[cells.types == of_type].sum(axis=0)
        assert 1 <= (expected > 0.01 * expected.sum()).sum() <= 2
    assert by_hand.summary["num_distinct_factors"] < 8
