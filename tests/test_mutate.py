"""The tester of the tests, on a package of one function."""

import subprocess
import sys

import pytest

from tests.command import ROOT

CODE = "def larger(a, b):\n    return a if a > b else b\n\n\ndef half(a):\n    return a / 2\n"
TESTS = "from code_ import larger\n\n\ndef test_larger():\n    assert larger(1, 2) == 2\n"
CHANGES = """# two that count, and one that does not
[code_.py | test_code.py]
- a > b
+ a < b
- return a / 2
+ return a / 3
- larger(a, b)
+ larger(a, b, /)
= nobody calls it by keyword
"""


def mutate(folder, changes: str, code: str = CODE) -> subprocess.CompletedProcess:
    (folder / "code_.py").write_text(code)
    (folder / "test_code.py").write_text(TESTS)
    (folder / "changes.txt").write_text(changes, encoding="utf-8")
    command = [sys.executable, ROOT / "scripts" / "mutate.py", f"--root={folder}", "--jobs=2"]
    return subprocess.run(
        [*command, f"--changes={folder / 'changes.txt'}"],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.nightly
def test_a_change_is_noticed_or_not_and_nothing_is_changed_for_good(tmp_path):
    done = mutate(tmp_path, CHANGES)
    assert done.stdout.splitlines() == [
        "noticed     code_.py: a > b → a < b",
        "NOT noticed code_.py: return a / 2 → return a / 3",
        "equivalent  code_.py: larger(a, b) → larger(a, b, /) (nobody calls it by keyword)",
        "1 of 2 noticed, 50.0%; 1 equivalent",
    ]
    assert done.returncode == 1
    assert (tmp_path / "code_.py").read_text() == CODE


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (CHANGES, CODE.replace("else b", "else 3"), "the tests fail without any change"),
        ("[code_.py | test_code.py]\n- a\n+ b\n", CODE, "code_.py has 7 times, not once: a"),
        ("- a\nb\n", CODE, "a line must begin with one of [ - + = #, got 'b'"),
    ],
    ids=["failing tests", "not once", "no list"],
)
def test_what_would_say_nothing_is_refused(tmp_path, changes, code, message):
    done = mutate(tmp_path, changes, code)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
