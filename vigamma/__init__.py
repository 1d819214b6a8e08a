"""vigamma: Gamma variational inference for counts, on JAX."""

from vigamma.certificate import Certificate, certify
from vigamma.config import Experiment
from vigamma.data.counts import check_counts
from vigamma.data.digits import Digits
from vigamma.errors import (
    CheckpointError,
    ConfigError,
    Interrupted,
    NonFiniteError,
    RunError,
)
from vigamma.estimators.analytic import AnalyticElbo
from vigamma.estimators.pathwise import PathwiseElbo
from vigamma.estimators.score_function import ScoreFunctionElbo
from vigamma.families.gamma import Gamma
from vigamma.families.mean_field import MeanFieldGamma
from vigamma.families.negative_binomial import NegativeBinomial
from vigamma.families.poisson import Poisson
from vigamma.inference.adam import Adam
from vigamma.inference.gradient_ascent import GradientAscent
from vigamma.inference.natural_gradient import NaturalGradient, scale_by_inverse_fisher
from vigamma.models.gamma_poisson import CountStatistics, DomainKnowledge, GammaPoisson
from vigamma.train import run_experiment
from vigamma.train_state import TrainState, compile_steps

__all__ = [
    "Adam",
    "AnalyticElbo",
    "Certificate",
    "CheckpointError",
    "ConfigError",
    "CountStatistics",
    "Digits",
    "DomainKnowledge",
    "Experiment",
    "Gamma",
    "GammaPoisson",
    "GradientAscent",
    "Interrupted",
    "MeanFieldGamma",
    "NaturalGradient",
    "NegativeBinomial",
    "NonFiniteError",
    "PathwiseElbo",
    "Poisson",
    "RunError",
    "ScoreFunctionElbo",
    "TrainState",
    "certify",
    "check_counts",
    "compile_steps",
    "run_experiment",
    "scale_by_inverse_fisher",
]
