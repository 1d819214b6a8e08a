"""Pages about runs: whole, well-formed, self-contained, and honest about what is not known."""

import base64
import html
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import jinja2
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.sparse import csr_array, save_npz

from tests import test_train_stochastic
from tests.command import run
from tests.diagnostics.test_verdicts import calibration_of, checks_with
from tests.test_train_factors import experiment
from vigamma import (
    CheckpointError,
    ConfigError,
    CoordinateAscent,
    DigitCounts,
    Gibbs,
    HeldOut,
    PoissonFactorization,
    SparseCounts,
    load_samples,
    run_experiment,
    sample,
)
from vigamma.counts.words import CELLS, Words
from vigamma.data.files import LoadedCounts
from vigamma.data.synthetic import SyntheticFactors
from vigamma.diagnostics.predictive import Score
from vigamma.diagnostics.recovery import matched_factors
from vigamma.diagnostics.residuals import Moments, Residuals
from vigamma.diagnostics.verdicts import (
    Verdict,
    calibration_verdict,
    heldout_sums_verdict,
    predictive_verdicts,
)
from vigamma.report.checks import what_looks_wrong
from vigamma.report.factors import _Draws, factors_of
from vigamma.report.largest_residuals import largest_residuals_of
from vigamma.report.outcome import outcome_of
from vigamma.report.rendering import environment, render
from vigamma.report.report import write_report
from vigamma.report.reproduction import config_source, reproduction_of
from vigamma.report.results import load_results
from vigamma.runs import train
from vigamma.runs.experiment import flatten

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of 40 sweeps, not to be changed."""
    workdir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train._Run, "_draw", lambda *_: [])
        run_experiment(experiment(num_steps=40), workdir)
    return workdir


@pytest.fixture
def blank_pictures(monkeypatch):
    """Drawing takes most of the time of a page."""
    monkeypatch.setattr(Figure, "savefig", lambda _, buffer, **__: buffer.write(b"<svg/>"))


VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page; `problems` are tags that do not match."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.problems, self.tags, self.words = [], [], [], []
        self.feed(page)
        self.close()
        self.problems += self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"/{tag}")

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def page_of(workdir, folder) -> Page:
    write_report(workdir, folder / "new" / "report.html")
    found = Page((folder / "new" / "report.html").read_text(encoding="utf-8"))
    assert found.problems == []
    assert found.tags[0] == ("html", {"lang": "en"})
    for around, (tag, _) in itertools.pairwise(found.tags):
        assert tag != "table" or around[1].get("class") == "wide"  # they scroll by themselves
    names = {tag for tag, _ in found.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base"}
    for tag, attributes in found.tags:
        for name in ("src", "href", "srcset", "data", "xlink:href"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:image/svg+xml;base64,")), value[:80]
        if tag == "img":
            assert len(attributes["alt"]) > 20
            svg = base64.b64decode(attributes["src"].split(",")[1]).decode()
            assert "<svg" in svg
            assert not re.search(r'(href|src)="http', svg)
    targets = [a["href"][1:] for tag, a in found.tags if tag == "a"]
    assert set(targets) <= {a.get("id") for _, a in found.tags}
    assert "url(" not in "".join(found.words)
    assert not re.search(r"\bnan\b|\binf\b", found.text)
    return found


def test_a_page_says_what_was_fitted_and_how_well(workdir, tmp_path):
    summary = json.loads((workdir / "summary.json").read_text())
    text = page_of(workdir, tmp_path).text
    for words in (
        "90 × 70", f"{summary['elbo']:,.0f}".replace("-", "−"), "HierarchicalPoissonFactorization",
        f"{summary['heldout_log_likelihood']:.4g}".replace("-", "−"), "Factor 3",
        "Share of zeros", "tail probability", "Rows with the largest scatter", "90 % interval",
        "Held-out sums of rows", "The factors at a glance", "columns that mark it out",
        "inference.num_restarts", "vigamma train --config again.py",
        "The run stopped before it had converged",
    ):  # fmt: skip
        assert words in text, words


EVIL = ("<script>alert(1)</script>", """&amp;"'<b onclick='x'>""", "{{ 7 * 7 }}{% include %}")


@pytest.mark.usefixtures("blank_pictures")
def test_names_and_paths_are_shown_as_they_are_and_cut(tmp_path, monkeypatch):
    load = SyntheticFactors.load
    rows, columns = (
        np.array(
            [f"{EVIL[i % 3]}{side}{i}" + i % 2 * 60 * "long" for i in range(n)],
            np.dtypes.StringDType(),
        )
        for side, n in (("r", 90), ("c", 70))
    )

    def with_names(self):
        return LoadedCounts(load(self).counts, None, rows, columns)

    monkeypatch.setattr(SyntheticFactors, "load", with_names)
    workdir = tmp_path / "&amp;\"'<i>{{ 1 }}"
    run_experiment(experiment(num_steps=5), workdir)
    found = page_of(workdir, tmp_path)
    for evil in (*EVIL, workdir.name, str(workdir)):
        assert evil in found.text, evil
    titles = [attributes["title"] for _, attributes in found.tags if "title" in attributes]
    assert {evil for evil in EVIL if any(evil in title for title in titles)} == {*EVIL}
    assert not {"i", "script"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "…" in found.text
    assert "longlonglonglonglong" not in found.text


@pytest.mark.parametrize("evil", EVIL)
def test_values_of_a_config_are_escaped(results, evil):
    outcome = outcome_of(results) | {"data": evil, "data_fields": {evil: evil}}
    values = {"source": evil, "fields": {evil: evil}, "workdir": evil, "versions": evil}
    pages = (
        (3, render("fitted.html", outcome=outcome)),
        (5, render("reproduction.html", reproduction=reproduction_of(results) | values)),
    )
    escaped = html.escape(evil).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    for times, page in pages:
        assert Page(page).text.count(evil) == page.count(escaped) == times


@pytest.mark.parametrize("source", ["{{ absent }}", "{% if absent %}{% endif %}"])
def test_a_value_that_is_missing_is_an_error(source):
    with pytest.raises(jinja2.UndefinedError, match="'absent' is undefined"):
        environment().from_string(source).render()


def test_the_fields_of_the_config_are_folded_away_and_not_printed(workdir, tmp_path):
    write_report(workdir, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    folded = re.search(r"<details><summary>Every field of the config.*</details>", page, re.S)
    assert "inference.num_restarts" in folded[0]
    printed = page.split("@media print {")[1].split("</style>")[0]
    assert re.search(r"details \{ display: none; \}", printed)


FLAT = PoissonFactorization(num_factors=2)
KINDS = {
    "digits": experiment(
        num_steps=5, data=DigitCounts(digit=0), heldout=HeldOut(protocol="cells"), model=FLAT
    ),
    "entries": experiment(num_steps=5, heldout=HeldOut(protocol="entries"), model=FLAT),
    "nothing held out": experiment(num_steps=5, heldout=None, model=FLAT),
    "stochastic": test_train_stochastic.experiment(num_steps=10),
    "exposures": experiment(
        num_steps=5,
        data=DigitCounts(digit=1),
        model=PoissonFactorization(num_factors=2, row_sum_exposures=True),
    ),
}


OF_KIND = {
    "Poisson": (
        "of a Poisson", "taken to be Poisson", "beyond what Poisson", "counts Poisson",
    ),
    "negative binomial": (
        "of a negative-binomial", "taken to be negative binomial", "beyond what negative",
        "counts negative", "Which columns vary most?", "What varies most", "~ Beta(0.5, 2)",
        "Poisson counts with the fitted means", "its count in training", "√(Σm 2 rnm² + (3 vm",
    ),
}  # fmt: skip
"""What pages say of one kind of counts only, with held-out counts."""


@pytest.mark.slow
@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=[pytest.mark.nightly] * (k in ("entries", "exposures"))) for k in KINDS],
)
def test_every_kind_of_factorization_has_a_page(tmp_path, kind):
    run_experiment(KINDS[kind], tmp_path)
    found = page_of(tmp_path, tmp_path)
    assert ("Are held-out counts as predicted?" in found.text) == (kind != "nothing held out")
    alts = " ".join(attributes.get("alt", "") for _, attributes in found.tags)
    assert ("as three images" in alts) == (kind in ("digits", "exposures"))
    assert ("size of the row" in found.text) == (kind == "exposures")
    for words in OF_KIND["Poisson"]:
        assert words in found.text or kind == "nothing held out", words
    for words in OF_KIND["negative binomial"]:
        assert words not in found.text, words


@pytest.mark.parametrize("learn", [False, True])
def test_priors_that_were_learned_are_called_so(results, learn):
    config = experiment(inference=CoordinateAscent(learn_priors=learn))
    outcome = outcome_of(results._replace(run=results.run._replace(config=config)))
    assert ("they were learned" in render("fitted.html", outcome=outcome)) == learn


@pytest.mark.usefixtures("blank_pictures")
def test_a_run_that_has_not_ended_is_called_so(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    (copy / "summary.json").unlink()
    (copy / "metrics.jsonl").unlink()
    text = page_of(copy, tmp_path).text
    assert "The run has not come to its end" in text
    assert "not known of this checkpoint" in text


@pytest.fixture(scope="module")
def results(workdir):
    return load_results(workdir, lambda _: None)


def test_the_elbo_of_a_run_under_way_is_that_of_the_posterior(results):
    run = results.run._replace(step=3, last_step=7)
    metrics = [{"step": 3, "elbo": -1230.0}, {"step": 7, "elbo": -1110.0}]
    outcome = outcome_of(results._replace(run=run, summary={}, metrics=metrics))
    assert outcome["elbo"] == -1230.0
    assert "−1,230 nats" in render("fitted.html", outcome=outcome)


def test_a_summary_of_another_step_is_not_that_of_the_run(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    summary = json.loads((copy / "summary.json").read_text())
    assert load_results(copy, lambda _: None).summary == summary
    (copy / "summary.json").write_text(json.dumps(summary | {"steps": summary["steps"] - 8}))
    assert load_results(copy, lambda _: None).summary == {}


@pytest.mark.parametrize(("score", "is_wrong"), [(-1.0, False), (-2.0, True), (-3.0, True)])
def test_factors_that_predict_nothing_are_said_to(results, score, is_wrong):
    scores = {"factors": Score(score, 9), "independent": Score(-2.0, 9)}
    results = results._replace(scores=scores)
    page = render("summary.html", outcome=outcome_of(results), **what_looks_wrong(results, []))
    assert ("no better than independent columns" in page) == is_wrong


def test_what_looks_wrong_is_told_of_the_run_the_checks_and_the_score_in_that_order(results):
    checked = [Verdict("dispersion", "off", 3.0, 1.0), Verdict("zeros", "a little off", 0.5, 0.4)]
    scores = {"factors": Score(-3.0, 9), "independent": Score(-2.0, 9)}
    for summary, first in (({}, "end"), ({"converged": False}, "convergence")):
        found = what_looks_wrong(results._replace(scores=scores, summary=summary), checked)
        assert [verdict.check for verdict in found["wrong"]] == [first, "dispersion", "gain"]
        assert found["num_checks"] == 4
        page = Page(render("summary.html", outcome=outcome_of(results), **found)).text
        assert "What looks wrong: 3 of 4 checks. Results may still change." in page
    results = results._replace(scores={}, summary={"converged": True})
    found = what_looks_wrong(results, [])
    assert found == {"num_checks": 1, "wrong": [], "steps": []}
    page = render("summary.html", outcome=outcome_of(results), **found)
    assert "Nothing looks wrong in the 1 checks" in page


def test_zeros_are_those_of_observed_cells_and_numbers_no_names(results):
    train, missing = csr_array(np.eye(3)), csr_array(np.eye(3, k=1))
    fit = SimpleNamespace(split=SimpleNamespace(train=train, missing=missing), words=CELLS)
    of_cells = results._replace(data=fit)
    assert of_cells.share_of_zeros == pytest.approx(4 / 7)
    assert (of_cells.row(2), of_cells.column(5)) == ("cell 2", "gene 5")
    assert (results.row(2), results.column(5)) == ("row 2", "column 5")


@pytest.fixture(scope="module")
def sampled(workdir, tmp_path_factory):
    """The same run with 20 posterior samples."""
    copy = shutil.copytree(workdir, tmp_path_factory.mktemp("sampled") / "run")
    sample(copy, Gibbs(num_chains=2, burn_in=4, thin=2), num_sweeps=24)
    return copy


@pytest.mark.slow
def test_factors_are_shown_by_samples_if_there_are_any(sampled):
    results = load_results(sampled, print)
    samples = results.run.samples
    reference = np.asarray(results.run.factors.q["columns"].mean)
    shares, in_mean_row = [], []
    for draw in samples.draws:
        for theta, beta in zip(draw["rows"], draw["columns"], strict=True):
            match = matched_factors(beta, reference)
            shares.append((beta / beta.sum(axis=0))[:, match])
            in_mean_row.append((beta * (results.data.exposures @ theta) / len(theta))[:, match])
    factors = factors_of(results)
    assert [f["summary"].index for f in factors] == list(range(reference.shape[1]))
    for factor in factors:
        k, part = factor["summary"].index, factor["summary"].heaviest
        own = np.array(shares)[:, part.columns, k]
        for name, expected in (
            ("mean", own.mean(axis=0)),
            ("low", np.quantile(own, 0.05, axis=0, method="weibull")),
            ("high", np.quantile(own, 0.95, axis=0, method="weibull")),
        ):
            found = [share[name] for share in factor["heaviest"]]
            np.testing.assert_allclose(found, expected, rtol=1e-4)
        phi = np.mean(shares, axis=0)[:, k]
        np.testing.assert_array_equal(part.columns, np.argsort(-phi)[: len(part.columns)])
        found = _Draws(results, samples).in_mean_row(k)
        own = np.array(in_mean_row)[:, :, k]
        np.testing.assert_allclose(found.mean, own.mean(axis=0), rtol=1e-4)
    assert sum(factor["summary"].share for factor in factors) == pytest.approx(1)


@pytest.mark.slow
def test_a_page_says_what_its_intervals_are_of(workdir, sampled, tmp_path):
    for folder, words in ((workdir, "too narrow"), (sampled, "of 20 posterior samples")):
        write_report(folder, tmp_path / "page.html")
        assert words in (tmp_path / "page.html").read_text()
    assert load_samples(sampled).agree_on_factors is False
    assert "do not agree on single factors" in (tmp_path / "page.html").read_text()
    path = sampled / "samples" / "summary.json"
    summary = json.loads(path.read_text())
    summary["shares"]["is_good"], summary["switched"] = True, 0.0
    path.write_text(json.dumps(summary))
    write_report(sampled, tmp_path / "page.html")
    assert "do not agree" not in (tmp_path / "page.html").read_text()
    path.unlink()
    assert load_samples(sampled).agree_on_factors is None


def test_the_rows_and_columns_that_scatter_most_come_first(results):
    def with_most_at(index, size):
        dispersion = np.where(np.arange(size) == index, 9.0, 0.0)
        none = np.zeros(size)
        return Residuals(none, Moments(none, none), none, dispersion)

    residuals = largest_residuals_of(results, with_most_at(41, 90), with_most_at(23, 70))
    page = render("residuals.html", residuals=residuals, outcome=outcome_of(results))
    found = re.findall(r'<tbody>\s*<tr><th scope="row">\s*<bdi>(.*?)</bdi>', page)
    assert found == ["row 41", "column 23"]


def test_the_config_file_of_a_page_is_the_config():
    for config in KINDS.values():
        space = {}
        exec(config_source(config), space)
        assert flatten(space["get_config"]()) == flatten(config)


@pytest.mark.slow
def test_data_that_changed_or_went_are_one_line(tmp_path):
    rng, path, workdir = np.random.default_rng(0), tmp_path / "counts.npz", tmp_path / "run"
    save_npz(path, csr_array(rng.poisson(1.0, (30, 20))))
    run_experiment(experiment(num_steps=2, data=SparseCounts(path=str(path))), workdir)
    load_results(workdir, lambda _: None)
    save_npz(path, csr_array(rng.poisson(1.0, (30, 20))))
    with pytest.raises(CheckpointError, match="the data are no longer those"):
        write_report(workdir, tmp_path / "report.html")
    path.unlink()
    with pytest.raises(ConfigError, match=r"loaded again: config\.data: there is no file"):
        write_report(workdir, tmp_path / "report.html")
    (workdir / "summary.json").write_text("{")
    save_npz(path, csr_array(np.random.default_rng(0).poisson(1.0, (30, 20))))
    with pytest.raises(CheckpointError, match=r"summary\.json cannot be read"):
        write_report(workdir, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_the_script_writes_a_page_or_one_line(workdir, tmp_path):
    output = tmp_path / "page.html"
    status, out, err = run("report.py", "--workdir", workdir, "--output", output)
    assert (status, out) == (0, f"written: {output}\n")
    assert err.startswith("loading the data of the run\n")
    assert output.stat().st_size > 10_000
    status, out, err = run("report.py", "--workdir", tmp_path / "nothing")
    assert (status, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("error: there is no checkpoint in")


def sentence_of(verdict: Verdict, words: Words = CELLS) -> str:
    source = "{% import 'verdicts.html' as v %}{{ v.sentence(verdict, words) }}"
    return " ".join(environment().from_string(source).render(verdict=verdict, words=words).split())


@pytest.mark.parametrize(
    ("observed", "index", "sentence"),
    [
        (
            {"zeros": 0.8},
            0,
            "The data have 60 % fewer nonzeros than the model expects: the share of zeros is "
            "80.0 % against 50.0 %.",
        ),
        (
            {"zeros": 0.3},
            0,
            "The data have 40 % more nonzeros than the model expects: the share of zeros is "
            "30.0 % against 50.0 %.",
        ),
        (
            {"zeros": 0.3, "middle": {"zeros": 0.1}},
            0,
            "The data have 3 times as many zeros as the model expects: 30.0 % against 10.0 %.",
        ),
        (
            {"rows_outside": 0.4},
            1,
            "40.0 % of the sums of cells are outside their 90 % intervals, 4 times as many as "
            "expected.",
        ),
        (
            {"columns_outside": 0.14},
            2,
            "14.0 % of the sums of genes are outside their 90 % intervals, 40 % more than "
            "expected.",
        ),
        (
            {"dispersion": 3.0},
            3,
            "Genes vary 3 times as much over the cells as the model expects: their variance is "
            "3.000 times their mean, against 1.000.",
        ),
        (
            {"dispersion": 1.2},
            3,
            "Genes vary 20 % more over the cells than the model expects: their variance is "
            "1.200 times their mean, against 1.000.",
        ),
        (
            {"zeros": 0.3, "middle": {"zeros": 0.0}, "noise": 0.0},
            0,
            "The data have zeros, of which the model expects none: 30 % against 0 %.",
        ),
        ({"dispersion": 0.5}, 3, "Genes vary 50 % less over the cells than the model expects"),
    ],
)
def test_sentences_say_by_how_much_it_looks_wrong(observed, index, sentence):
    verdict = predictive_verdicts(checks_with(**observed))[index]
    assert sentence in sentence_of(verdict)


@pytest.mark.parametrize(
    ("factor", "kind"),
    [(2.5, "2.5 times as many held-out counts as"), (0.5, "50 % fewer held-out counts than")],
)
def test_sentences_of_held_out_counts_name_the_rate(factor, kind):
    found = calibration_of([1.0, factor, 1.0])
    assert sentence_of(calibration_verdict(found)) == (
        f"Where 0.2 counts are predicted for an entry, there are {kind} expected."
    )
    for side, what in (("row", "cells"), ("column", "genes")):
        assert sentence_of(heldout_sums_verdict(f"{side}s", 0.2)) == (
            f"20 % of the held-out sums of {what} are outside their 90 % intervals, 2 times as "
            "many as expected."
        )


def table_of(*verdicts: Verdict) -> str:
    source = "{% import 'verdicts.html' as v %}{{ v.table('All', verdicts, words) }}"
    page = environment().from_string(source).render(verdicts=verdicts, words=CELLS)
    assert Page(page).problems == []
    return " ".join(Page(page).text.split())


def test_verdicts_are_shown_with_the_digits_that_they_need():
    rare = Verdict("zeros", "a little off", 0.998812, 0.9988, 0.01, (0.99876, 0.99884), 0.04)
    table = table_of(rare)
    for words in ("99.8812 %", "99.8760 – 99.8840 %", "0.04, both tails", "a little off"):
        assert words in table
    assert "tail" not in table_of(rare._replace(tail=None))


def test_verdicts_of_one_tail_say_so():
    interval, none = (0.0867, 0.115), Verdict("rows_outside", "as expected", 0.0, 0.1)
    table = table_of(none._replace(interval=interval, tail=1.0, is_one_sided=True))
    assert "Sums of cells outside their 90 % intervals 0.0 % at most 11.5 % 1, upper tail" in table
    table = table_of(heldout_sums_verdict("columns", 0.0963))
    assert "Held-out sums of genes outside their 90 % intervals 10 % at most 15 %" in table


def test_long_names_are_cut():
    source = "{% import 'macros.html' as macros %}{{ macros.name(name) }}"
    for name, shown in (
        ("", "<bdi>(no name)</bdi>"),
        (40 * "x", f"<bdi>{40 * 'x'}</bdi>"),
        (1000 * "x", f'<bdi title="{300 * "x"}">{39 * "x"}…</bdi>'),
    ):
        assert environment().from_string(source).render(name=name) == shown


def test_characters_that_cannot_be_printed_are_replaced():
    found = environment().from_string("{{ name }}<b>").render(name="a\x00b\u202e\n<1\u00a0%")
    assert found == "a�b�\n&lt;1\u00a0%<b>"
