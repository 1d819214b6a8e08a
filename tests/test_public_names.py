import ast
import rlcompleter
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vigamma

SOURCE = Path(vigamma.__file__)


def names_for_type_checkers():
    """The module of every name that the block of imports for type checkers gives."""
    [block] = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)][:1]
    return {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_and_python_know_the_same_names():
    assert names_for_type_checkers() == vigamma._HOMES


@pytest.mark.parametrize("name", vigamma.__all__)
def test_a_public_name_comes_from_its_module(name):
    assert getattr(vigamma, name) is getattr(sys.modules[vigamma._HOMES[name]], name)


def test_what_a_user_may_ask_of_the_package():
    modules = ["contracts", "pl", "random", "tl"]
    assert dir(vigamma) == sorted([*vigamma.__all__, *modules, "__version__"])
    assert all(hasattr(vigamma, name) for name in dir(vigamma))
    assert vigamma.random.__name__ == "vigamma.random"
    with pytest.raises(AttributeError, match="module 'vigamma' has no attribute 'Gama'"):
        vigamma.Gama  # noqa: B018
    assert not hasattr(vigamma, "__wrapped__")


def test_tab_completes_public_names():
    complete = rlcompleter.Completer({"vg": vigamma}).complete
    assert complete("vg.recomm", 0).startswith("vg.recommend")
    assert complete("vg.PoissonFactorizer", 0).startswith("vg.PoissonFactorizer")
    assert complete("vg.__vers", 0) == "vg.__version__"
    assert complete("vg._HO", 0) is None


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]
    assert vigamma.__version__ == project["version"]


def test_a_star_brings_all_names_and_no_others():
    names: dict = {}
    exec("from vigamma import *", names)
    assert set(names) - {"__builtins__"} == set(vigamma.__all__)


def test_the_package_alone_imports_nothing_that_takes_time():
    program = "import sys, vigamma; print({'jax', 'numpy', 'flax', 'email'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
