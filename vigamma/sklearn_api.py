"""Poisson factorization as a scikit-learn estimator."""

import warnings
from numbers import Integral, Real
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from vigamma.config import Experiment
from vigamma.data.files import LoadedCounts, SparseCounts
from vigamma.data.heldout import HeldOutCounts
from vigamma.data.sparse_counts import canonical_numbers, rows_of
from vigamma.diagnostics.predictive import total_log_likelihood
from vigamma.errors import NonFiniteError
from vigamma.families.gamma import Gamma
from vigamma.fits.coordinate_ascent import CoordinateAscentFit
from vigamma.inference.coordinate_ascent import CoordinateAscent
from vigamma.inference.fold_in import fold_in
from vigamma.inference.minibatch import minibatch_step
from vigamma.inference.stochastic import StochasticVariationalInference
from vigamma.mesh import make_mesh
from vigamma.models.factor_model import ROW_LATENTS, Posterior
from vigamma.models.hierarchical_poisson_factorization import HierarchicalPoissonFactorization
from vigamma.models.poisson_factorization import PoissonFactorization

_DTYPES = [
    np.float64,
    np.float32,
    *(f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)),
]
"""Numbers of other types become the first of these."""

_FUSED_SWEEPS = 100
_RESTART_SWEEPS = 40
_LOCAL_UPDATES = 30
"""Of rows that come once, and start from their prior."""


class PoissonFactorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Bayesian non-negative matrix factorization of counts: x_nm ~ Poisson(Σ_k θ_nk β_mk).

    It takes the place of `NMF(beta_loss="kullback-leibler", solver="mu")`, the maximum-likelihood
    estimate of the same model. θ and β have Gamma priors, and what is found is a Gamma posterior
    for each of them (see `vigamma.models.factor_model`): its mean is what `transform` and
    `components_` return, its quantiles are the intervals.

    X is a matrix of counts: an array, a sparse matrix of any format, a DataFrame, or an AnnData
    (its `X`, with the names of its variables). Numbers that are not whole are taken as well, but
    their scale matters, unlike that for NMF: the larger the numbers, the more they outweigh the
    prior. Computations are in float32; results have the float type of X.

    It runs on whatever devices JAX has, and changes no setting of JAX. JAX starts with one device
    for the whole CPU; `vigamma.mesh.use_all_cores()`, called before JAX is first used, makes every
    core one, and large fits as much faster. Fits of nearly equal shapes share a compiled program.

    Args:
      n_components: K.
      hierarchical: whether each row and each feature has a rate of its own, its activity or
        popularity, as in `HierarchicalPoissonFactorization`, or not, as in `PoissonFactorization`.
      row_shape: the shape of the prior of θ; smaller is sparser.
      column_shape: that of β.
      rate_shape: that of the rates, if hierarchical; smaller lets activity and popularity vary
        more.
      learn_priors: whether `fit` moves the priors to a higher ELBO.
      n_init: so many starts, of which the one with the highest ELBO after some sweeps goes on.
      tol: `fit` stops after three sweeps in a row that raise the ELBO by less than this part of
        its size; 0 for never.
      max_iter: the most sweeps of `fit`.
      learning_offset: of `partial_fit`; at least 0, larger makes the first steps smaller.
      learning_decay: of `partial_fit`; above 0.5, at most 1, larger makes the last steps smaller.
      total_samples: the number of rows that the minibatches of `partial_fit` are drawn from; by
        default that of all that it has been given, `n_samples_seen_`.
      random_state: an int, for the same results every time, a RandomState, or None.
      verbose: whether `fit` prints the ELBO from time to time.

    Attributes:
      components_: E[β]; shape (n_components, n_features_in_).
      elbo_: the evidence lower bound in nats; after `partial_fit` an estimate of it.
      n_iter_: the number of sweeps of `fit`.
      n_steps_: the number of calls of `partial_fit`.
      n_samples_seen_: the number of rows that `fit` and `partial_fit` have been given.
      n_features_in_: the number of features.
      feature_names_in_: their names, if X had any.
      model_: the priors, a `FactorModel`.
      posterior_: "rows" (those of `fit`, or of the last minibatch) and "columns", and, if
        hierarchical, "row_rates" and "column_rates"; `Gamma`s in NumPy.
    """

    def __init__(
        self,
        n_components: int = 20,
        *,
        hierarchical: bool = True,
        row_shape: float = 0.3,
        column_shape: float = 0.3,
        rate_shape: float = 0.3,
        learn_priors: bool = False,
        n_init: int = 1,
        tol: float = 1e-5,
        max_iter: int = 500,
        learning_offset: float = 1.0,
        learning_decay: float = 0.51,
        total_samples: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.n_components = n_components
        self.hierarchical = hierarchical
        self.row_shape = row_shape
        self.column_shape = column_shape
        self.rate_shape = rate_shape
        self.learn_priors = learn_priors
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.learning_offset = learning_offset
        self.learning_decay = learning_decay
        self.total_samples = total_samples
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: None = None) -> Self:  # noqa: N803
        """Finds the posterior by coordinate ascent.

        Raises:
          ValueError: for a parameter out of range, and for an X that is not of finite numbers that
            are at least 0, or has no nonzero.
          NonFiniteError: if the ELBO does not stay finite.
        """
        del y
        counts, dtype = self._read(X, reset=True)
        config, max_iter = self._experiment(), int(self.max_iter)
        fit, mesh = CoordinateAscentFit(config, LoadedCounts(_not_empty(counts))), make_mesh()
        arrays = fit.start(mesh)
        advance = fit.compile(arrays, mesh, _FUSED_SWEEPS)
        arrays = fit.before_the_first_step(arrays, advance, mesh, self._say)
        while fit.step_of(arrays) < max_iter and not fit.is_done(arrays):
            arrays, _ = advance(arrays, max_iter)
            self._say(f"sweep {fit.step_of(arrays)}: ELBO {float(arrays.elbo):,.1f} nats")
        if not fit.is_done(arrays) and self.tol > 0:
            message = f"{max_iter} sweeps (max_iter) have not converged to tol={self.tol}"
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        self.n_iter_, self.n_steps_ = fit.step_of(arrays), 0
        self.n_samples_seen_ = counts.shape[0]
        self.model_ = jax.device_get(arrays.model)
        return self._with(fit.posterior(arrays), float(arrays.elbo), dtype)

    def partial_fit(self, X: Any, y: None = None) -> Self:  # noqa: N803
        """Takes a stochastic natural-gradient step (Hoffman, Blei, Wang & Paisley 2013).

        Its size is ρ = (1 + t + learning_offset)^-learning_decay, where t counts the rows seen
        before in minibatches of the size of this one. So it may follow `fit`, whose rows count.
        The priors are made from the first minibatch, if there has been no `fit`, and then stay.

        Args:
          X: some rows, which are not kept.
          y: ignored.
        """
        del y
        is_first = not hasattr(self, "posterior_")
        counts, dtype = self._read(X, reset=is_first)
        if is_first:
            self._start(_not_empty(counts))
        inference, num_rows = self._stochastic_inference(), counts.shape[0]
        num_batches = (self.total_samples or self.n_samples_seen_ + num_rows) / num_rows
        step_size = inference.step_size(self.n_samples_seen_ / num_rows)
        columns = {n: gamma for n, gamma in self.posterior_.items() if n not in ROW_LATENTS}
        q, elbo = minibatch_step(inference, self.model_, columns, counts, num_batches, step_size)
        self.n_samples_seen_ += num_rows
        self.n_steps_ += 1
        return self._with(q, elbo, dtype)

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """E[θ] of new rows, the posterior of the components being that of the fit.

        A row does not depend on the others. Those of `fit` get the values that new ones would.
        """
        rows, dtype = self._rows(X)
        return rows.mean.astype(dtype)

    def transform_interval(
        self,
        X: Any,  # noqa: N803
        probability: float = 0.9,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The lower and upper ends of the central posterior intervals of θ of new rows.

        They are those of the approximation, in which factors are independent: often too narrow.
        """
        rows, dtype = self._rows(X)
        return _interval(rows, probability, dtype)

    def components_interval(self, probability: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """The lower and upper ends of the central posterior intervals of β, as `components_`."""
        check_is_fitted(self)
        ends = _interval(self.posterior_["columns"], probability, self.components_.dtype)
        return tuple(end.T for end in ends)

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """The expected counts Σ_k θ_nk E[β_mk] of rows with factors X, of shape (N, K)."""
        check_is_fitted(self)
        theta = check_array(X, dtype=[np.float64, np.float32], estimator=self)
        return theta @ self.components_

    def score(self, X: Any, y: None = None) -> float:  # noqa: N803
        """The log-likelihood of X, each half of the features predicted from the other; per row.

            1/N Σ_nm log Poisson(x_nm | r_nm),    r_nm = Σ_k E[θ_nk | the half without m] E[β_mk]

        in nats; greater is better. The halves are random, but always the same for the same number
        of features. No number is predicted from itself, so that more components do not always have
        a higher score. Numbers that are not whole have their x! replaced by Γ(x + 1).

        Raises:
          ValueError: if there are less than two features.
        """
        del y
        check_is_fitted(self)
        counts, _ = self._read(X, reset=False)
        if self.n_features_in_ < 2:
            raise ValueError("a score needs 2 features or more, to predict one from another")
        columns, total = self.posterior_["columns"], 0.0
        order = np.random.default_rng(0).permutation(self.n_features_in_)
        for of_half in (slice(0, None, 2), slice(1, None, 2)):
            seen, unseen = np.sort(np.delete(order, of_half)), np.sort(order[of_half])
            seen_columns = jax.tree.map(lambda leaf, index=seen: leaf[index], columns)
            theta = fold_in(self.model_, seen_columns, counts[:, seen])["rows"].mean
            part = counts[:, unseen]
            heldout = HeldOutCounts(rows_of(part), part.indices, part.data.astype(np.float32), 1.0)
            total += total_log_likelihood(theta, columns.mean[unseen], heldout)
        return total / counts.shape[0]

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> np.ndarray:
        """Draws rows of counts that are like those of the fit, or of the last minibatch.

        Each takes θ from the posterior of one of these rows, drawn at random, and β from its own.

        Returns:
          whole numbers, of the float type of the X of the fit; shape (n_samples, n_features_in_).
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        key = jax.random.key(_seed(random_state))
        q = jax.tree.map(jnp.asarray, self.posterior_)
        counts = self.model_.generate_rows(key, q, int(n_samples))[1]
        return np.asarray(counts).astype(self.components_.dtype)

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _read(self, X: Any, reset: bool) -> tuple[csr_array, type]:  # noqa: N803
        """Canonical counts, and the type that floats made of them have."""
        options = {"accept_sparse": "csr", "dtype": _DTYPES, "ensure_non_negative": True}
        if hasattr(X, "var_names") and hasattr(X, "to_memory"):  # an AnnData
            validate_data(self, X.var_names.to_frame().T, reset=reset, skip_check_array=True)
            X = X.to_memory().X if X.isbacked else X.X  # noqa: N806
            X = check_array(X, **options, estimator=self, input_name="X")  # noqa: N806
        else:
            X = validate_data(self, X, reset=reset, **options)  # noqa: N806
        return canonical_numbers(X), np.float32 if X.dtype == np.float32 else np.float64

    def _rows(self, X: Any) -> tuple[Gamma, type]:  # noqa: N803
        """The posterior of the factors of new rows, and the float type to return."""
        check_is_fitted(self)
        counts, dtype = self._read(X, reset=False)
        return fold_in(self.model_, self.posterior_["columns"], counts)["rows"], dtype

    def _with(self, posterior: Posterior, elbo: float, dtype: type) -> Self:
        """The estimator that has come to this posterior."""
        if not np.isfinite(elbo):
            raise NonFiniteError("the ELBO is not finite; are there very large numbers in X?")
        self.posterior_, self.elbo_ = posterior, elbo
        self.components_ = np.ascontiguousarray(posterior["columns"].mean.T, dtype)
        return self

    def _start(self, counts: csr_array) -> None:
        """Priors, and a posterior of the columns, to take the first step from."""
        spec = self._model_spec()
        self.model_ = spec.build(counts, np.ones(counts.shape[0]), 0)
        q = self.model_.initial(_seed(self.random_state), counts, counts.shape, spec.num_factors)
        self.posterior_, self.n_samples_seen_, self.n_steps_ = q, 0, 0

    def _model_spec(self) -> PoissonFactorization | HierarchicalPoissonFactorization:
        check_scalar(self.n_components, "n_components", Integral, min_val=1)
        shapes = {name: float(getattr(self, name)) for name in ("row_shape", "column_shape")}
        options = {"num_factors": int(self.n_components)} | shapes
        if not self.hierarchical:
            return PoissonFactorization(**options)
        return HierarchicalPoissonFactorization(**options, rate_shape=float(self.rate_shape))

    def _experiment(self) -> Experiment:
        """What a run would call this fit, but for the counts."""
        for name in ("n_init", "max_iter"):
            check_scalar(getattr(self, name), name, Integral, min_val=1)
        check_scalar(self.tol, "tol", Real, min_val=0, max_val=1, include_boundaries="left")
        inference = CoordinateAscent(
            tolerance=float(self.tol),
            learn_priors=bool(self.learn_priors),
            num_restarts=int(self.n_init),
            restart_sweeps=min(_RESTART_SWEEPS, int(self.max_iter)),
        )
        return Experiment(
            data=SparseCounts(),
            model=self._model_spec(),
            inference=inference,
            num_steps=int(self.max_iter),
            seed=_seed(self.random_state),
        )

    def _stochastic_inference(self) -> StochasticVariationalInference:
        if self.total_samples is not None:
            check_scalar(self.total_samples, "total_samples", Integral, min_val=1)
        check_scalar(self.learning_offset, "learning_offset", Real, min_val=0)
        check_scalar(
            self.learning_decay,
            "learning_decay",
            Real,
            min_val=0.5,
            max_val=1,
            include_boundaries="right",
        )
        return StochasticVariationalInference(
            delay=float(self.learning_offset),
            forgetting_rate=float(self.learning_decay),
            local_updates=_LOCAL_UPDATES,
        )

    def _say(self, line: str) -> None:
        if self.verbose:
            print(line)


def _not_empty(counts: csr_array) -> csr_array:
    if counts.nnz == 0:
        raise ValueError("X has no nonzero: there is nothing to factorize")
    return counts


def _seed(random_state: int | np.random.RandomState | None) -> int:
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _interval(gamma: Gamma, probability: float, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    check_scalar(
        probability, "probability", Real, min_val=0, max_val=1, include_boundaries="neither"
    )
    tails = (1 - probability) / 2, (1 + probability) / 2
    return tuple(np.asarray(gamma.quantile(tail)).astype(dtype) for tail in tails)
