"""Runs scored on the counts that they held out, which are loaded again."""

import numpy as np
import pytest
from scipy.sparse import csr_array, save_npz

from tests.fitted_runs import random_run
from tests.slow import slow_after
from tests.test_train_factors import SYNTHETIC, experiment
from vigamma import (
    CheckpointError,
    ConfigError,
    HeldOut,
    PoissonFactorization,
    SparseCounts,
    evaluate,
    load_run,
    load_run_data,
    run_experiment,
)
from vigamma.runs.train import load_fit

PROTOCOLS = ("thinning", "cells", "entries")


@pytest.fixture(scope="module")
def counts_file(tmp_path_factory):
    """Counts on disk; none of their rows is empty."""
    counts = SYNTHETIC.load().counts.toarray()
    counts[:, :5] += 1  # so that no row is empty, whatever is held out
    path = tmp_path_factory.mktemp("data") / "counts.npz"
    save_npz(path, csr_array(counts))
    return path


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("protocol", slow_after(1, PROTOCOLS))
def test_a_run_is_scored_as_it_was_at_its_end(tmp_path, counts_file, protocol):
    model = PoissonFactorization(num_factors=3, row_sum_exposures=protocol == "entries")
    heldout = HeldOut(protocol=protocol, test_fraction=0.2)
    data = SparseCounts(path=str(counts_file))
    config = experiment(data=data, model=model, heldout=heldout)
    summary = run_experiment(config, tmp_path).summary
    run = load_run(tmp_path)
    found = evaluate(run, load_run_data(run), at=(5, 10))
    assert found.protocol == protocol
    assert found.num_heldout == summary["num_heldout"]
    for measures, suffix in ((found.fitted, ""), (found.independent, "_independent")):
        expected = summary[f"heldout_log_likelihood{suffix}"]
        np.testing.assert_allclose(measures.log_likelihood, expected, rtol=1e-6)
        assert measures.deviance > 0
        assert [at.k for at in measures.rankings.at] == [5, 10]
    for name in ("deviance", "perplexity"):
        assert getattr(found.fitted, name) < 0.98 * getattr(found.independent, name)
    lines = found.table.splitlines()
    assert f"{summary['num_heldout']:,} " in lines[0]
    assert [line.split()[0] for line in lines[5:]] == [
        "Recall@5", "Precision@5", "NDCG@5", "Recall@10", "Precision@10", "NDCG@10", "MAP",
    ]  # fmt: skip
    assert f"{found.fitted.perplexity:,.2f}" in lines[4]
    assert len({len(line) for line in lines[1:]}) == 1  # numbers end where their headers end


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_data_that_have_moved_or_changed_are_told(tmp_path, counts_file):
    path = tmp_path / "counts.npz"
    path.write_bytes(counts_file.read_bytes())
    run_experiment(experiment(data=SparseCounts(path=str(path)), num_steps=1), tmp_path / "run")
    run = load_run(tmp_path / "run")
    first = load_run_data(run).counts
    path.rename(tmp_path / "moved.npz")
    with pytest.raises(ConfigError, match=r"cannot be loaded again: config\.data: .*counts\.npz"):
        load_run_data(run)
    moved = load_run_data(run, str(tmp_path / "moved.npz")).counts
    assert (moved != first).nnz == 0
    counts = first.copy()
    counts.data[0] += 1
    save_npz(path, counts)
    with pytest.raises(
        CheckpointError, match=r"no longer those .*\(data and prior \(checksum\): [^;]*$"
    ):
        load_run_data(run)


def test_what_cannot_be_scored_is_refused():
    run = random_run()
    with pytest.raises(ConfigError, match=r"no test counts: its config\.heldout holds none out"):
        evaluate(run, load_fit(experiment(heldout=None)).data)
    with pytest.raises(ConfigError, match="SyntheticFactors, the data of the run, have no path"):
        load_run_data(run, "counts.npz")


@pytest.mark.parametrize("row_sums", [False, True])
def test_new_rows_have_exposures_on_the_scale_of_the_run(counts_file, row_sums):
    model = PoissonFactorization(num_factors=3, row_sum_exposures=row_sums)
    data = SparseCounts(path=str(counts_file))
    fit = load_fit(experiment(data=data, model=model, heldout=None)).data
    exposures = fit.exposures_of(fit.counts[5:20])
    np.testing.assert_allclose(exposures, fit.exposures[5:20])
    assert (np.ptp(exposures) > 0.1) == row_sums
