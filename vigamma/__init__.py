"""vigamma: Gamma variational inference for counts, on JAX.

Every name is imported on first use, so that a command waits only for what it needs.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vigamma.answers.evaluation import evaluate as evaluate
    from vigamma.answers.export import export as export
    from vigamma.answers.new_rows import answer_new_rows as answer_new_rows
    from vigamma.answers.new_rows import read_new_rows as read_new_rows
    from vigamma.answers.recommendation import recommend as recommend
    from vigamma.answers.recommendation import recommend_all as recommend_all
    from vigamma.answers.recommendation import recommend_new as recommend_new
    from vigamma.answers.similarity import similar as similar
    from vigamma.answers.topics import topics as topics
    from vigamma.counts.dense import check_counts as check_counts
    from vigamma.counts.sparse import check_sparse_counts as check_sparse_counts
    from vigamma.data.digits import DigitCounts as DigitCounts
    from vigamma.data.digits import Digits as Digits
    from vigamma.data.docstrings import Docstrings as Docstrings
    from vigamma.data.files import SparseCounts as SparseCounts
    from vigamma.data.heldout import HeldOut as HeldOut
    from vigamma.data.synthetic import SyntheticFactors as SyntheticFactors
    from vigamma.diagnostics.certificate import Certificate as Certificate
    from vigamma.diagnostics.certificate import certify as certify
    from vigamma.diagnostics.importance import ImportanceCheck as ImportanceCheck
    from vigamma.diagnostics.importance import importance_check as importance_check
    from vigamma.errors import AmbiguousNameError as AmbiguousNameError
    from vigamma.errors import CheckpointError as CheckpointError
    from vigamma.errors import ConfigError as ConfigError
    from vigamma.errors import Interrupted as Interrupted
    from vigamma.errors import LostProcessError as LostProcessError
    from vigamma.errors import NonFiniteError as NonFiniteError
    from vigamma.errors import RunError as RunError
    from vigamma.errors import UnknownNameError as UnknownNameError
    from vigamma.estimators.analytic import AnalyticElbo as AnalyticElbo
    from vigamma.estimators.pathwise import PathwiseElbo as PathwiseElbo
    from vigamma.estimators.score_function import ScoreFunctionElbo as ScoreFunctionElbo
    from vigamma.families.beta import Beta as Beta
    from vigamma.families.gamma import Gamma as Gamma
    from vigamma.families.joint import log_prob as log_prob
    from vigamma.families.mean_field import MeanFieldBeta as MeanFieldBeta
    from vigamma.families.mean_field import MeanFieldGamma as MeanFieldGamma
    from vigamma.families.mean_field import RowParam as RowParam
    from vigamma.families.negative_binomial import NegativeBinomial as NegativeBinomial
    from vigamma.families.poisson import Poisson as Poisson
    from vigamma.families.product import ProductOfGammas as ProductOfGammas
    from vigamma.inference.adam import Adam as Adam
    from vigamma.inference.annealing import EvidenceBounds as EvidenceBounds
    from vigamma.inference.annealing import log_evidence_bounds as log_evidence_bounds
    from vigamma.inference.coordinate_ascent import CoordinateAscent as CoordinateAscent
    from vigamma.inference.gibbs import Gibbs as Gibbs
    from vigamma.inference.gradient_ascent import GradientAscent as GradientAscent
    from vigamma.inference.gradient_ascent import MeanField as MeanField
    from vigamma.inference.importance import check_rates as check_rates
    from vigamma.inference.importance import check_rows as check_rows
    from vigamma.inference.natural_gradient import NaturalGradient as NaturalGradient
    from vigamma.inference.natural_gradient import (
        scale_by_inverse_fisher as scale_by_inverse_fisher,
    )
    from vigamma.inference.stochastic import (
        StochasticVariationalInference as StochasticVariationalInference,
    )
    from vigamma.inference.train_state import TrainState as TrainState
    from vigamma.models.factor_model import FactorModel as FactorModel
    from vigamma.models.gamma_poisson import CountStatistics as CountStatistics
    from vigamma.models.gamma_poisson import DomainKnowledge as DomainKnowledge
    from vigamma.models.gamma_poisson import GammaPoisson as GammaPoisson
    from vigamma.models.hierarchical_poisson_factorization import (
        HierarchicalPoissonFactorization as HierarchicalPoissonFactorization,
    )
    from vigamma.models.negative_binomial_factorization import (
        HierarchicalNegativeBinomialFactorization as HierarchicalNegativeBinomialFactorization,
    )
    from vigamma.models.negative_binomial_factorization import (
        NegativeBinomialFactorization as NegativeBinomialFactorization,
    )
    from vigamma.models.poisson_factorization import PoissonFactorization as PoissonFactorization
    from vigamma.report.report import write_report as write_report
    from vigamma.runs.chains import sample_posterior as sample_posterior
    from vigamma.runs.experiment import Experiment as Experiment
    from vigamma.runs.fitted import load_run as load_run
    from vigamma.runs.in_memory import Fitted as Fitted
    from vigamma.runs.in_memory import fit as fit
    from vigamma.runs.loading import load_run_data as load_run_data
    from vigamma.runs.samples import SAMPLES as SAMPLES
    from vigamma.runs.samples import Samples as Samples
    from vigamma.runs.samples import load_samples as load_samples
    from vigamma.runs.sampling import sample as sample
    from vigamma.runs.search import SearchOutcome as SearchOutcome
    from vigamma.runs.search import model_grid as model_grid
    from vigamma.runs.search import search as search
    from vigamma.runs.train import run_experiment as run_experiment
    from vigamma.sklearn.factorizer import PoissonFactorizer as PoissonFactorizer
    from vigamma.typing import spec as spec

    __version__: str

_HOMES = {
    "SAMPLES": "vigamma.runs.samples",
    "Adam": "vigamma.inference.adam",
    "AmbiguousNameError": "vigamma.errors",
    "AnalyticElbo": "vigamma.estimators.analytic",
    "Beta": "vigamma.families.beta",
    "Certificate": "vigamma.diagnostics.certificate",
    "CheckpointError": "vigamma.errors",
    "ConfigError": "vigamma.errors",
    "CoordinateAscent": "vigamma.inference.coordinate_ascent",
    "CountStatistics": "vigamma.models.gamma_poisson",
    "DigitCounts": "vigamma.data.digits",
    "Digits": "vigamma.data.digits",
    "Docstrings": "vigamma.data.docstrings",
    "DomainKnowledge": "vigamma.models.gamma_poisson",
    "EvidenceBounds": "vigamma.inference.annealing",
    "Experiment": "vigamma.runs.experiment",
    "FactorModel": "vigamma.models.factor_model",
    "Fitted": "vigamma.runs.in_memory",
    "Gamma": "vigamma.families.gamma",
    "GammaPoisson": "vigamma.models.gamma_poisson",
    "Gibbs": "vigamma.inference.gibbs",
    "GradientAscent": "vigamma.inference.gradient_ascent",
    "HeldOut": "vigamma.data.heldout",
    "HierarchicalNegativeBinomialFactorization": "vigamma.models.negative_binomial_factorization",
    "HierarchicalPoissonFactorization": "vigamma.models.hierarchical_poisson_factorization",
    "ImportanceCheck": "vigamma.diagnostics.importance",
    "Interrupted": "vigamma.errors",
    "LostProcessError": "vigamma.errors",
    "MeanField": "vigamma.inference.gradient_ascent",
    "MeanFieldBeta": "vigamma.families.mean_field",
    "MeanFieldGamma": "vigamma.families.mean_field",
    "NaturalGradient": "vigamma.inference.natural_gradient",
    "NegativeBinomial": "vigamma.families.negative_binomial",
    "NegativeBinomialFactorization": "vigamma.models.negative_binomial_factorization",
    "NonFiniteError": "vigamma.errors",
    "PathwiseElbo": "vigamma.estimators.pathwise",
    "Poisson": "vigamma.families.poisson",
    "PoissonFactorization": "vigamma.models.poisson_factorization",
    "PoissonFactorizer": "vigamma.sklearn.factorizer",
    "ProductOfGammas": "vigamma.families.product",
    "RowParam": "vigamma.families.mean_field",
    "RunError": "vigamma.errors",
    "Samples": "vigamma.runs.samples",
    "ScoreFunctionElbo": "vigamma.estimators.score_function",
    "SearchOutcome": "vigamma.runs.search",
    "SparseCounts": "vigamma.data.files",
    "StochasticVariationalInference": "vigamma.inference.stochastic",
    "SyntheticFactors": "vigamma.data.synthetic",
    "TrainState": "vigamma.inference.train_state",
    "UnknownNameError": "vigamma.errors",
    "answer_new_rows": "vigamma.answers.new_rows",
    "certify": "vigamma.diagnostics.certificate",
    "check_counts": "vigamma.counts.dense",
    "check_rates": "vigamma.inference.importance",
    "check_rows": "vigamma.inference.importance",
    "check_sparse_counts": "vigamma.counts.sparse",
    "evaluate": "vigamma.answers.evaluation",
    "export": "vigamma.answers.export",
    "fit": "vigamma.runs.in_memory",
    "importance_check": "vigamma.diagnostics.importance",
    "load_run": "vigamma.runs.fitted",
    "load_run_data": "vigamma.runs.loading",
    "load_samples": "vigamma.runs.samples",
    "log_evidence_bounds": "vigamma.inference.annealing",
    "log_prob": "vigamma.families.joint",
    "model_grid": "vigamma.runs.search",
    "read_new_rows": "vigamma.answers.new_rows",
    "recommend": "vigamma.answers.recommendation",
    "recommend_all": "vigamma.answers.recommendation",
    "recommend_new": "vigamma.answers.recommendation",
    "run_experiment": "vigamma.runs.train",
    "sample": "vigamma.runs.sampling",
    "sample_posterior": "vigamma.runs.chains",
    "scale_by_inverse_fisher": "vigamma.inference.natural_gradient",
    "search": "vigamma.runs.search",
    "similar": "vigamma.answers.similarity",
    "spec": "vigamma.typing",
    "topics": "vigamma.answers.topics",
    "write_report": "vigamma.report.report",
}

_MODULES = ["contracts", "pl", "random", "tl"]  # with public names of their own

__all__ = list(_HOMES)


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]


if not TYPE_CHECKING:  # type checkers would accept any attribute name

    def __getattr__(name: str) -> Any:
        if home := _HOMES.get(name):
            value = getattr(importlib.import_module(home), name)
            globals()[name] = value
            return value
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version(__name__)
        if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
