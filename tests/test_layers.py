"""Imports run downward only: the layers of the package, lowest first."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vigamma"

LAYERS = [
    ["errors"],
    ["forks"],
    [
        "typing",
        "floats",
        "random",
        "whole_files",
        "progress",
        "ranking",
        "report.formatting",
        "terminal",
    ],
    [
        "special",
        "signals",
        "manifest",
        "workdir",
        "data.counts",
        "data.blocks",
        "data.names",
        "data.packed_files",
        "data.count_rules",
    ],
    ["mesh"],
    ["names", "tables", "report.rendering", "mixture", "data.ten_x_features"],
    ["families.gamma", "families.poisson", "data.sparse_counts", "data.text_files"],
    ["families.mean_field", "families.negative_binomial", "data.synthetic"],
    ["data.raw_counts", "data.text_columns", "data.delimited_fields"],
    ["data.delimited_layout", "data.numbered_entries"],
    ["data.matrix_market", "data.text_matrix"],
    ["data.parts", "data.readers"],
    ["data.file_kinds"],
    ["data.files"],
    ["data.counts_list", "diagnostics.residuals"],
    ["data.new_counts"],
    [
        "kernels",
        "data.count_rows",
        "data.row_groups",
        "data.heldout",
        "data.digits",
        "families.product",
    ],
    ["diagnostics"],
    ["diagnostics.verdicts"],
    ["models.factor_priors", "models.gamma_poisson"],
    ["models.factor_model"],
    ["models.poisson_factorization"],
    ["models.hierarchical_poisson_factorization"],
    ["estimators"],
    [
        "inference.adam",
        "inference.natural_gradient",
        "inference.info",
        "inference.extrapolation",
        "inference.best",
    ],
    [
        "inference.gradient_ascent",
        "inference.coordinate_ascent",
        "inference.stochastic",
        "inference.fold_in",
        "certificate",
    ],
    ["inference.minibatch", "inference.halves"],
    ["train_state", "checkpointing", "config", "metrics"],
    ["plotting"],
    ["plotting_factors", "plotting_checks", "fits.base", "fits.validation"],
    ["fits.conjugate", "fits.factors"],
    ["fits.coordinate_ascent", "fits.stochastic"],
    ["fitted", "sklearn_border"],
    ["generate"],
    ["sklearn_api"],
    ["train", "command_line"],
    ["run_data", "search"],
    ["answers.export", "answers.recommendation", "report.results"],
    ["answers", "report"],
    ["report.report"],
]


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }


def layer(module: str) -> tuple[int, str]:
    """Of the entries that cover the module, the longest."""
    covering = [
        (level, entry)
        for level, entries in enumerate(LAYERS)
        for entry in entries
        if module == entry or module.startswith(entry + ".")
    ]
    assert covering, f"{module} has no layer"
    return max(covering, key=lambda found: len(found[1]))


def imported(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vigamma":
            base = node.module.removeprefix("vigamma").lstrip(".")
            found += [base] if base else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [
                a.name.removeprefix("vigamma.") for a in node.names if a.name.startswith("vigamma.")
            ]
    return found


@pytest.mark.parametrize("module", modules())
def test_imports_run_downward(module):
    own_level, own_entry = layer(module)
    for other in imported(modules()[module]):
        level, entry = layer(other)
        assert level < own_level or (entry == own_entry == "random"), f"{module} imports {other}"


def test_configs_import_public_names_only():
    for path in (ROOT / "configs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module == "vigamma", path
            assert not isinstance(node, ast.Import), path


def test_only_the_mesh_knows_of_devices():
    words = {"shard_map", "PartitionSpec", "NamedSharding", "axis_index", "psum", "pmean"}
    for module, path in modules().items():
        if module != "mesh":
            tree = ast.parse(path.read_text())
            used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
            used |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
            assert not used & words, module
