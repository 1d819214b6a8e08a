"""Imports run downward only: the floors of the package, its rooms on them, lowest first.

A room is a folder, or a file on top. Within a room modules may import each other, but not in a
circle.
"""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vigamma"

FLOORS = [
    ["errors", "terminal", "typing"],
    ["counts", "random", "special"],
    ["data.readers", "devices", "families"],
    ["contracts", "data", "data.layout", "storage"],
    ["diagnostics", "estimators", "models"],
    ["figures", "inference"],
    ["runs"],
    ["answers", "command_line", "numpyro", "report", "sklearn"],
    ["commands", "pl", "tl"],
]
MOST_ROOMS, MOST_FLOORS, MOST_ARROWS = 27, 9, 118


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }


def floor(module: str) -> tuple[int, str]:
    """The floor and the room of a module; of a room within a room the inner one."""
    found = [
        (level, room)
        for level, rooms in enumerate(FLOORS)
        for room in rooms
        if module == room or module.startswith(room + ".")
    ]
    assert found, f"{module} has no room"
    return max(found, key=lambda place: len(place[1]))


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, at its top or in a function."""
    found, known = set(), modules()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vigamma":
            base = node.module.removeprefix("vigamma").lstrip(".")
            names = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
            found |= {name if name in known else base for name in names}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
            found |= {n.removeprefix("vigamma.") for n in names if n.startswith("vigamma.")}
    return found - {""}


@pytest.mark.parametrize("module", modules())
def test_imports_run_downward(module):
    own_level, own_room = floor(module)
    for other in imported(modules()[module]):
        level, room = floor(other)
        assert level < own_level or room == own_room, f"{module} imports {other}"


def test_no_imports_run_in_a_circle():
    graph = {module: imported(path) for module, path in modules().items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_the_house_stays_small():
    rooms = {floor(module)[1] for module in modules()}
    arrows = {
        (floor(module)[1], floor(other)[1])
        for module, path in modules().items()
        for other in imported(path)
    }
    num_arrows = sum(start != end for start, end in arrows)
    print(f"{len(rooms)} rooms, {len(FLOORS)} floors, {num_arrows} arrows")
    assert rooms == {room for rooms in FLOORS for room in rooms}
    assert len(rooms) <= MOST_ROOMS
    assert len(FLOORS) <= MOST_FLOORS
    assert num_arrows <= MOST_ARROWS


def test_configs_import_public_names_only():
    for path in (ROOT / "configs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module == "vigamma" or not node.module.startswith("vigamma"), path
            elif isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
                assert not any(name.startswith("vigamma.") for name in names), path


def test_only_the_mesh_knows_of_devices():
    words = {"shard_map", "PartitionSpec", "NamedSharding", "axis_index", "psum", "pmean"}
    for module, path in modules().items():
        if module != "devices.mesh":
            tree = ast.parse(path.read_text())
            used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
            used |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
            assert not used & words, module
