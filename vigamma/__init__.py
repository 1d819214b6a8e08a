"""vigamma: Gamma variational inference for counts, on JAX."""

import importlib
from typing import TYPE_CHECKING, Any

from vigamma.counts.dense import check_counts
from vigamma.counts.sparse import check_sparse_counts
from vigamma.data.digits import DigitCounts, Digits
from vigamma.data.files import SparseCounts
from vigamma.data.heldout import HeldOut
from vigamma.data.synthetic import SyntheticFactors
from vigamma.diagnostics.certificate import Certificate, certify
from vigamma.diagnostics.importance import ImportanceCheck, importance_check
from vigamma.errors import (
    AmbiguousNameError,
    CheckpointError,
    ConfigError,
    Interrupted,
    LostProcessError,
    NonFiniteError,
    RunError,
    UnknownNameError,
)
from vigamma.estimators.analytic import AnalyticElbo
from vigamma.estimators.pathwise import PathwiseElbo
from vigamma.estimators.score_function import ScoreFunctionElbo
from vigamma.families.beta import Beta
from vigamma.families.gamma import Gamma
from vigamma.families.joint import log_prob
from vigamma.families.mean_field import MeanFieldBeta, MeanFieldGamma, RowParam
from vigamma.families.negative_binomial import NegativeBinomial
from vigamma.families.poisson import Poisson
from vigamma.families.product import ProductOfGammas
from vigamma.inference.adam import Adam
from vigamma.inference.annealing import EvidenceBounds, log_evidence_bounds
from vigamma.inference.coordinate_ascent import CoordinateAscent
from vigamma.inference.gibbs import Gibbs
from vigamma.inference.gradient_ascent import GradientAscent, MeanField
from vigamma.inference.importance import check_rates, check_rows
from vigamma.inference.natural_gradient import NaturalGradient, scale_by_inverse_fisher
from vigamma.inference.stochastic import StochasticVariationalInference
from vigamma.inference.train_state import TrainState
from vigamma.models.factor_model import FactorModel
from vigamma.models.gamma_poisson import CountStatistics, DomainKnowledge, GammaPoisson
from vigamma.models.hierarchical_poisson_factorization import HierarchicalPoissonFactorization
from vigamma.models.negative_binomial_factorization import (
    HierarchicalNegativeBinomialFactorization,
    NegativeBinomialFactorization,
)
from vigamma.models.poisson_factorization import PoissonFactorization
from vigamma.runs.chains import sample_posterior
from vigamma.runs.experiment import Experiment
from vigamma.runs.fitted import load_run
from vigamma.runs.in_memory import Fitted, fit
from vigamma.runs.loading import load_run_data
from vigamma.runs.samples import SAMPLES, Samples, load_samples
from vigamma.runs.sampling import sample
from vigamma.runs.search import SearchOutcome, model_grid, search
from vigamma.runs.train import run_experiment
from vigamma.typing import spec

if TYPE_CHECKING:
    from vigamma.answers.evaluation import evaluate
    from vigamma.answers.export import export
    from vigamma.answers.new_rows import answer_new_rows, read_new_rows
    from vigamma.answers.recommendation import recommend, recommend_all, recommend_new
    from vigamma.answers.similarity import similar
    from vigamma.answers.topics import topics
    from vigamma.report.report import write_report
    from vigamma.sklearn.factorizer import PoissonFactorizer

__all__ = [
    "SAMPLES",
    "Adam",
    "AmbiguousNameError",
    "AnalyticElbo",
    "Beta",
    "Certificate",
    "CheckpointError",
    "ConfigError",
    "CoordinateAscent",
    "CountStatistics",
    "DigitCounts",
    "Digits",
    "DomainKnowledge",
    "EvidenceBounds",
    "Experiment",
    "FactorModel",
    "Fitted",
    "Gamma",
    "GammaPoisson",
    "Gibbs",
    "GradientAscent",
    "HeldOut",
    "HierarchicalNegativeBinomialFactorization",
    "HierarchicalPoissonFactorization",
    "ImportanceCheck",
    "Interrupted",
    "LostProcessError",
    "MeanField",
    "MeanFieldBeta",
    "MeanFieldGamma",
    "NaturalGradient",
    "NegativeBinomial",
    "NegativeBinomialFactorization",
    "NonFiniteError",
    "PathwiseElbo",
    "Poisson",
    "PoissonFactorization",
    "PoissonFactorizer",
    "ProductOfGammas",
    "RowParam",
    "RunError",
    "Samples",
    "ScoreFunctionElbo",
    "SearchOutcome",
    "SparseCounts",
    "StochasticVariationalInference",
    "SyntheticFactors",
    "TrainState",
    "UnknownNameError",
    "answer_new_rows",
    "certify",
    "check_counts",
    "check_rates",
    "check_rows",
    "check_sparse_counts",
    "evaluate",
    "export",
    "fit",
    "importance_check",
    "load_run",
    "load_run_data",
    "load_samples",
    "log_evidence_bounds",
    "log_prob",
    "model_grid",
    "read_new_rows",
    "recommend",
    "recommend_all",
    "recommend_new",
    "run_experiment",
    "sample",
    "sample_posterior",
    "scale_by_inverse_fisher",
    "search",
    "similar",
    "spec",
    "topics",
    "write_report",
]


_LAZY = {
    "PoissonFactorizer": "vigamma.sklearn.factorizer",
    "answer_new_rows": "vigamma.answers.new_rows",
    "evaluate": "vigamma.answers.evaluation",
    "export": "vigamma.answers.export",
    "read_new_rows": "vigamma.answers.new_rows",
    "recommend": "vigamma.answers.recommendation",
    "recommend_all": "vigamma.answers.recommendation",
    "recommend_new": "vigamma.answers.recommendation",
    "similar": "vigamma.answers.similarity",
    "topics": "vigamma.answers.topics",
    "write_report": "vigamma.report.report",
}
"""Imported on first use: pandas and scikit-learn take a second that training need not wait for."""


if not TYPE_CHECKING:  # type checkers would accept any attribute name

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return getattr(importlib.import_module(_LAZY[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
