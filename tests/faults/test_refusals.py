"""A workdir of another run is refused, with what is stored and what was wanted, and left as is."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array, load_npz, save_npz

from tests.slow import slow_after
from vigamma import (
    Adam,
    AnalyticElbo,
    CheckpointError,
    ConfigError,
    CoordinateAscent,
    DigitCounts,
    Digits,
    DomainKnowledge,
    Experiment,
    GradientAscent,
    HeldOut,
    HierarchicalPoissonFactorization,
    NaturalGradient,
    PathwiseElbo,
    PoissonFactorization,
    ScoreFunctionElbo,
    SparseCounts,
    StochasticVariationalInference,
    SyntheticFactors,
    run_experiment,
)
from vigamma.data.digits import KnowledgeAndCounts
from vigamma.devices.mesh import make_mesh
from vigamma.runs import train
from vigamma.runs.experiment import identity
from vigamma.storage.checkpointing import Checkpointer
from vigamma.storage.workdir import locked

ADAM = GradientAscent(estimator=PathwiseElbo(num_samples=4), optimizer=Adam(decay_steps=60))
ZERO = Experiment(
    data=Digits(),
    model=DomainKnowledge(),
    inference=ADAM,
    num_steps=4,
    log_every=2,
    save_every=2,
)
FACTORS = dataclasses.replace(
    ZERO,
    data=SyntheticFactors(),  # replaced by a file
    heldout=HeldOut(protocol="thinning", test_fraction=0.2, valid_fraction=0.1),
    model=PoissonFactorization(num_factors=3, row_shape=0.3),
    inference=CoordinateAscent(tolerance=0, stop_on_validation=True),
)
BATCHES = StochasticVariationalInference(batch_rows=32)


@pytest.fixture(autouse=True)
def _one_device(monkeypatch, no_figures):
    """Programs for one compile faster."""
    monkeypatch.setattr(train, "make_mesh", lambda: make_mesh(jax.devices()[:1]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with counts and the names of their columns."""
    folder = tmp_path_factory.mktemp("runs")
    counts = SyntheticFactors(num_rows=90, num_columns=70, num_factors=3, num_nonzeros=1200)
    cells = counts.load().counts.toarray()
    cells[:, 0] += 20  # a training count in every row, for exposures
    save_npz(folder / "counts.npz", csr_array(cells))
    (folder / "columns.txt").write_text(numbered_items(0))
    return folder


@pytest.fixture
def finished(folder):
    """What returns the config and the workdir of a finished run of a kind."""

    def run(kind: str) -> tuple[Experiment, Path]:
        config = config_of(kind, folder)
        if not (folder / kind).exists():
            run_experiment(config, folder / kind)
        return config, folder / kind

    return run


def config_of(kind: str, folder: Path) -> Experiment:
    if kind == "zero":
        return ZERO
    config = dataclasses.replace(FACTORS, data=SparseCounts(path=str(folder / "counts.npz")))
    return dataclasses.replace(config, inference=BATCHES) if kind == "batches" else config


def contents(workdir: Path) -> dict[str, bytes | None]:
    """The bytes of all files of a run but `.lock`, which names the process; None for folders."""
    return {
        str(path.relative_to(workdir)): path.read_bytes() if path.is_file() else None
        for path in workdir.rglob("*")
        if path.name != ".lock"
    }


def with_field(config, path: str, value):
    """A config in which one field, however deep, has another value."""
    name, _, rest = path.partition(".")
    if rest:
        value = with_field(getattr(config, name), rest, value)
    return dataclasses.replace(config, **{name: value})


def assert_refused(config, workdir, *said: str, error=CheckpointError) -> None:
    """It is refused in one line that says all this, twice alike, and nothing is touched."""
    before = contents(workdir)
    for _ in range(2):
        with pytest.raises(error) as refused:
            run_experiment(config, workdir)
        message = str(refused.value)
        assert "\n" not in message
        for text in said:
            assert re.search(text, message), (text, message)
        assert contents(workdir) == before


CHECKSUM = r"data and prior \(checksum\): \d+ → \d+"

OTHER_CONFIGS = {
    "zero": {
        "seed": (3, "seed: 0 → 3"),
        "data.digit": (7, "data.digit: 0 → 7", CHECKSUM),
        "data.num_knowledge_images": (11, "data.num_knowledge_images: 10 → 11", CHECKSUM),
        "model.weight": (3.0, "model.weight: 2.0 → 3.0", CHECKSUM),
        "model.floor": (0.2, "model.floor: 0.1 → 0.2", CHECKSUM),
        "inference.estimator.sticking_the_landing": (False, "sticking_the_landing: True → False"),
        "inference.estimator.num_samples": (8, "inference.estimator.num_samples: 4 → 8"),
        "inference.estimator": (
            ScoreFunctionElbo(num_samples=4),
            "inference.estimator: PathwiseElbo → ScoreFunctionElbo",
        ),
        "inference": (
            GradientAscent(estimator=AnalyticElbo(), optimizer=NaturalGradient()),
            "inference.estimator: PathwiseElbo → AnalyticElbo",
            "inference.optimizer: Adam → NaturalGradient",
        ),
        "inference.optimizer": (
            NaturalGradient(),
            "inference.optimizer: Adam → NaturalGradient",
            "inference.optimizer.learning_rate: 0.2 → 0.5",
        ),
        "inference.optimizer.learning_rate": (0.1, "inference.optimizer.learning_rate: 0.2 → 0.1"),
        "inference.optimizer.decay_steps": (61, "inference.optimizer.decay_steps: 60 → 61"),
        "inference.optimizer.final_fraction": (0.5, "final_fraction: 0.001 → 0.5"),
        "inference.optimizer.second_moment_decay": (0.99, "second_moment_decay: 0.997 → 0.99"),
    },
    "factors": {
        "seed": (1, "seed: 0 → 1"),
        "model": (
            HierarchicalPoissonFactorization(num_factors=3, row_shape=0.3),
            "model: PoissonFactorization → HierarchicalPoissonFactorization",
            "model.rate_shape: None → ",
        ),
        "model.num_factors": (4, "model.num_factors: 3 → 4"),
        "model.row_shape": (0.5, "model.row_shape: 0.3 → 0.5"),
        "model.column_shape": (0.5, "model.column_shape: 0.3 → 0.5"),
        "model.row_sum_exposures": (True, "model.row_sum_exposures: False → True"),
        "inference": (
            BATCHES,
            "inference: CoordinateAscent → StochasticVariationalInference",
            "inference.batch_rows: None → 32",
        ),
        "inference.tolerance": (1e-6, "inference.tolerance: 0 → 1e-06"),
        "inference.extrapolate": (False, "inference.extrapolate: True → False"),
        "inference.learn_priors": (True, "inference.learn_priors: False → True"),
        "inference.stop_on_validation": (False, "stop_on_validation: True → False"),
        "inference.restart_sweeps": (3, "inference.restart_sweeps: 20 → 3"),
        "heldout": (None, "heldout: HeldOut → None", "heldout.protocol: thinning → None", CHECKSUM),
        "heldout.protocol": ("cells", "heldout.protocol: thinning → cells", CHECKSUM),
        "heldout.test_fraction": (0.25, "heldout.test_fraction: 0.2 → 0.25", CHECKSUM),
        "heldout.valid_fraction": (0.2, "heldout.valid_fraction: 0.1 → 0.2", CHECKSUM),
        "heldout.seed": (1, "heldout.seed: 0 → 1", CHECKSUM),
        "data": (
            DigitCounts(),
            "data: SparseCounts → DigitCounts",
            "num_rows: 90 → 178",
            "num_columns: 70 → 64",
        ),
        "data.at_least": (2.0, "data.at_least: 0.0 → 2.0", CHECKSUM),
        "data.binary": (True, "data.binary: False → True", CHECKSUM),
        "data.duplicates": ("max", "data.duplicates: sum → max"),
        "data.rounding": ("nearest", "data.rounding: none → nearest"),
        "data.rounding_seed": (1, "data.rounding_seed: 0 → 1"),
        "data.transpose": (True, "data.transpose: False → True", "num_rows: 90 → 70"),
    },
    "batches": {
        "seed": (1, "seed: 0 → 1"),
        "model.num_factors": (4, "model.num_factors: 3 → 4"),
        "inference": (
            CoordinateAscent(),
            "inference: StochasticVariationalInference → CoordinateAscent",
            "inference.delay: 1.0 → None",
        ),
        "inference.delay": (2.0, "inference.delay: 1.0 → 2.0"),
        "inference.forgetting_rate": (0.7, "inference.forgetting_rate: 0.51 → 0.7"),
        "inference.batch_rows": (45, "inference.batch_rows: 32 → 45"),
        "inference.local_updates": (3, "inference.local_updates: 8 → 3"),
        "inference.stop_on_validation": (True, "stop_on_validation: False → True"),
        "heldout.test_fraction": (0.25, "heldout.test_fraction: 0.2 → 0.25", CHECKSUM),
    },
}
ALL_FIELDS = [(kind, field) for kind, fields in OTHER_CONFIGS.items() for field in fields]
SHORT = [
    ("zero", "data.digit"),
    ("zero", "inference.optimizer"),
    ("factors", "model"),
    ("factors", "heldout"),
    ("factors", "inference.stop_on_validation"),
]


def refuse_a_config(finished, kind, field) -> None:
    config, workdir = finished(kind)
    value, *said = OTHER_CONFIGS[kind][field]
    assert_refused(with_field(config, field, value), workdir, "of another run", *said)


@pytest.mark.parametrize(("kind", "field"), slow_after(2, SHORT))
def test_another_config_is_refused(finished, kind, field):
    refuse_a_config(finished, kind, field)


@pytest.mark.faults
@pytest.mark.parametrize(("kind", "field"), [case for case in ALL_FIELDS if case not in SHORT])
def test_every_other_config_is_refused(finished, kind, field):
    refuse_a_config(finished, kind, field)


@pytest.mark.parametrize(
    ("kind", "without"),
    [
        # There is a test of another kind of model; of sums there are no batches, and one family.
        ("zero", {"data", "model", "heldout", "inference.family", "inference.batch_rows"}),
        # Restarts need more steps than were taken; the path has a test; others need other files.
        (
            "factors",
            {"inference.num_restarts"}
            | {
                f"data.{name}"
                for name in ("path", "layer", "columns", "encoding", "row_names", "column_names")
            },
        ),
    ],
)
def test_every_field_that_decides_a_step_has_a_case(folder, kind, without):
    fields = set(identity(config_of(kind, folder))) - set(OTHER_CONFIGS[kind])
    assert fields == without | {"experiment"}


def numbered_items(first: int) -> str:
    return "".join(f"item {i}\n" for i in range(first, first + 70))


def rewritten(change):
    """The same path, with counts that `change` makes of those there."""

    def write(folder, patch):
        save_npz(folder / "counts.npz", change(load_npz(folder / "counts.npz")))

    return write


def other_load(change):
    """The same digit, with what `change` makes of its images."""

    def write(folder, patch):
        original = Digits.load
        patch.setattr(Digits, "load", lambda self: change(original(self)))

    return write


def one_more(counts):
    return csr_array((counts.data + (np.arange(counts.nnz) == 7), counts.indices, counts.indptr))


def one_pixel_more(data):
    data.counts[5, 20] += 1
    return data


def known_better(data):
    return KnowledgeAndCounts(data.knowledge + 1e-6, data.counts)


OTHER_DATA = {
    "zero": {
        "a pixel": (other_load(one_pixel_more), CHECKSUM),
        "the knowledge": (other_load(known_better), CHECKSUM),
        "an image less": (
            other_load(lambda data: KnowledgeAndCounts(data.knowledge, data.counts[1:])),
            CHECKSUM,
        ),
    },
    "factors": {
        "a count": (rewritten(one_more), CHECKSUM),
        "a row less": (rewritten(lambda counts: counts[1:]), CHECKSUM, "num_rows: 90 → 89"),
        "rows in another order": (rewritten(lambda counts: counts[::-1]), CHECKSUM),
        "names": (
            lambda folder, patch: (folder / "columns.txt").write_text(numbered_items(1)),
            r"names of rows and columns \(checksum\): \d+ → \d+",
        ),
        "no names": (
            lambda folder, patch: (folder / "columns.txt").unlink(),
            r"names of rows and columns \(checksum\): \d+ → None",
        ),
    },
}


def refuse_data(finished, kind, what, monkeypatch) -> None:
    config, workdir = finished(kind)
    change, *said = OTHER_DATA[kind][what]
    folder = workdir.parent
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    try:
        change(folder, monkeypatch)
        assert_refused(config, workdir, "of another run", *said)
    finally:
        for path, content in before.items():
            path.write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "what"), [("zero", "the knowledge"), ("factors", "a count"), ("factors", "names")]
)
def test_other_data_of_the_same_config_are_refused(finished, monkeypatch, kind, what):
    refuse_data(finished, kind, what, monkeypatch)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "what"), [(kind, what) for kind, cases in OTHER_DATA.items() for what in cases]
)
def test_any_other_data_are_refused(finished, monkeypatch, kind, what):
    refuse_data(finished, kind, what, monkeypatch)


def test_the_same_counts_in_another_type_are_the_same_data(finished):
    config, workdir = finished("factors")
    path = Path(config.data.path)
    before = path.read_bytes()
    try:
        save_npz(path, load_npz(path).astype(np.float64).tocsc())
        assert not run_experiment(config, workdir).is_new
    finally:
        path.write_bytes(before)


def test_another_path_is_another_run(finished, tmp_path):
    config, workdir = finished("factors")
    path = tmp_path / "moved.npz"
    path.write_bytes(Path(config.data.path).read_bytes())
    config = with_field(config, "data.path", str(path))
    assert_refused(config, workdir, f"data.path: .*counts.npz → {path}")


def test_another_kind_of_model_is_refused_in_both_directions(finished):
    (zero, of_zero), (factors, of_factors) = finished("zero"), finished("factors")
    assert_refused(factors, of_zero, "model: DomainKnowledge → Poiss", "data: Digits → SparseC")
    assert_refused(zero, of_factors, "model: PoissonFactorization → Domai", "num_rows: 90 → None")


def test_float64_is_refused_by_leaf(finished):
    for kind, said in (
        ("zero", r"model.prior.concentration as float32\(64,\), but float64\(64,\) is wanted"),
        ("factors", r"step 4 holds best.elbo as float32\(\), but float64\(\) is wanted"),
    ):
        run = finished(kind)
        with jax.enable_x64(True):
            assert_refused(*run, said)


@pytest.mark.parametrize("other", ["rbg", "unsafe_rbg"])
def test_a_run_goes_on_whatever_kind_of_keys_is_the_default(finished, other):
    config, workdir = finished("zero")
    expected = run_experiment(config, workdir).summary
    (workdir / "summary.json").unlink()  # or the run would be known to have finished
    with jax.default_prng_impl(other):
        resumed = run_experiment(config, workdir).summary
    assert resumed["resumed_from"] == 4
    assert resumed["elbo"] == expected["elbo"]


def test_fewer_steps_than_were_taken_are_refused(finished):
    for kind in ("zero", "factors"):
        config, workdir = finished(kind)
        said = "config.num_steps is 3, but .* has completed 4 steps already"
        assert_refused(dataclasses.replace(config, num_steps=3), workdir, said, error=ConfigError)


def saved(workdir, identity, arrays) -> None:
    with locked(workdir):
        Checkpointer(workdir, identity).save(1, arrays)


LEAVES = {"a": np.float32([1, 2]), "b": {"c": np.int32(7), "d": np.ones((2, 3), np.uint8)}}

OTHER_LEAVES = {
    "a dtype of the same size": (
        {**LEAVES, "a": np.int32([1, 2])},
        r"step 1 holds a as float32\(2,\), but int32\(2,\) is wanted",
    ),
    "half precision": (
        {**LEAVES, "a": jnp.bfloat16([1, 2])},
        r"holds a as float32\(2,\), but bfloat16\(2,\) is wanted",
    ),
    "a sign": (
        {**LEAVES, "b": {**LEAVES["b"], "c": np.uint32(7)}},
        r"holds b\.c as int32\(\), but uint32\(\) is wanted",
    ),
    "a transposed shape": (
        {**LEAVES, "b": {**LEAVES["b"], "d": np.ones((3, 2), np.uint8)}},
        r"holds b\.d as uint8\(2, 3\), but uint8\(3, 2\) is wanted",
    ),
    "a scalar for one in a list": (
        {**LEAVES, "b": {**LEAVES["b"], "c": np.int32([7])}},
        r"holds b\.c as int32\(\), but int32\(1,\) is wanted",
    ),
    "a leaf more": (
        {**LEAVES, "e": np.float32(0)},
        r"holds e as None, but float32\(\) is wanted",
    ),
    "a leaf less": ({"b": LEAVES["b"]}, r"holds a as float32\(2,\), but None is wanted"),
    "another name": (
        {"A": LEAVES["a"], "b": LEAVES["b"]},
        r"holds A as None, but float32\(2,\) is wanted",
    ),
}


@pytest.mark.parametrize("what", OTHER_LEAVES)
def test_other_leaves_are_refused(tmp_path, what):
    on_device = jax.tree.map(jnp.asarray, LEAVES)
    saved(tmp_path, {"seed": 0}, on_device)
    before = contents(tmp_path)
    wanted, said = OTHER_LEAVES[what]
    with locked(tmp_path), pytest.raises(CheckpointError, match=said):
        Checkpointer(tmp_path, {"seed": 0}).restore(jax.tree.map(jnp.asarray, wanted), pytest.fail)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        ({"seed": 0, "name": "b", "x": 0.1}, "name: a → b"),
        ({"seed": 0, "name": "a", "x": np.nextafter(0.1, 1)}, "x: 0.1 → 0.10000000000000002"),
        ({"seed": 2**32 - 1, "name": "a", "x": 0.1}, "seed: 0 → 4294967295"),
        ({"seed": 0, "x": 0.1}, "name: a → None"),
        ({"seed": 0, "name": "a", "x": 0.1, "y": 1}, "y: None → 1"),
        ({"seed": 1, "name": "b", "x": 0.1}, "name: a → b; seed: 0 → 1"),
    ],
)
def test_another_identity_is_refused(tmp_path, identity, said):
    arrays = {"a": jnp.ones(2)}
    saved(tmp_path, {"seed": 0, "name": "a", "x": 0.1}, arrays)
    before = contents(tmp_path)
    with locked(tmp_path), pytest.raises(CheckpointError, match=re.escape(said)):
        Checkpointer(tmp_path, identity).restore(arrays, pytest.fail)
    assert contents(tmp_path) == before
