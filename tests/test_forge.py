"""The files that a forge reads agree with the package."""

import re
import tomllib

import pytest
import yaml

from tests.command import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FORGE = ROOT / ".github"
WORKFLOWS = sorted(path.name for path in (FORGE / "workflows").glob("*.yml"))
FORMS = sorted(path.name for path in (FORGE / "ISSUE_TEMPLATE").glob("*_*.yml"))


def parsed(*path: str) -> dict:
    return yaml.safe_load(FORGE.joinpath(*path).read_text(encoding="utf-8"))


def commands(workflow: str) -> list[str]:
    jobs = parsed("workflows", workflow)["jobs"].values()
    return [step["run"] for job in jobs for step in job.get("steps", []) if "run" in step]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = PROJECT["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project["version"]
    assert citation["abstract"] == project["description"]
    for same in ("license", "authors", "keywords"):
        assert citation[same] == project[same]
    assert (citation["title"], citation["type"]) == (project["name"], "software")
    assert citation["message"]


def test_there_are_workflows_and_forms():
    assert WORKFLOWS == ["nightly.yml", "release.yml", "tests.yml"]
    assert FORMS == ["bug_report.yml", "feature_request.yml"]
    assert parsed("ISSUE_TEMPLATE", "config.yml") == {"blank_issues_enabled": True}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_read_only_and_ends(name):
    workflow = parsed("workflows", name)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file()
            continue
        assert job["timeout-minutes"] < 360
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])
        assert set(job.get("needs", [])) <= set(workflow["jobs"])
        assert set(job.get("permissions", {})) <= {"id-token"}


def test_workflows_run_what_contributors_run():
    tests, contributing = commands("tests.yml"), (ROOT / "CONTRIBUTING.md").read_text()
    slow = 'pytest -n auto --dist worksteal -m "slow and not (nightly or faults)"'
    for command in ("mypy", "ruff check .", "pytest -n auto --dist worksteal", slow):
        assert command in contributing
        assert any(run.split("/")[-1].split(" $")[0] == command for run in tests)
    assert {"ruff format --check .", "sphinx-build -W --keep-going docs docs/_build"} <= set(tests)
    assert {name for name in WORKFLOWS if f"`{name}`" in contributing} == set(WORKFLOWS)


def test_the_lowest_python_and_all_markers_are_tested():
    matrix = parsed("workflows", "tests.yml")["jobs"]["tests"]["strategy"]["matrix"]["include"]
    lowest = [job["python"] for job in matrix if job["resolution"] == "lowest-direct"]
    assert [f">={python}" for python in lowest] == [PROJECT["project"]["requires-python"]]
    long = parsed("workflows", "nightly.yml")["jobs"]["long"]["strategy"]["matrix"]["marker"]
    markers = PROJECT["tool"]["pytest"]["ini_options"]["markers"]
    assert ["slow", *long] == [marker.split(":")[0] for marker in markers]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_asks_each_question_once(name):
    form = parsed("ISSUE_TEMPLATE", name)
    assert form["name"]
    assert form["description"]
    questions = [part["id"] for part in form["body"]]
    assert len(set(questions)) == len(questions) > 1
    assert all(re.fullmatch(r"\w+", question) for question in questions)
    assert all(part["attributes"]["label"] for part in form["body"])
    assert form["body"][0]["validations"] == {"required": True}
