import numpy as np
import pytest
import scipy.special

from vigamma import Gamma, MeanFieldGamma, certify
from vigamma.diagnostics.certificate import Certificate


def test_every_number_matches_scipy_in_float64(exact_problem, away_from_optimum):
    model, batch = exact_problem
    q = MeanFieldGamma(away_from_optimum)
    a, b = (np.exp(np.asarray(x[...], np.float64)) for x in (q.log_shape, q.log_rate))
    c, d = model.prior.concentration + batch.column_sums, model.prior.rate + batch.num_rows
    kl = (a - c) * scipy.special.psi(a) - scipy.special.gammaln(a) + scipy.special.gammaln(c)
    kl += c * np.log(b / d) + a * (d / b - 1)

    certificate = certify(model, batch, q)
    np.testing.assert_allclose(certificate.kl_to_exact, kl.sum(), rtol=1e-12)
    np.testing.assert_allclose(certificate.max_kl_to_exact, kl.max(), rtol=1e-12)
    assert certificate.worst_latent == kl.argmax()
    np.testing.assert_allclose(certificate.gap, kl.sum(), rtol=1e-9)


def test_the_exact_posterior_has_no_divergence(exact_problem):
    model, batch = exact_problem
    exact = model.exact_posterior(batch)
    q = MeanFieldGamma(Gamma(*(np.float32(x) for x in (exact.concentration, exact.rate))))
    certificate = certify(model, batch, q)
    assert 0 <= certificate.kl_to_exact < 1e-9
    np.testing.assert_allclose(certificate.elbo, certificate.log_evidence, rtol=1e-12)


@pytest.mark.parametrize(("tolerance", "verdict"), [(1e9, "  within"), (1e-9, "  NOT within")])
def test_the_table_gives_the_verdict(exact_problem, away_from_optimum, tolerance, verdict):
    certificate = certify(*exact_problem, MeanFieldGamma(away_from_optimum))
    lines = certificate.table(tolerance).splitlines()
    assert lines[-1].startswith(verdict)
    assert f"{certificate.elbo:,.6f}" in lines[1]


@pytest.mark.parametrize(("tolerance", "verdict"), [(0.01, "  NOT within"), (0.02, "  within")])
def test_the_promise_is_of_all_latents_together(tolerance, verdict):
    certificate = Certificate(0.0, 0.02, kl_to_exact=0.02, max_kl_to_exact=0.005, worst_latent=3)
    assert certificate.table(tolerance).splitlines()[-1].startswith(f"{verdict} the ")
