"""Specs, whose rules hold on every road, and Records, which are frozen and pytrees."""

import copy
import dataclasses
import pickle

import flax.struct
import jax
import numpy as np
import pytest

import vigamma
from vigamma.typing import Record, check_rules, default_float, spec


@spec
class Inner:
    size: int = 1

    def validate(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")


@spec
class Outer:
    inner: Inner

    def work(self, by: int) -> int:
        """Multiplies."""
        return self._work(by)

    def _work(self, by: int) -> int:
        return self.inner.size * by


def test_public_methods_check_the_rules_of_all_fields():
    outer = Outer(inner=Inner(size=3))
    assert outer.work(by=2) == 6
    assert Outer.work.__doc__ == "Multiplies."
    outer.inner.size = 0
    with pytest.raises(ValueError, match=r"^inner\.size must be at least 1, got 0"):
        outer.work(2)
    with pytest.raises(ValueError, match=r"^given\.inner\.size must be"):
        check_rules(outer, "given")
    assert outer._work(2) == 0


@pytest.mark.parametrize(
    ("bad", "use"),
    [
        (vigamma.Adam(decay_steps=0), lambda bad: bad.transformation()),
        (vigamma.Adam(second_moment_decay=1.0), lambda bad: bad.transformation()),
        (vigamma.NaturalGradient(learning_rate=2.0), lambda bad: bad.transformation()),
        (vigamma.PathwiseElbo(num_samples=0), lambda bad: bad.estimate(*4 * [None])),
        (
            vigamma.ScoreFunctionElbo(num_samples=1),
            lambda bad: bad.estimate(None, None, None, None),
        ),
        (vigamma.CoordinateAscent(tolerance=-1.0), lambda bad: bad.init(None, None)),
        (vigamma.CoordinateAscent(num_restarts=0), lambda bad: bad.step(None, None)),
        (vigamma.StochasticVariationalInference(delay=-1.0), lambda bad: bad.step_size(0)),
        (vigamma.StochasticVariationalInference(batch_rows=0), lambda bad: bad.num_batches(9)),
        (vigamma.PoissonFactorization(num_factors=0), lambda bad: bad.build(None, None, 0)),
        (
            vigamma.HierarchicalPoissonFactorization(rate_shape=0.0),
            lambda bad: bad.build(None, None, 0),
        ),
        (vigamma.DomainKnowledge(floor=0.0), lambda bad: bad.build(None)),
        (vigamma.Digits(digit=12), lambda bad: bad.load()),
        (vigamma.SyntheticFactors(num_rows=0), lambda bad: bad.load()),
        (vigamma.HeldOut(seed=-1), lambda bad: bad.split(None)),
    ],
)
def test_no_road_leads_around_the_rules(bad, use):
    with pytest.raises(ValueError, match=r"^\w+ must be"):
        use(bad)


def test_the_default_float_is_that_of_jax():
    with jax.enable_x64(False):
        assert default_float(0.1) == np.float32(0.1)
    with jax.enable_x64(True):
        assert float(default_float(0.1)) == 0.1


class Labelled(Record):
    value: jax.Array
    label: str = flax.struct.field(pytree_node=False, default="a")

    def doubled(self) -> "Labelled":
        return self.replace(value=2 * self.value)


def test_a_record_is_a_frozen_pytree():
    record = Labelled(np.int32(3), "b")
    assert repr(record) == "Labelled(value=np.int32(3), label='b')"
    assert record == Labelled(value=np.int32(3), label="b") != Labelled(np.int32(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.value = np.int32(4)
    ((path, leaf),) = jax.tree_util.tree_leaves_with_path(record)
    assert (jax.tree_util.keystr(path), leaf) == (".value", 3)
    assert jax.jit(Labelled.doubled)(record) == Labelled(np.int32(6), "b")
    with pytest.raises(TypeError, match="other"):
        record.replace(other=1)
    for other in [pickle.loads(pickle.dumps(record)), copy.copy(record), copy.deepcopy(record)]:
        assert other == record
