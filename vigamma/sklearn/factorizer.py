"""Poisson factorization as a scikit-learn estimator."""

import warnings
from collections.abc import Iterator
from numbers import Integral
from typing import Any, Self

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_scalar
from sklearn.utils.validation import check_is_fitted

from vigamma.data.checksums import checksum_of
from vigamma.data.files import LoadedCounts
from vigamma.errors import NonFiniteError
from vigamma.families.gamma import Gamma
from vigamma.inference.fold_in import fold_in
from vigamma.inference.gibbs import Gibbs
from vigamma.inference.minibatch import minibatch_step
from vigamma.inference.row_samples import sample_rows
from vigamma.inference.split_half import split_half_log_likelihoods
from vigamma.inference.train_state import TrainState
from vigamma.models.factor_model import (
    Posterior,
    columns_of,
    random_perturbations,
)
from vigamma.models.mixture import generate_mixture
from vigamma.runs.chains import NUM_SWEEPS, sample_posterior
from vigamma.runs.experiment import Experiment
from vigamma.runs.factors import FactorFit
from vigamma.runs.in_memory import fitted_starts
from vigamma.runs.samples import INTERVALS, Intervals, Samples
from vigamma.sklearn.validation import (
    experiment_of,
    interval,
    interval_of_draws,
    model_of,
    not_empty,
    of_likelihood,
    read_table,
    seed_of,
    stochastic_inference_of,
    tails_of,
    whole_counts,
)

_NOT_FINITE = "the ELBO is not finite; are there very large numbers in X?"


class PoissonFactorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Bayesian non-negative matrix factorization of counts: x_nm ~ Poisson(Σ_k θ_nk β_mk).

    It can replace `NMF(beta_loss="kullback-leibler", solver="mu")`, the maximum-likelihood estimate
    of the same model. θ and β have Gamma priors, and their approximate posteriors are Gammas, too
    (see `vigamma.models.factor_model`). `transform` and `components_` return posterior means, and
    the intervals are posterior quantiles.

    `fit` orders components by their shares of the expected counts, the largest first, and all
    attributes and methods have this order. `partial_fit` keeps the order that it finds, also where
    shares change, so that a column of `transform` remains the same component; without a previous
    `fit` it is the order of the start. Component k of other results, from 1, is at index k - 1, as
    in the names of scikit-learn, "poissonfactorizer0", ...

    X is a matrix of counts: an array, a sparse matrix of any format, a DataFrame, or an AnnData
    (its `X`, with the names of its variables). Fractional numbers are accepted, too. The
    scale of X matters, unlike for NMF: the larger the numbers, the more they outweigh the prior.
    Computations are in float32, or in float64 if `jax_enable_x64` is on; results have the float
    type of X.

    It runs on all devices of JAX, and does not change the settings of JAX. By default, JAX has one
    device for the whole CPU. `vigamma.devices.host.use_all_cores()`, called before JAX is first
    used, makes every core a device, which speeds up large fits in proportion. Fits of nearly equal
    shapes share a compiled program.

    Args:
      n_components: K.
      hierarchical: whether each row and each feature has a rate latent (activity, popularity), as
        in `HierarchicalPoissonFactorization`, or not, as in `PoissonFactorization`.
      likelihood: "poisson", or "negative_binomial" for counts that vary more than Poisson counts of
        the same means, by a factor 1 / (1 - p_m) for each feature, which is learned; X must then be
        whole numbers. The scores of both are on one scale, so that a grid search can choose.
      row_shape: the shape of the prior of θ; smaller is sparser. By default 6 / n_components,
        clipped to [0.05, 1]: with more components, a row uses a smaller share of them. For
        negative binomials 3 / n_components.
      column_shape: the shape of the prior of β.
      rate_shape: the shape of the prior of the rates, if hierarchical; smaller lets activity and
        popularity vary more.
      learn_priors: whether `fit` updates the priors to increase the ELBO.
      num_starts: the number of fits, from different random starts. Scores and samples are those of
        their mixture, components those of the fit with the highest ELBO.
      n_init: the number of starts within each fit; after some sweeps only the one with the highest
        ELBO continues.
      tol: `fit` stops after three successive sweeps whose relative increase of the ELBO is below
        `tol`; 0 disables this.
      max_iter: the maximum number of sweeps of `fit`.
      delay: for `partial_fit`; at least 0, larger makes the first steps smaller.
      forgetting_rate: for `partial_fit`; above 0.5, at most 1, larger makes late steps smaller.
      total_samples: the number of rows from which the minibatches of `partial_fit` are drawn; by
        default the number of rows seen so far, `n_samples_seen_`.
      random_state: an int, for the same results every time, a RandomState, or None.
      verbose: whether `fit` prints the ELBO from time to time.

    Attributes:
      components_: E[β]; shape (n_components, n_features_in_).
      elbo_: the evidence lower bound in nats; after `partial_fit` an estimate of it.
      n_iter_: the number of sweeps of `fit`.
      n_steps_: the number of calls of `partial_fit`.
      n_samples_seen_: the number of rows passed to `fit` and `partial_fit`.
      n_features_in_: the number of features.
      feature_names_in_: the names of the features, if X has any.
      model_: the priors, a `FactorModel`.
      posterior_: "rows" (those of `fit`, or of the last minibatch) and "columns", and, if
        hierarchical, "row_rates" and "column_rates"; `Gamma`s of NumPy arrays, of the best start.
        For negative binomials also "column_probabilities", the `Beta`s of the p_m.
      starts_: (model, posterior) of every start, the best first.
      samples_: the draws of `sample_posterior`, of the best start; None before.
    """

    samples_: Samples | None
    _fitted_to: dict[str, int | str] | None

    def __init__(
        self,
        n_components: int = 20,
        *,
        hierarchical: bool = True,
        likelihood: str = "poisson",
        row_shape: float | None = None,
        column_shape: float = 0.3,
        rate_shape: float = 0.3,
        learn_priors: bool = False,
        num_starts: int = 1,
        n_init: int = 1,
        tol: float = 1e-5,
        max_iter: int = 500,
        delay: float = 1.0,
        forgetting_rate: float = 0.51,
        total_samples: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.n_components = n_components
        self.hierarchical = hierarchical
        self.likelihood = likelihood
        self.row_shape = row_shape
        self.column_shape = column_shape
        self.rate_shape = rate_shape
        self.learn_priors = learn_priors
        self.num_starts = num_starts
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.delay = delay
        self.forgetting_rate = forgetting_rate
        self.total_samples = total_samples
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: None = None) -> Self:  # noqa: N803
        """Fits the posterior by coordinate ascent.

        Raises:
          ValueError: for a parameter out of range, and for an X with negative or non-finite
            numbers, or without nonzeros.
          NonFiniteError: if the ELBO becomes non-finite.
        """
        del y
        counts, dtype = read_table(self, X, reset=True)
        config, max_iter, ends = experiment_of(self), int(self.max_iter), []
        fit = FactorFit(config, LoadedCounts(of_likelihood(self, not_empty(counts))))
        for state in self._starts(fit, config):
            if not state.is_done and self.tol > 0:
                message = f"{max_iter} sweeps (max_iter) have not converged to tol={self.tol}"
                if not fit.outcome(state)[1]["sees_convergence"]:
                    message += (
                        "; X has numbers so large that rises of the ELBO as small as that are lost "
                        "in its rounding, in fewer cases with JAX_ENABLE_X64=1"
                    )
                warnings.warn(message, ConvergenceWarning, stacklevel=2)
            elbo, model = float(state.arrays.elbo), jax.device_get(state.arrays.model)
            ends.append((elbo, state.num_steps, model, fit.posterior(state)))
        ends.sort(key=lambda end: end[0], reverse=True)
        elbo, self.n_iter_, self.model_, posterior = ends[0]
        self.n_samples_seen_, self.n_steps_ = counts.shape[0], 0
        self._with(posterior, elbo, dtype)
        self.starts_ = [end[2:] for end in ends]
        self._fitted_to = checksum_of(_arrays(counts))
        return self

    def partial_fit(self, X: Any, y: None = None) -> Self:  # noqa: N803
        """Takes a stochastic natural-gradient step (Hoffman, Blei, Wang & Paisley 2013).

        The step size is ρ = (1 + t + delay)^-forgetting_rate, where t is the number of rows seen
        before, including those of `fit`, divided by the size of this minibatch. Without a previous
        `fit`, the priors are set from the first minibatch, and then fixed.

        Args:
          X: some rows, which are not stored.
          y: ignored.
        """
        del y
        is_first = not hasattr(self, "posterior_")
        counts, dtype = read_table(self, X, reset=is_first)
        if is_first:
            self._start(not_empty(counts))
        of_likelihood(self, counts)
        inference, num_rows = stochastic_inference_of(self), counts.shape[0]
        num_batches = (self.total_samples or self.n_samples_seen_ + num_rows) / num_rows
        step_size = inference.step_size(self.n_samples_seen_ / num_rows)
        columns = columns_of(self.posterior_)
        q, elbo = minibatch_step(inference, self.model_, columns, counts, num_batches, step_size)
        self.n_samples_seen_ += num_rows
        self.n_steps_ += 1
        return self._with(q, elbo, dtype)

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """E[θ] of new rows, with the posterior of the components fixed; shape (N, n_components).

        Each row is independent of the others. Rows used in `fit` are treated like new ones.
        """
        rows, dtype = self._rows(X)
        return np.asarray(rows.mean).astype(dtype)

    def sample_posterior(
        self,
        X: Any,  # noqa: N803
        n_sweeps: int = NUM_SWEEPS,
        n_chains: int = 4,
        random_state: int | np.random.RandomState | None = None,
    ) -> Self:
        """Draws from the exact posterior, by Gibbs chains that start at the fit; see `Gibbs`.

        The draws are stored in `samples_`, and intervals are of these from then on: on counts drawn
        from the model, those of 90 % hold 89 to 91 % of the true values, where those of the
        approximate posterior hold 59 to 81 %. The chains take some times as long as the fit.

        Args:
          X: that of `fit`, which the estimator does not store.
          n_sweeps: of each chain, the 40 sweeps of burn-in included.
          n_chains: chains, side by side, of which every fourth sweep is stored.
          random_state: as that of the estimator, for the draws.

        Raises:
          ValueError: if X is not that of the last `fit`, or has fractional numbers.
        """
        check_is_fitted(self)
        counts = whole_counts(read_table(self, X, reset=False)[0])
        if self._fitted_to is None or checksum_of(_arrays(counts)) != self._fitted_to:
            raise ValueError("posterior samples need the X of the last call of fit")
        check_scalar(n_chains, "n_chains", Integral, min_val=1)
        check_scalar(n_sweeps, "n_sweeps", Integral, min_val=Gibbs.burn_in + Gibbs.thin)
        self.samples_ = sample_posterior(
            self.model_,
            self.posterior_,
            counts,
            Gibbs(num_chains=int(n_chains)),
            num_sweeps=int(n_sweeps),
            seed=seed_of(random_state),
            say=self._say,
        )
        return self

    def transform_interval(
        self,
        X: Any,  # noqa: N803
        probability: float = 0.9,
        intervals: Intervals | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The lower and upper ends of the central posterior intervals of θ of new rows.

        Args:
          X: the rows.
          probability: that of the intervals.
          intervals: "variational", of the approximate posterior, which treats factors as
            independent, so that intervals are often too narrow; "sampled", of posterior samples of
            the rows at the draws of `sample_posterior`, whose factors are matched to those of the
            fit; by default of samples if there are any.

        Raises:
          ValueError: for sampled intervals before `sample_posterior`, or of fractional numbers.
        """
        samples = self._samples(intervals)
        if samples is None:
            rows, dtype = self._rows(X)
            return interval(rows, probability, dtype)
        tails_of(probability)
        counts, dtype = read_table(self, X, reset=False)
        found = sample_rows(self.model_, self.posterior_, samples.draws, whole_counts(counts))
        theta = np.concatenate([draw["rows"] for draw in found])
        matches = samples.matches(np.asarray(self.posterior_["columns"].mean))
        theta = np.take_along_axis(theta, matches[:, None], axis=2)
        return interval_of_draws(theta, probability, dtype)

    def components_interval(
        self, probability: float = 0.9, intervals: Intervals | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the central posterior intervals of β, in the shape of `components_`.

        The arguments, and errors, are as those of `transform_interval`.
        """
        samples = self._samples(intervals)
        columns, dtype = self.posterior_["columns"], self.components_.dtype
        if samples is None:
            low, high = interval(columns, probability, dtype)
            return low.T, high.T
        beta = samples.matched("columns", slice(None), samples.matches(np.asarray(columns.mean)))
        low, high = interval_of_draws(beta, probability, dtype)
        return low.T, high.T

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """The expected counts Σ_k θ_nk E[β_mk] of rows with factors X = θ, of shape (N, K)."""
        check_is_fitted(self)
        theta = check_array(X, dtype=[np.float64, np.float32], estimator=self)
        return theta @ self.components_

    def score(self, X: Any, y: None = None) -> float:  # noqa: N803
        """The mean log-likelihood of rows, with each half of the features predicted from the other.

            1/N Σ_nm log p(x_nm | r_nm),    r_nm = Σ_k E[θ_nk | the half without m] E[β_mk]

        in nats, with the likelihood of the model; greater is better. The halves are random, but the
        same for the same number of features. No number is predicted from itself, so that more
        components need not have a higher score. For fractional numbers, Γ(x + 1) replaces x!.

        Raises:
          ValueError: if there are fewer than two features.
        """
        del y
        check_is_fitted(self)
        counts, _ = read_table(self, X, reset=False)
        if self.n_features_in_ < 2:
            raise ValueError("a score needs 2 features or more, to predict one from another")
        starts = [(model, columns_of(posterior)) for model, posterior in self.starts_]
        return float(split_half_log_likelihoods(starts, counts).mean())

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> np.ndarray:
        """Draws rows of counts from the posterior predictive of the fit, or of the last minibatch.

        Each row draws θ from the posterior of a random row of the fit, and β from its posterior, in
        one of the starts.

        Returns:
          whole numbers, in the float type of the fitted X; shape (n_samples, n_features_in_).
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        posteriors = [posterior for _, posterior in self.starts_]
        counts = generate_mixture(seed_of(random_state), posteriors, int(n_samples), self.model_)[1]
        return counts.astype(self.components_.dtype)

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _samples(self, intervals: Intervals | None) -> Samples | None:
        """The samples that intervals are made from; None for those of the approximate posterior."""
        check_is_fitted(self)
        if intervals not in (None, *INTERVALS):
            raise ValueError(f"intervals must be one of {INTERVALS}, got {intervals!r}")
        if intervals == "sampled" and self.samples_ is None:
            raise ValueError("there are no posterior samples yet: call sample_posterior")
        return None if intervals == "variational" else self.samples_

    def _rows(self, X: Any) -> tuple[Gamma, type]:  # noqa: N803
        """The posterior of the factors of new rows, and the float type to return."""
        check_is_fitted(self)
        counts, dtype = read_table(self, X, reset=False)
        return fold_in(self.model_, self.posterior_, counts)["rows"], dtype

    def _with(self, posterior: Posterior, elbo: float, dtype: type) -> Self:
        """Stores a posterior in the estimator, and returns it."""
        if not np.isfinite(elbo):
            raise NonFiniteError(_NOT_FINITE)
        self.posterior_, self.elbo_ = posterior, elbo
        self.starts_ = [(self.model_, posterior)]
        self.samples_, self._fitted_to = None, None
        self.components_: np.ndarray = np.ascontiguousarray(posterior["columns"].mean.T, dtype)
        return self

    def _start(self, counts: csr_array) -> None:
        """Sets the priors and the initial posterior of the columns for the first step."""
        spec = model_of(self)
        self.model_ = spec.build(counts, np.ones(counts.shape[0]), 0)
        perturbations = random_perturbations(
            seed_of(self.random_state), counts, counts.shape, spec.num_factors
        )
        q = self.model_.initial(perturbations)
        self.posterior_, self.n_samples_seen_, self.n_steps_ = q, 0, 0

    def _starts(self, fit: FactorFit, config: Experiment) -> Iterator[TrainState]:
        try:
            for state, _ in fitted_starts(fit, config, self._say):
                yield state
        except NonFiniteError as error:
            raise NonFiniteError(_NOT_FINITE) from error

    def _say(self, line: str) -> None:
        if self.verbose:
            print(line)


def _arrays(counts: csr_array) -> tuple[np.ndarray, ...]:
    """What a checksum of counts is of."""
    return counts.data, counts.indices, counts.indptr
