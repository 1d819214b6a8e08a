"""Pages about runs: whole, well-formed, self-contained, and honest about what is not known."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array, save_npz

from tests import test_train_stochastic
from tests.command import run
from tests.test_train_factors import experiment
from vigamma import (
    CheckpointError,
    ConfigError,
    CoordinateAscent,
    DigitCounts,
    HeldOut,
    PoissonFactorization,
    SparseCounts,
    page,
    run_experiment,
)
from vigamma.data.files import LoadedCounts
from vigamma.data.synthetic import SyntheticFactors
from vigamma.diagnostics.factor_columns import factor_summaries
from vigamma.diagnostics.predictive import Score
from vigamma.diagnostics.predictive_checks import PredictiveChecks, Summary
from vigamma.diagnostics.residuals import Moments, Residuals
from vigamma.report import _in_short, load_results, write_report
from vigamma.runs import train
from vigamma.runs.config import flatten
from vigamma.sections.checks import check_verdicts
from vigamma.sections.factors import the_factors
from vigamma.sections.outcome import equation, what_was_fitted
from vigamma.sections.repeat import config_source
from vigamma.sections.worst import the_worst

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of 40 sweeps, not to be changed."""
    workdir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train._Run, "_draw", lambda *_: None)
        run_experiment(experiment(num_steps=40), workdir)
    return workdir


@pytest.fixture
def blank_pictures(monkeypatch):
    """Drawing takes most of the time of a page."""
    empty = base64.b64encode(b"<svg/>").decode()

    def picture(figure, alt, caption=""):
        source = f"data:image/svg+xml;base64,{empty}"
        return f'<figure><img src="{source}" alt="{alt}">{caption}</figure>'

    monkeypatch.setattr(page, "picture", picture)


VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page; `problems` are tags that do not match."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.problems, self.tags, self.words = [], [], [], []
        self.feed(html)
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
        "Held-out row sums", "inference.num_restarts", "python scripts/train.py --config again.py",
        "The run stopped before it had converged",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.usefixtures("blank_pictures")
def test_names_are_escaped_and_cut(tmp_path, monkeypatch):
    load, evil = SyntheticFactors.load, '<script>alert("1")</script> & <b>'
    rows, columns = (
        np.array([f"{evil}{side}{i} " + 30 * "long" for i in range(n)], np.dtypes.StringDType())
        for side, n in (("r", 90), ("c", 70))
    )

    def with_names(self):
        return LoadedCounts(load(self).counts, None, rows, columns)

    monkeypatch.setattr(SyntheticFactors, "load", with_names)
    workdir = tmp_path / "<b>run & co"
    run_experiment(experiment(num_steps=5), workdir)
    text = page_of(workdir, tmp_path).text
    assert '<script>alert("1")</script> & <b>' in text
    assert "<b>run & co" in text
    assert "…" in text
    assert "longlonglong" not in text


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


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_factorization_has_a_page(tmp_path, kind):
    run_experiment(KINDS[kind], tmp_path)
    found = page_of(tmp_path, tmp_path)
    assert ("Are held-out counts as predicted?" in found.text) == (kind != "nothing held out")
    alts = " ".join(attributes.get("alt", "") for _, attributes in found.tags)
    assert ("as three images" in alts) == (kind in ("digits", "exposures"))
    assert ("size of the row" in found.text) == (kind == "exposures")


def test_priors_that_were_learned_are_called_so():
    for learn in (False, True):
        config = experiment(inference=CoordinateAscent(learn_priors=learn))
        assert ("they were learned" in equation(config)) == learn


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
    html = what_was_fitted(results._replace(run=run, summary={}, metrics=metrics))
    assert "−1,230 nats" in html
    assert "−1,110" not in html


def test_a_summary_of_another_step_is_not_that_of_the_run(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    summary = json.loads((copy / "summary.json").read_text())
    assert load_results(copy, lambda _: None).summary == summary
    (copy / "summary.json").write_text(json.dumps(summary | {"steps": summary["steps"] - 8}))
    assert load_results(copy, lambda _: None).summary == {}


@pytest.mark.parametrize(("score", "is_wrong"), [(-1.0, False), (-2.0, True), (-3.0, True)])
def test_factors_that_predict_nothing_are_said_to(results, score, is_wrong):
    scores = {"factors": Score(score, 9), "independent": Score(-2.0, 9)}
    html = _in_short(results._replace(scores=scores), [])
    assert ("no better than independent columns" in html) == is_wrong


def test_zeros_are_those_of_observed_cells_and_numbers_no_names(results):
    train, missing = csr_array(np.eye(3)), csr_array(np.eye(3, k=1))
    fit = SimpleNamespace(split=SimpleNamespace(train=train, missing=missing))
    assert results._replace(fit=fit).share_of_zeros == pytest.approx(4 / 7)
    assert (results.row(2), results.column(5)) == ("row 2", "column 5")


def test_factors_below_a_thousandth_are_called_hardly_used(results):
    (summary, *_) = factor_summaries(results.theta, results.run.factors.q["columns"])
    for share, is_hardly in ((0.5, False), (1.1e-3, False), (0.9e-3, True)):
        assert ("Hardly used" in the_factors(results, [summary._replace(share=share)])) == is_hardly


def test_the_rows_and_columns_that_scatter_most_come_first(results):
    def with_most_at(index, size):
        dispersion = np.where(np.arange(size) == index, 9.0, 0.0)
        none = np.zeros(size)
        return Residuals(none, Moments(none, none), none, dispersion)

    html = the_worst(results, with_most_at(41, 90), with_most_at(23, 70))
    found = re.findall(r'<tbody><tr><th scope="row" class="words">(.*?)</th>', html)
    assert found == ["row 41", "column 23"]


def test_the_config_file_of_a_page_is_the_config():
    for config in KINDS.values():
        space = {}
        exec(config_source(config), space)
        assert flatten(space["get_config"]()) == flatten(config)


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


def checks_with(**observed: float) -> PredictiveChecks:
    """40 replicates around 0.5, 0.1, 0.1 and 1, and what is observed beside them."""
    noise = np.linspace(-0.01, 0.01, 40)
    middle = {"zeros": 0.5, "rows_outside": 0.1, "columns_outside": 0.1, "dispersion": 1.0}
    none = np.zeros(1)
    rest = {"row_sums": none, "column_sums": none, "variances": none}
    replicated = Summary(**{name: value + noise for name, value in middle.items()}, **rest)
    return PredictiveChecks(Summary(**(middle | observed), **rest), replicated, None, 10)


@pytest.mark.parametrize(
    ("observed", "index", "word", "sentence"),
    [
        ({}, 0, "as expected", "as many zeros as the model expects"),
        ({"zeros": 0.8}, 0, "off", "more zeros than the model expects: 80 % against 50 %"),
        ({"zeros": 0.3}, 0, "off", "fewer zeros than the model expects"),
        ({"zeros": 0.52}, 0, "a little off", "more zeros"),
        ({"rows_outside": 0.4}, 1, "off", "More row sums than expected"),
        ({"columns_outside": 0.0}, 2, "as expected", "column sums are reproduced"),
        ({"dispersion": 3.0}, 3, "off", "vary more over the rows"),
        ({"dispersion": 0.5}, 3, "off", "vary less over the rows"),
    ],
)
def test_verdicts_say_what_looks_wrong(observed, index, word, sentence):
    verdicts = check_verdicts(checks_with(**observed))
    assert verdicts[index].word == word
    assert sentence in verdicts[index].sentence
    assert [v.word for i, v in enumerate(verdicts) if i != index] == 3 * ["as expected"]


def test_names_and_numbers_for_people():
    assert page.name("") == "<bdi>(no name)</bdi>"
    assert page.name("a\x00b\u202e") == "<bdi>a�b�</bdi>"
    cut = page.name("x" * 1000)
    assert cut.count("x") == 39 + 300
    assert page.number(-1234567.8) == "−1,234,568"
    assert page.number(0.012345) == "0.0123"
    assert [page.number(x) for x in (999.4, 999.7, 1000, -1000.4)] == [
        "999", "1,000", "1,000", "−1,000"
    ]  # fmt: skip
    assert page.percent(9.9996, 3) == "1,000 %"
    assert page.number(0) == "0"
    assert page.percent(0.12345) == "12.3 %"
    assert page.text("<&>\"'") == ("&lt;&amp;&gt;&quot;&#x27;")
