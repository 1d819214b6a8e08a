"""Recommendations: the columns with the highest rates in a row, as items for a user.

The rate of item m for user n, at exposure 1, is r = Σ_k θ_nk β_mk. Under q, whose factors are
independent Gammas of shapes a_k and c_k,

E[r] = Σ_k E[θ_nk] E[β_mk]
Var[r] = Σ_k (E[θ_nk] E[β_mk])² (1/a_k + 1/c_k + 1/(a_k c_k))

Its credible interval is central, from draws from q or, with `draws=0`, from the Gamma with that
mean and variance, which takes no time. For the 20 best items of users, the nominal 5 % tails of
that Gamma contain 5.0 % above (± 0.1 %, root mean square); below, they contain 4.8 % for synthetic
counts (± 0.4 %) and 4.0 % for images (± 1.2 %). Tails from 1,000 draws are off by 0.7 %. If the
standard deviation of a rate is as large as its mean, the lower tail contains only 1 %.

If a run has several starts, the posterior is their mixture (`vigamma.models.mixture`). Means,
standard deviations and intervals are those of the mixture, and include differences between starts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.special import gammaincinv

from vigamma.answers.intervals import samples_for
from vigamma.diagnostics.ranking import exclude, highest, rate_blocks
from vigamma.families.gamma import Gamma
from vigamma.inference.fold_in import fold_in
from vigamma.inference.row_samples import sample_rows
from vigamma.models.factor_model import Posterior
from vigamma.models.mixture import mixture_means, mixture_moments
from vigamma.runs.fitted import FittedRun
from vigamma.runs.samples import Intervals, Samples
from vigamma.terminal.pace import Pace

_RATES_AT_ONCE = 2**24  # 64 MiB


class _Options(NamedTuple):
    """The options of `recommend`, and the names of the columns."""

    top: int
    interval: float
    draws: int
    seed: int
    column_names: np.ndarray

    @property
    def tails(self) -> np.ndarray:
        """The probabilities below the two ends of an interval."""
        return np.array([1 - self.interval, 1 + self.interval]) / 2


def recommend(
    run: FittedRun,
    users: Sequence[str],
    *,
    seen: csr_array | None = None,
    top: int = 20,
    interval: float = 0.9,
    draws: int = 10_000,
    seed: int = 0,
    intervals: Intervals | None = None,
) -> pd.DataFrame:
    """The items with the highest posterior mean rates for users that are rows of the run.

    Args:
      run: from `load_run`.
      users: names of rows, or their ids.
      seen: a matrix (N, M), for example `load_run_data(run).seen`; the items that it stores for a
        user are excluded.
      top: the maximum number of items per user; equal rates are ordered by column.
      interval: the probability of the credible intervals.
      draws: Monte Carlo draws per variational interval; 0 to use the Gamma with the same moments.
      seed: the seed of the draws, which also depend on the user, but not on the other users.
      intervals: "sampled", of the posterior samples of the run, as are means and ranks then;
        "variational", of the mean-field approximation, which are too narrow; by default of the
        samples if there are any, and the run has a single start.

    Returns:
      one row per user and rank: user, rank, item, rate, sd, low, high.

    Raises:
      ConfigError: for sampled intervals of a run without samples.
      UnknownNameError: for a user that does not exist.
    """
    indices = run.factors.indices_of("row", users, "user")
    options = _options(run, top, interval, draws, seed)
    named = run.factors.row_names[indices].astype(object)
    seen = None if seen is None else seen[indices]
    if (samples := samples_for(run, intervals)) is not None:
        blocks = _sampled_blocks(samples, named, indices, seen, options)
    else:
        rows = [_taken(start.q["rows"], indices) for start in run.starts]
        blocks = _blocks(run, rows, named, indices, seen, options)
    return pd.concat([table for _, table in blocks], ignore_index=True)


def recommend_all(
    run: FittedRun,
    users: Sequence[str] | None = None,
    *,
    seen: csr_array | None = None,
    top: int = 20,
    interval: float = 0.9,
    draws: int = 0,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    intervals: Intervals | None = "variational",
) -> Iterator[pd.DataFrame]:
    """Yields the table of `recommend` in blocks of users; by default for all users, without draws.

    `say` is called now and then with a line of progress. Intervals are variational unless samples
    are asked for: the rates of all cells in every draw take as many times as long as draws are.
    """
    names, rows = run.factors.row_names, [start.q["rows"] for start in run.starts]
    indices = np.arange(len(names))
    if users is not None:
        indices = run.factors.indices_of("row", users, "user")
        rows = [_taken(q, indices) for q in rows]
        seen = None if seen is None else seen[indices]
    options = _options(run, top, interval, draws, seed)
    pace = Pace(indices.size, "users", say)
    named = names[indices].astype(object)
    if (samples := samples_for(run, intervals)) is not None:
        blocks = _sampled_blocks(samples, named, indices, seen, options)
    else:
        blocks = _blocks(run, rows, named, indices, seen, options)
    for done, table in blocks:
        pace.update(done)
        yield table


def recommend_new(
    run: FittedRun,
    counts: csr_array,
    users: Sequence[str] | np.ndarray = ("new",),
    *,
    exposures: np.ndarray | None = None,
    seen: csr_array | None = None,
    include_seen: bool = False,
    top: int = 20,
    interval: float = 0.9,
    draws: int = 10_000,
    seed: int = 0,
    intervals: Intervals | None = None,
) -> pd.DataFrame:
    """The table of `recommend` for users that were not in the run, given their counts.

    Their factors are found by coordinate ascent with the columns held fixed, see `fold_in`; with
    posterior samples by Gibbs sampling given each draw of the columns, see `sample_rows`.

    Args:
      run: from `load_run`.
      counts: canonical counts of the new users; shape (U, M).
      users: their names.
      exposures: e_n, for example `load_run_data(run).exposures_of(counts)`; by default 1.
      seen: a matrix (U, M), for example `read_new_rows(run, path).seen`; the items that it stores
        for a user are excluded; by default those in `counts`.
      include_seen: whether those items may be recommended.
      top: the maximum number of items per user.
      interval: the probability of the credible intervals.
      draws: as for `recommend`.
      seed: the seed of the draws.
      intervals: as for `recommend`.

    Raises:
      ConfigError: for sampled intervals of a run without samples.
    """
    seen = None if include_seen else counts if seen is None else seen
    if (samples := samples_for(run, intervals)) is not None:
        options, names = _options(run, top, interval, draws, seed), np.array(users, object)
        of_new = samples_of_new(run, samples, counts, exposures, seed)
        blocks = _sampled_blocks(of_new, names, np.arange(len(names)), seen, options)
        return pd.concat([table for _, table in blocks], ignore_index=True)
    q = posterior_of_new(run, counts, exposures)
    return recommend_folded(
        run, q, users, seen=seen, top=top, interval=interval, draws=draws, seed=seed
    )


def posterior_of_new(
    run: FittedRun, counts: csr_array, exposures: np.ndarray | None = None
) -> list[Posterior]:
    """The posterior of rows that were not in the run, by `fold_in`, in every start."""
    return [fold_in(start.model, start.q, counts, exposures) for start in run.starts]


def samples_of_new(
    run: FittedRun, samples: Samples, counts: csr_array, exposures: np.ndarray | None, seed: int
) -> Samples:
    """Samples of rows that were not in the run, in place of its own rows; see `sample_rows`."""
    rows = sample_rows(run.factors.model, run.factors.q, samples.draws, counts, exposures, seed)
    draws = [draw | own for draw, own in zip(samples.draws, rows, strict=True)]
    return samples._replace(draws=draws)


def recommend_folded(
    run: FittedRun,
    q: Sequence[Posterior],
    users: Sequence[str] | np.ndarray,
    *,
    seen: csr_array | None,
    first: int = 0,
    top: int,
    interval: float,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """The table of `recommend_new`, from the posterior of the users.

    `q` is the result of `posterior_of_new`, and `users` are their names. Items that `seen`, (U, M),
    stores are excluded. `first`, the number of new users before these, makes the draws of a user
    independent of the block. The other arguments are those of `recommend_new`.
    """
    options = _options(run, top, interval, draws, seed)
    indices = np.arange(len(users)) + len(run.factors.row_names) + first
    rows = [start["rows"] for start in q]
    blocks = _blocks(run, rows, np.array(users, object), indices, seen, options)
    return pd.concat([table for _, table in blocks], ignore_index=True)


def moments_of_rates(rows: Gamma, columns: Gamma) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of Σ_k θ_k β_k, in float64.

    Args:
      rows: the posterior of θ for each rate; shape (E, K).
      columns: the posterior of β for each rate; shape (E, K).
    """
    a, c = (np.asarray(side.concentration, np.float64) for side in (rows, columns))
    means = (a / rows.rate) * (c / columns.rate)
    variances = means**2 * (1 / a + 1 / c + 1 / (a * c))
    return means.sum(axis=1), np.sqrt(variances.sum(axis=1))


def _sampled_blocks(
    samples: Samples,
    users: np.ndarray,
    indices: np.ndarray,
    seen: csr_array | None,
    options: _Options,
) -> Iterator[tuple[int, pd.DataFrame]]:
    """As `_blocks`, with means, standard deviations and quantiles of the draws."""
    num_columns = len(options.column_names)
    size = max(_RATES_AT_ONCE // num_columns, 1)
    for start in range(0, len(indices), size):
        block = slice(start, min(start + size, len(indices)))
        means = np.zeros((len(indices[block]), num_columns), np.float32)
        for draw in samples.draws:
            for rows, columns in zip(draw["rows"], draw["columns"], strict=True):
                means += rows[indices[block]] @ columns.T
        means /= samples.num_draws
        if seen is not None:
            exclude(means, seen[block])
        owner, rank, item = highest(means, options.top)
        theta = samples.taken("rows", indices[block])[:, owner].astype(np.float64)
        rates = (theta * samples.taken("columns", item)).sum(axis=2)
        low, high = np.quantile(rates, options.tails, axis=0, method="weibull")
        values = {"rate": rates.mean(axis=0), "sd": rates.std(axis=0, ddof=1)}
        values |= {"low": low, "high": high}
        yield block.stop, _table(users[block][owner], rank, item, values, options)


def _table(
    users: np.ndarray,
    rank: np.ndarray,
    item: np.ndarray,
    values: dict[str, np.ndarray],
    options: _Options,
) -> pd.DataFrame:
    """The table of `recommend`: `rank` counts from 0, `item` are numbers of columns."""
    names = options.column_names[item].astype(object)
    table: dict[str, Any] = {"user": users, "rank": rank + 1, "item": names}
    return pd.DataFrame(table | values)


def _options(run: FittedRun, top: int, interval: float, draws: int, seed: int) -> _Options:
    if top < 1 or draws < 0 or seed < 0 or not 0 < interval < 1:
        raise ValueError(
            "top must be at least 1, draws and seed at least 0, and interval between 0 and 1, got "
            f"{top}, {draws}, {seed} and {interval}"
        )
    return _Options(top, interval, draws, seed, run.factors.column_names)


def _blocks(
    run: FittedRun,
    rows: Sequence[Gamma],
    users: np.ndarray,
    indices: np.ndarray,
    seen: csr_array | None,
    options: _Options,
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yields the number of users so far and the table of each block.

    `rows` are the factors of the users in every start; `indices` seed the draws of each user.
    """
    columns = [start.q["columns"] for start in run.starts]
    sides_of = zip(rows, columns, strict=True)
    means = [(np.asarray(q.mean), np.asarray(beta.mean)) for q, beta in sides_of]
    for block, rates in rate_blocks(*mixture_means(means), seen):
        owner, rank, item = highest(rates, options.top)
        sides = [
            (_taken(_taken(q, block), owner), _taken(beta, item))
            for q, beta in zip(rows, columns, strict=True)
        ]
        of_starts = np.array([moments_of_rates(*side) for side in sides])
        centers, deviations = mixture_moments(of_starts[:, 0], of_starts[:, 1])
        if options.draws:
            keys = indices[block][owner]
            low, high = _quantiles_of_draws(sides, keys, options).T
        else:
            shapes = (centers / deviations) ** 2
            low, high = (gammaincinv(shapes, tail) * centers / shapes for tail in options.tails)
        values = {"rate": centers, "sd": deviations, "low": low, "high": high}
        yield block.stop, _table(users[block][owner], rank, item, values, options)


def _quantiles_of_draws(
    sides: Sequence[tuple[Gamma, Gamma]], keys: np.ndarray, options: _Options
) -> np.ndarray:
    """The quantiles of every rate, shape (E, 2); all rates of a user share its draws of θ.

    `sides` are the factors of rows and columns in every start. The draws are divided equally among
    the starts.
    """
    quantiles = np.empty((keys.size, 2))
    size = -(-options.draws // len(sides))
    for i, key in enumerate(keys):
        if i == 0 or key != keys[i - 1]:
            rng = np.random.default_rng([options.seed, int(key)])
            thetas = [_draws(rng, _taken(rows, i), size) for rows, _ in sides]
        rates = [
            (theta * _draws(rng, _taken(columns, i), size)).sum(axis=1)
            for theta, (_, columns) in zip(thetas, sides, strict=True)
        ]
        quantiles[i] = np.quantile(rates, options.tails)
    return quantiles


def _draws(rng: np.random.Generator, q: Gamma, num_draws: int) -> np.ndarray:
    size = num_draws, q.rate.shape[-1]
    return rng.standard_gamma(q.concentration.astype(np.float64), size) / q.rate


def _taken(q: Gamma, index: Any) -> Gamma:
    return Gamma(q.concentration[index], q.rate[index])
