"""What the short run of the tests leaves to the whole one."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_after(number: int, cases: Iterable[Any]) -> list[Any]:
    """Cases of a parametrized test, of which those after the first `number` are slow.

    A tuple is a case with several arguments.
    """
    return [case if place < number else _slow(case) for place, case in enumerate(cases)]


def _slow(case: Any) -> Any:
    if hasattr(case, "marks"):
        return pytest.param(*case.values, marks=[*case.marks, pytest.mark.slow], id=case.id)
    return pytest.param(*(case if isinstance(case, tuple) else [case]), marks=pytest.mark.slow)
