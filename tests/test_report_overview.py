"""The first part of a page: the factors at a glance, and what to do about what is wrong."""

import shlex
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tests.test_report import Page
from tests.test_train_factors import experiment
from vigamma import HeldOut, PoissonFactorization, SparseCounts, run_experiment
from vigamma.counts.words import CELLS, Labels
from vigamma.diagnostics.factor_columns import FactorColumns, FactorSummary
from vigamma.diagnostics.predictive import Score
from vigamma.diagnostics.verdicts import Verdict, run_verdict
from vigamma.figures.palette import COLORS
from vigamma.models.factor_model import PROBABILITIES
from vigamma.report.factors import overview_of
from vigamma.report.next_steps import next_steps
from vigamma.report.outcome import course_of, outcome_of
from vigamma.report.rendering import environment, render
from vigamma.report.results import load_results
from vigamma.runs import train

pytestmark = pytest.mark.usefixtures("no_figures")

RNG = np.random.default_rng(0)
THETA, BETA = RNG.gamma(0.3, 1.0, (60, 4)), RNG.gamma(0.3, 1.0, (30, 4))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A finished run."""
    workdir = tmp_path_factory.mktemp("run") / "my cells"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train._Run, "_draw", lambda *_: [])
        run_experiment(experiment(num_steps=12), workdir)
    return load_results(workdir, lambda _: None)


def results_of(theta=THETA, beta=BETA, labels=None) -> SimpleNamespace:
    return SimpleNamespace(theta=theta, beta=beta, data=SimpleNamespace(words=CELLS, labels=labels))


def factors(number=4) -> list[dict]:
    none = FactorColumns(*[np.zeros(0)] * 4)
    marks = [{"name": f"gene {m}"} for m in range(8)]
    return [
        {
            "summary": FactorSummary(k, 0.4 - 0.1 * k, none, none),
            "distinctive": marks,
            "image": None,
        }
        for k in range(number)
    ]


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    calls: list[tuple] = []

    def figure(shares, what, groups=None):
        calls.append((shares, what, groups))
        return Figure()

    monkeypatch.setattr("vigamma.figures.memberships.structure_figure", figure)
    return calls


def test_a_picture_has_the_shares_of_rows(drawn):
    found = overview_of(results_of(), factors())
    assert found["picture"].startswith("data:image/svg+xml;base64,")
    amounts = THETA * BETA.sum(axis=0)
    ((shares, what, groups),) = drawn
    assert (what, groups, found["label"]) == ("cells", None, "")
    np.testing.assert_allclose(shares, amounts / amounts.sum(axis=1, keepdims=True))
    assert [factor["color"] for factor in found["factors"]] == list(COLORS[:4])
    assert found["factors"][0]["marks"] == [f"gene {m}" for m in range(6)]


def test_rows_are_grouped_by_their_labels_with_those_without_one_last(drawn):
    codes = np.array([0, 1, -1] * 20)
    found = overview_of(results_of(labels=Labels("type", codes, ["T", "B"])), factors())
    ((shares, _, groups),) = drawn
    assert (found["label"], groups.names) == ("type", ["T", "B", "(no label)"])
    np.testing.assert_array_equal(groups.codes, np.array([0, 1, 2] * 20))
    for place, factor in enumerate(found["factors"]):
        means = [shares[groups.codes == g, place].mean() for g in range(3)]
        assert factor["group"] == (groups.names[np.argmax(means)], pytest.approx(max(means)))


@pytest.mark.parametrize("number", [1, 101])
def test_one_label_or_very_many_are_no_groups(drawn, number):
    labels = Labels("type", np.arange(60) % number, [f"{i}" for i in range(number)])
    assert overview_of(results_of(labels=labels), factors())["label"] == ""
    assert drawn[0][2] is None


def test_idle_factors_and_near_duplicates_are_marked_by_their_numbers_on_the_page(drawn):
    theta, beta = THETA / THETA.sum(axis=0) * [4.0, 3.0, 2.0, 1e-5], BETA / BETA.sum(axis=0)
    beta[:, 2] = beta[:, 0]
    found = overview_of(results_of(theta, beta), factors())
    assert [factor["is_idle"] for factor in found["factors"]] == [False, False, False, True]
    assert [factor["original"] for factor in found["factors"]] == [None, None, 1, None]
    outcome = {"words": CELLS}
    page = Page(render("overview.html", overview=found, factors=factors(), outcome=outcome)).text
    assert "nearly factor 1" in page
    assert "idle" in page
    assert "--config.model.num_factors=2" in page
    found = overview_of(results_of(), factors())
    page = render("overview.html", overview=found, factors=factors(), outcome=outcome)
    assert "num_factors" not in page
    assert "cell" in page


def test_factors_beyond_the_colors_share_that_of_the_picture(drawn):
    theta, beta = RNG.gamma(1.0, 1.0, (9, 30)), RNG.gamma(1.0, 1.0, (9, 30))
    found = overview_of(results_of(theta, beta), factors(30))
    colors = [factor["color"] for factor in found["factors"]]
    assert colors[:23] == list(COLORS[:23])
    assert len(set(colors[23:])) == 1


def test_the_page_has_the_colors_of_its_pictures():
    style = environment().get_template("style.css").render()
    from vigamma.figures import palette

    for color in (palette.INK, palette.SOFT, palette.MODEL, palette.PALE, palette.DATA):
        assert to_hex(color) in style
    assert "{{" not in style


def off(check: str, observed: float, expected: float) -> Verdict:
    return Verdict(check, "off", observed, expected)


def with_config(results, **changes):
    return results._replace(run=results.run._replace(config=experiment(**changes)))


@pytest.mark.slow
def test_a_run_that_has_not_ended_goes_on_first(results):
    wrong = [run_verdict(False, True), off("dispersion", 3.0, 1.0)]
    (step,) = next_steps(results, wrong)
    words = shlex.split(step.command)
    assert words[:2] == ["vigamma", "train"]
    assert words[2:] == ["--config", "again.py", "--workdir", str(results.workdir)]
    (step,) = next_steps(results, [run_verdict(True, False)])
    assert shlex.split(step.command)[-1] == "--config.num_steps=24"


@pytest.mark.slow
@pytest.mark.parametrize("check", ["dispersion", "zeros"])
def test_counts_that_vary_more_go_to_negative_binomials_with_the_options_of_the_run(results, check):
    data = SparseCounts(path="my counts.csv", at_least=2.0, transpose=True)
    run = with_config(
        results,
        data=data,
        heldout=HeldOut(protocol="cells"),
        model=PoissonFactorization(num_factors=7),
    )
    (step,) = next_steps(run, [off(check, 0.9, 0.6), off("heldout_counts", 2.0, 1.0)])
    assert shlex.split(step.command) == [
        "vigamma", "train", "--config", "counts_negative_binomial",
        "--config.data.path=my counts.csv", "--config.data.at_least=2.0",
        "--config.data.transpose=True", "--config.model.num_factors=7",
        "--config.heldout.protocol=cells", "--workdir", f"{results.workdir}-negative-binomial",
    ]  # fmt: skip
    (step,) = next_steps(results, [off(check, 0.9, 0.6)])
    assert step.command.startswith("vigamma train --config again.py --workdir")
    assert step.change == "HierarchicalNegativeBinomialFactorization(num_factors=3)"


@pytest.mark.parametrize(
    "check", ["rows_outside", "columns_outside", "heldout_counts", "heldout_rows_outside", "gain"]
)
def test_all_else_is_a_search(results, check):
    (step,) = next_steps(results, [off(check, 0.5, 0.1)])
    words = shlex.split(step.command)
    assert words[:4] == ["vigamma", "search", "--config", "again.py"]
    assert words[-2:] == ["--num_factors", "1,3,6"]


def test_negative_binomials_that_vary_more_are_searched(results):
    q = {**results.run.factors.q, PROBABILITIES: None}
    run = results.run._replace(factors=results.run.factors._replace(q=q))
    (step,) = next_steps(results._replace(run=run), [off("dispersion", 3.0, 1.0)])
    assert "search" in step.command


def test_counts_that_vary_less_have_no_better_model(results):
    for wrong in (
        [off("dispersion", 0.5, 1.0)],
        [off("dispersion", 0.5, 1.0), off("zeros", 0.2, 0.4)],
    ):
        assert next_steps(results, wrong) == []
    page = render("summary.html", outcome=outcome_of(results), wrong=wrong, num_checks=5, steps=[])
    assert "vary less than Poisson counts" in page
    assert next_steps(results, []) == []


def test_what_was_lost_by_going_on_is_said(results):
    name = "heldout_log_likelihood"
    metrics = [{"step": s, "elbo": -9.0, name: score} for s, score in ((4, -2.0), (12, -2.25))]
    kept = {name: Score(-2.25, 9) for name in ("factors", "independent")}
    results = results._replace(scores=kept)
    course = course_of(results._replace(metrics=metrics))
    assert (course["best_sweep"], course["loss"]) == (4, pytest.approx(0.25))
    for has_validation in (True, False):
        course["has_validation"] = has_validation
        page = " ".join(render("course.html", course=course, outcome=outcome_of(results)).split())
        assert ("best by sweep 4, 0.25 nats better" in page) != has_validation
        assert ("--config.heldout.valid_fraction" in page) != has_validation
    course = course_of(results._replace(metrics=metrics[1:])) | {"has_validation": False}
    assert course["loss"] == 0
    page = render("course.html", course=course, outcome=outcome_of(results))
    assert "by heart" not in page
    assert course_of(results._replace(metrics=[])) is None
