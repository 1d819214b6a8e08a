"""`vigamma.pl`: what the pictures show, and that nothing in them is cut or hides another."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import vigamma as vg
from vigamma import pl
from vigamma.figures.memberships import Groups, group_places, row_order, structure
from vigamma.figures.palette import COLORS, OTHERS

GENES = ["ACTB", "A name that is far too long for a label", "CD3D", "GNLY", "MS4A1", "NKG7"]
GROUPS = ["B", "CD4+ naive T", "CD14+ monocyte, with a long name", *(f"type {i}" for i in range(9))]
SIZES = [
    (300, 5, 3),
    *(pytest.param(s, marks=pytest.mark.slow) for s in [(2000, 20, 12), (60, 2, 1)]),
]


@pytest.fixture(autouse=True)
def _agg():
    """Figures that nobody looks at."""
    with mpl.rc_context({"backend": "agg"}):
        yield
    pyplot.close("all")


def annotated(num_cells: int, num_factors: int, num_groups: int, seed: int = 0) -> AnnData:
    """What `factorize` writes, of random cells in groups of different sizes."""
    rng = np.random.default_rng(seed)
    groups = np.sort((num_groups * rng.beta(0.5, 1.5, num_cells)).astype(int))
    own = rng.dirichlet(np.full(num_factors, 0.3), num_groups)
    shares = np.array([rng.dirichlet(20 * own[group] + 0.02) for group in groups])
    amounts = shares * rng.gamma(5.0, 100.0, (num_cells, 1))
    amounts = amounts[:, np.argsort(-amounts.sum(axis=0))]
    adata = AnnData(
        obs=pd.DataFrame(
            {"type": pd.Categorical.from_codes(groups, GROUPS[:num_groups])},
            [f"cell {n}" for n in range(num_cells)],
        ),
        var=pd.DataFrame(index=GENES),
    )
    adata.obsm["X_vigamma"] = amounts.astype(np.float32)
    loadings = rng.dirichlet(np.ones(len(GENES)), num_factors).T
    for end, scale in (("", 1.0), ("_low", 0.7), ("_high", 1.5)):
        adata.varm[f"vigamma_loadings{end}"] = scale * loadings
    adata.uns["vigamma"] = {
        "weights": amounts.sum(axis=0) / amounts.sum(),
        "obsm_key": "X_vigamma",
        "varm_key": "vigamma_loadings",
    }
    return adata


def shares_of(adata):
    amounts = adata.obsm["X_vigamma"].astype(float)
    return amounts / amounts.sum(axis=1, keepdims=True)


def color_at(axes, x, y):
    """The color that is seen at a place in the coordinates of the data."""
    axes.figure.canvas.draw()
    image = np.asarray(axes.figure.canvas.buffer_rgba())
    column, row = axes.transData.transform((x, y))
    return image[image.shape[0] - 1 - int(row), int(column), :3] / 255


@pytest.mark.parametrize("width", [12.8, 3.9])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nothing_is_cut_and_labels_do_not_meet(size, width):
    adata = annotated(*size)
    pictures = (
        pl.structure(adata, "type", width=width).figure,
        pl.heatmap(adata, "type", width=width).figure,
        pl.loadings(adata, width=width),
    )
    for figure in pictures:
        assert figure.get_figwidth() == width
        figure.canvas.draw()
        renderer, frame = figure.canvas.get_renderer(), figure.bbox
        for axes in figure.axes:
            texts = [axes.title, axes.xaxis.label, axes.yaxis.label]
            texts += [*tick_labels(axes.xaxis), *tick_labels(axes.yaxis)]
            if legend := axes.get_legend():
                texts += legend.get_texts()
                assert legend.get_window_extent(renderer).y0 >= axes.bbox.y1 - 1
            for text in texts:
                box = text.get_window_extent(renderer)
                is_inside = min(box.x0, box.y0, frame.x1 - box.x1, frame.y1 - box.y1) > -1
                assert is_inside or not text.get_text(), text.get_text()
            assert_apart(axes, renderer)


def tick_labels(axis):
    """Those within the limits of an axis, which are drawn."""
    low, high = sorted(axis.get_view_interval())
    ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    return [label for place, label in ticks if low <= place <= high and label.get_text()]


def assert_apart(axes, renderer):
    """Labels of an axis do not overlap; slanted ones are a line apart."""
    labels = tick_labels(axes.xaxis)
    boxes = [label.get_window_extent(renderer) for label in labels]
    for label, first, second in zip(labels, boxes, boxes[1:], strict=False):
        line = label.get_fontsize() * axes.figure.dpi / 72
        ends_apart = second.x1 - first.x1
        assert ends_apart >= line if label.get_rotation() else second.x0 > first.x1
    down = [label.get_window_extent(renderer) for label in tick_labels(axes.yaxis)]
    for first, second in itertools.combinations(down, 2):
        assert first.y0 >= second.y1 or second.y0 >= first.y1


def test_a_structure_plot_has_the_color_of_every_factor_where_its_share_is():
    adata = annotated(40, 3, 2)
    groups = np.repeat([0, 1], [10, 30])
    adata.obs["type"] = pd.Categorical.from_codes(groups, ["b", "a"])
    amounts = np.where(groups[:, None] == 0, [0.5, 0.3, 0.2], [0.1, 0.2, 0.7])
    adata.obsm["X_vigamma"] = np.linspace(1, 9, 40)[:, None] * amounts
    axes = pl.structure(adata, "type")
    for x, bounds in ((0.125, [0, 0.5, 0.8, 1]), (0.625, [0, 0.1, 0.3, 1])):
        for k, (low, high) in enumerate(itertools.pairwise(bounds)):
            seen = color_at(axes, x, (low + high) / 2)
            np.testing.assert_allclose(seen, to_rgb(COLORS[k]), atol=0.01)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["b", "a"]
    assert axes.get_xlabel() == "40 cells"
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["1", "2", "3"]


def test_factors_beyond_the_colors_are_gray_together_and_of_many_cells_some_are_drawn():
    axes = FigureCanvasAgg(Figure(figsize=(7.5, 3.4))).figure.subplots()
    shares = np.tile(np.r_[np.full(23, 0.5 / 23), np.full(7, 0.5 / 7)], (9000, 1))
    structure(axes, shares, Groups(np.arange(9000) // 8999, ["many", "one"]), what="rows")
    np.testing.assert_allclose(color_at(axes, 0.3, 0.75), to_rgb(OTHERS), atol=0.01)
    np.testing.assert_allclose(color_at(axes, 0.3, 0.01), to_rgb(COLORS[0]), atol=0.01)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert (len(labels), labels[-1]) == (24, "24 to 30")
    assert axes.get_xlabel() == "4,001 of 9,000 rows"


def test_rows_are_ordered_by_the_largest_factor_of_their_group_and_its_share():
    shares = np.array(
        [[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]
    )
    groups = np.array([0, 0, 0, 0, 1, 1, 1])
    assert row_order(shares, groups).tolist() == [1, 2, 3, 0, 4, 5, 6]
    assert row_order(shares[::-1], 1 - groups[::-1]).tolist() == [2, 1, 0, 5, 4, 3, 6]


def test_groups_are_as_wide_as_they_have_rows_but_wide_enough():
    starts, widths = group_places(np.array([1, 100, 2, 300]), 0.02)
    np.testing.assert_allclose(widths, [0.02, 0.96 / 4, 0.02, 0.96 * 3 / 4])
    np.testing.assert_allclose(starts, np.cumsum(widths) - widths)
    gives_way = group_places(np.array([10, 105, 885]), 0.1)[1]  # 0.105 would become 0.095
    np.testing.assert_allclose(gives_way, [0.1, 0.1, 0.8])
    np.testing.assert_allclose(group_places(np.array([1, 9, 90]), 1 / 3)[1], 1 / 3)
    np.testing.assert_allclose(group_places(np.array([1, 3]), 0.1)[1], [0.25, 0.75])


def test_a_heat_map_has_the_means_of_groups_with_cells_without_a_label_as_one():
    adata = annotated(200, 4, 3)
    adata.obs["type"] = adata.obs["type"].cat.add_categories("nobody")
    adata.obs.loc[adata.obs_names[:7], "type"] = np.nan
    axes, shares = pl.heatmap(adata, "type"), shares_of(adata)
    labels = adata.obs["type"].astype(object).fillna("(no label)")
    names = [*GROUPS[:3], "(no label)"]
    expected = [shares[labels == name].mean(axis=0) for name in names]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == ["B", "CD4+ naive T", "CD14+ monocyte, with a …", "(no label)"]
    assert [text.get_text() for text in axes.texts[:4]] == [f"{p:.0%}" for p in expected[0]]


@pytest.mark.parametrize("order", ["mean", "lift"])
def test_loadings_are_the_first_genes_with_their_intervals(order):
    adata = annotated(30, 3, 2)
    for end in ("", "_low", "_high"):
        adata.varm[f"vigamma_loadings{end}"][4] = np.nan  # not in the fit
    adata.varm["vigamma_loadings_low"][0, 1] = 0.001  # large by chance
    tables = {end: adata.varm[f"vigamma_loadings{end}"] for end in ("", "_low", "_high")}
    if order == "lift":
        overall = tables[""] @ adata.uns["vigamma"]["weights"]
        tables = {end: table / overall[:, None] for end, table in tables.items()}
    figure = pl.loadings(adata, [3, 2], n_genes=9, order=order)
    for axes, k in zip(figure.axes, (2, 1), strict=True):
        by = tables["" if order == "mean" else "_low"][:, k]
        best = [m for m in np.argsort(-by) if m != 4]
        names = [GENES[m] if len(GENES[m]) < 18 else "A name that is fa…" for m in best]
        assert [label.get_text() for label in axes.get_yticklabels()] == names
        np.testing.assert_allclose(axes.lines[0].get_xdata(), tables[""][best, k])
        segments = np.array(axes.collections[0].get_segments())
        np.testing.assert_allclose(segments[:, 0, 0], tables["_low"][best, k])
        np.testing.assert_allclose(segments[:, 1, 0], tables["_high"][best, k])
        np.testing.assert_allclose(axes.collections[0].get_color()[0, :3], to_rgb(COLORS[k]))
        assert axes.get_title() == f"factor {k + 1} ({adata.uns['vigamma']['weights'][k]:.1%})"
    if order == "lift":
        assert best[0] != np.nanargmax(tables[""][:, 1])


def test_axes_that_are_given_are_drawn_on():
    adata = annotated(30, 3, 2)
    figure = Figure(layout="constrained")
    panels = figure.subplots(3)
    assert pl.structure(adata, ax=panels[0]) is panels[0]
    assert pl.heatmap(adata, "type", ax=panels[1]) is panels[1]
    assert pl.loadings(adata, [2], ax=panels[2]) is figure
    assert not pyplot.get_fignums()
    assert all(axes.has_data() for axes in panels)


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda a: pl.structure(a, key="k20"), vg.UnknownNameError, "adata.uns has no 'k20': run"),
        (lambda a: pl.heatmap(a, "kind"), vg.UnknownNameError, "adata.obs has no column 'kind'"),
        (
            lambda a: pl.structure(a, "number"),
            ValueError,
            "has 150 labels: groupby takes up to",
        ),
        (lambda a: pl.loadings(a, [0]), ValueError, r"factors must be of 1 to 3, got \[0\]"),
        (lambda a: pl.loadings(a, [4]), ValueError, r"factors must be of 1 to 3, got \[4\]"),
        (lambda a: pl.loadings(a, []), ValueError, r"factors must be of 1 to 3, got \[\]"),
        (lambda a: pl.loadings(a, n_genes=0), ValueError, "n_genes must be at least 1"),
        (lambda a: pl.loadings(a, order="x"), ValueError, "order mean or lift, got 10, x"),
        (lambda a: pl.loadings(a, ax=Figure().subplots()), ValueError, "ax is for a single factor"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(draw, error, message):
    adata = annotated(150, 3, 2)
    adata.obs["number"] = np.arange(150)
    with pytest.raises(error, match=message):
        draw(adata)
    assert not pyplot.get_fignums()


MACHADO = {  # of full deficiency, for linear RGB (Machado, Oliveira & Fernandes 2009, table 1)
    "normal": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}


def cielab(linear: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
              [0.0193339, 0.1191920, 0.9503041]]  # fmt: skip
    x, y, z = np.cbrt(np.clip(linear, 1e-9, 1) @ np.transpose(to_xyz) / [0.95047, 1, 1.08883]).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("vision", MACHADO)
def test_colors_are_told_apart_by_the_color_blind(vision):
    rgb = np.array([to_rgb(color) for color in COLORS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lab = cielab(linear @ np.transpose(MACHADO[vision]))
    distances = np.linalg.norm(lab[:, None] - lab, axis=2)
    distances[np.diag_indices(len(COLORS))] = np.inf
    assert distances[:10, :10].min() > 16.5
    assert distances.min() > 14.5
