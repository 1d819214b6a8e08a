import ast
import subprocess
import sys
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
    assert dir(vigamma) == sorted(vigamma.__all__)
    assert vigamma.random.__name__ == "vigamma.random"
    with pytest.raises(AttributeError, match="module 'vigamma' has no attribute 'Gama'"):
        vigamma.Gama  # noqa: B018
    assert not hasattr(vigamma, "__wrapped__")


def test_the_package_alone_imports_nothing_that_takes_time():
    program = "import sys, vigamma; print({'jax', 'numpy', 'flax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
