"""Compares the time of folding in new rows, all at once, with hpfrec's calls for single users.

    python scripts/benchmark_fold_in.py --counts train.npz --num_rows 10000

Both first fit the columns to the counts (an .npz of scipy.sparse), which is not timed, and then
fold in the first rows. hpfrec is timed on a few of these, with its defaults (10 updates each).
"""

import importlib.util
import time

import numpy as np
from absl import flags, logging

import vigamma
from vigamma.command_line.start import start_script
from vigamma.devices.host import keep_freed_memory, use_all_cores
from vigamma.inference.fold_in import fold_in

_COUNTS = flags.DEFINE_string("counts", None, "An .npz of scipy.sparse.", required=True)
_NUM_ROWS = flags.DEFINE_integer("num_rows", 10_000, "How many rows to fold in.", lower_bound=1)
_NUM_FACTORS = flags.DEFINE_integer("num_factors", 20, "K.", lower_bound=1)
_NUM_CALLS = flags.DEFINE_integer("num_calls", 500, "Rows that hpfrec is timed on.", lower_bound=1)


def main(argv):
    """Prints the seconds of both, and their ratio."""
    del argv
    logging.set_verbosity(logging.WARNING)
    use_all_cores()
    keep_freed_memory()
    counts = vigamma.SparseCounts(path=_COUNTS.value).load().counts
    rows = counts[: _NUM_ROWS.value]
    cold, warm = our_seconds(counts, rows)
    print(f"vigamma: {rows.shape[0]:,} rows in {warm:.3f} s ({cold:.3f} s with compilation)")
    if importlib.util.find_spec("hpfrec") is None:
        print("hpfrec is not installed")
        return
    each = hpfrec_seconds(counts, rows[: _NUM_CALLS.value])
    total = each * rows.shape[0]
    print(
        f"hpfrec: {1e3 * each:.2f} ms a row, {total:.1f} s in all: "
        f"{total / warm:.0f} times as long ({total / cold:.0f} times, with compilation)"
    )


def our_seconds(counts, rows) -> tuple[float, float]:
    """The seconds of the first and of the second call."""
    model = vigamma.HierarchicalPoissonFactorization(num_factors=_NUM_FACTORS.value)
    columns = vigamma.fit(model, counts, num_steps=10).posterior
    model = model.build(counts, np.ones(counts.shape[0]), 0)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        fold_in(model, columns, rows)
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]


def hpfrec_seconds(counts, rows) -> float:
    """The average seconds per call."""
    import pandas as pd
    from hpfrec import HPF

    entries = counts.tocoo()
    table = pd.DataFrame(
        {
            "UserId": entries.coords[0],
            "ItemId": entries.coords[1],
            "Count": entries.data.astype(float),
        }
    )
    model = HPF(k=_NUM_FACTORS.value, ncores=2, random_seed=1, verbose=False, maxiter=10)
    model.fit(table)
    known = set(np.unique(entries.coords[1]).tolist())
    new = [
        pd.DataFrame({"ItemId": row.indices, "Count": row.data.astype(float)})
        for row in (rows[i : i + 1] for i in range(rows.shape[0]))
        if row.nnz and known.issuperset(row.indices.tolist())
    ]
    started = time.perf_counter()
    for user in new:
        model.predict_factors(user)
    return (time.perf_counter() - started) / len(new)


if __name__ == "__main__":
    start_script(main)
