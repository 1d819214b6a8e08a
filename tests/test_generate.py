import jax
import numpy as np
import pytest

from tests.test_checkpointing import IDENTITY, make_arrays, opened
from vigamma import CheckpointError
from vigamma.answers.generation import generate, generate_mixture
from vigamma.models.factor_model import FactorModel


@pytest.fixture
def workdir(tmp_path):
    with opened(tmp_path, IDENTITY) as checkpoints:
        checkpoints.save(9, make_arrays(size=5))
    return tmp_path


@pytest.mark.slow
def test_rows_are_a_function_of_the_seed_and_not_of_their_number(workdir):
    first, again, other = (generate(workdir, n, seed) for n, seed in ((4, 1), (7, 1), (4, 2)))
    assert first.step == 9
    np.testing.assert_array_equal(first.counts, again.counts[:4])
    np.testing.assert_array_equal(first.theta, again.theta[:4])
    assert (first.counts != other.counts).any()
    assert first.image_shape is None


@pytest.mark.parametrize(("step", "wanted"), [(4, 4), ("best", None), ("newest", None)])
def test_rows_are_of_the_step_that_is_wanted(tmp_path, monkeypatch, step, wanted):
    def read_checkpoint(workdir, warn, wanted):
        raise CheckpointError(f"looked for {wanted} in {workdir}")

    monkeypatch.setattr("vigamma.answers.generation.read_checkpoint", read_checkpoint)
    with pytest.raises(CheckpointError, match=f"looked for {wanted} in {tmp_path}"):
        generate(tmp_path, 2, 0, step=step)


@pytest.mark.slow
def test_rows_have_the_posterior_predictive_moments(workdir):
    theta, counts, *_ = generate(workdir, 20_000, 0)  # θ ~ Gamma(1 ... 5, 1)
    assert counts.dtype == np.int32
    mean = np.arange(1.0, 6)
    np.testing.assert_array_less(np.abs(theta.mean(axis=0) - mean), 4 * np.sqrt(mean / 20_000))
    np.testing.assert_array_less(np.abs(counts.mean(axis=0) - mean), 4 * np.sqrt(2 * mean / 20_000))
    np.testing.assert_allclose(counts.var(axis=0), 2 * mean, rtol=0.1)


def test_rows_are_of_any_start_and_do_not_depend_on_their_number(monkeypatch):
    def generate_rows(key, q, num_rows):
        rates = 100 * q["start"] + np.arange(num_rows)[:, None]
        return rates, rates + 1

    monkeypatch.setattr(FactorModel, "generate_rows", generate_rows)
    posteriors = [{"start": np.int32(start)} for start in range(2)]
    rates, counts = generate_mixture(5, posteriors, 40, FactorModel)
    start, row = np.divmod(rates[:, 0], 100)
    assert row.tolist() == list(range(40))
    assert 8 < start.sum() < 32
    np.testing.assert_array_equal(counts, rates + 1)
    np.testing.assert_array_equal(generate_mixture(5, posteriors, 7, FactorModel)[0], rates[:7])
    assert (generate_mixture(6, posteriors, 40, FactorModel)[0] != rates).any()


def test_what_cannot_be_generated_is_refused(workdir, tmp_path):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        generate(workdir, 0, 0)
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        generate(tmp_path / "nowhere", 3, 0)
    assert not (tmp_path / "nowhere").exists()
    assert jax.device_count() == 4


def test_a_checkpoint_without_a_gamma_posterior_is_refused(tmp_path):
    with opened(tmp_path, IDENTITY) as checkpoints:
        checkpoints.save(3, {"weights": jax.numpy.ones(4)})
    with pytest.raises(CheckpointError, match=r"step 3 in .* holds no q\.log_shape and no q\.rows"):
        generate(tmp_path, 2, 0)
