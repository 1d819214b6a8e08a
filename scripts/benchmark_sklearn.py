"""Compares PoissonFactorizer with NMF and LDA in a pipeline of scikit-learn.

    python scripts/benchmark_sklearn.py --num_components 16,32,64

The pipeline is factors → standardized features → logistic regression, the same for all, on the
8 × 8 digits of scikit-learn (1797 images, counts 0 to 16). It prints the cross-validated accuracy
and the seconds of the whole cross-validation, including compilation.
"""

import time
import warnings

import numpy as np
from absl import flags, logging
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF, LatentDirichletAllocation
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from vigamma import PoissonFactorizer
from vigamma.command_line.start import start_script
from vigamma.devices.host import use_all_cores

_NUM_COMPONENTS = flags.DEFINE_list("num_components", ["16", "32", "64"], "Of all factorizations.")
_NUM_FOLDS = flags.DEFINE_integer("num_folds", 10, "Of the cross-validation.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the folds and of the factorizations.")
_ROW_SHAPE = flags.DEFINE_float("row_shape", None, "Of PoissonFactorizer; None for its default.")
_HIERARCHICAL = flags.DEFINE_bool("hierarchical", True, "Of PoissonFactorizer.")
_THREADS = flags.DEFINE_integer("blas_threads", 1, "Of BLAS; more make all three slower here.")


def factorizations(num_components: int) -> dict[str, object]:
    """The factorizations, with their own defaults except for the flags."""
    seed = _SEED.value
    return {
        "PoissonFactorizer": PoissonFactorizer(
            num_components,
            hierarchical=_HIERARCHICAL.value,
            row_shape=_ROW_SHAPE.value,
            random_state=seed,
        ),
        "NMF, Kullback-Leibler": NMF(
            num_components, beta_loss="kullback-leibler", solver="mu", random_state=seed
        ),
        "LDA": LatentDirichletAllocation(num_components, random_state=seed),
    }


def main(argv):
    """Prints a line for each factorization and number of components, and the total times."""
    del argv
    logging.set_verbosity(logging.WARNING)
    warnings.simplefilter("ignore", ConvergenceWarning)  # NMF stops at its default of 200 updates
    use_all_cores()
    images, labels = load_digits(return_X_y=True)
    folds = StratifiedKFold(_NUM_FOLDS.value, shuffle=True, random_state=_SEED.value)
    seconds: dict[str, float] = {}
    print(f"{'components':>10}  {'factorization':<22}  {'accuracy':>8}  {'seconds':>8}")
    for num_components in map(int, _NUM_COMPONENTS.value):
        for name, factors in factorizations(num_components).items():
            pipeline = make_pipeline(factors, StandardScaler(), LogisticRegression(max_iter=1000))
            started = time.perf_counter()
            with threadpool_limits(_THREADS.value):
                accuracy = cross_val_score(pipeline, images, labels, cv=folds, error_score="raise")
            taken = time.perf_counter() - started
            seconds[name] = seconds.get(name, 0.0) + taken
            print(f"{num_components:>10}  {name:<22}  {np.mean(accuracy):8.4f}  {taken:8.1f}")
    for name, total in seconds.items():
        print(f"{'all':>10}  {name:<22}  {'':>8}  {total:8.1f}")


if __name__ == "__main__":
    start_script(main)
