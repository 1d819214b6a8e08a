"""Arrays on a mesh of devices: where their parts are, and how they are summed."""

import ctypes
import operator
import os
import platform
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigamma.devices.host import keep_freed_memory, use_all_cores
from vigamma.devices.mesh import (
    ACROSS_DEVICES,
    ALONE,
    by_rows,
    check_divisible,
    in_default_float,
    make_mesh,
    on_every_device,
    place,
    replicated,
)
from vigamma.devices.processes import gathered, largest_of_processes, on_first_process, whole
from vigamma.errors import RunError

TREE = {"a": np.arange(24, dtype=np.float32).reshape(8, 3), "b": np.float32([5.0] * 4 + [1.0] * 4)}


def mesh_of(num_devices: int):
    return make_mesh(jax.devices()[:num_devices])


def test_a_mesh_has_all_devices_unless_told():
    assert make_mesh().size == jax.device_count() == 4


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_rows_are_spread_in_order(num_devices):
    mesh = mesh_of(num_devices)
    placed = place(TREE["a"], by_rows(mesh))
    size = 8 // num_devices
    for i, shard in enumerate(sorted(placed.addressable_shards, key=lambda s: s.device.id)):
        np.testing.assert_array_equal(shard.data, TREE["a"][i * size : (i + 1) * size])
    np.testing.assert_array_equal(placed, TREE["a"])


def test_place_takes_a_prefix_of_shardings():
    mesh = mesh_of(4)
    placed = place(
        {"batch": TREE, "step": np.uint32(7)}, {"batch": by_rows(mesh), "step": replicated(mesh)}
    )
    assert [s.data.shape for s in placed["batch"]["a"].addressable_shards] == [(2, 3)] * 4
    assert [s.data.shape for s in placed["batch"]["b"].addressable_shards] == [(2,)] * 4
    assert [int(s.data) for s in placed["step"].addressable_shards] == [7] * 4
    assert placed["step"].dtype == jnp.uint32


def test_keys_are_placed_as_what_they_are():
    key = jax.random.key(3, impl="rbg")
    placed = place(key, replicated(mesh_of(4)))
    assert placed.dtype == key.dtype
    np.testing.assert_array_equal(jax.random.key_data(placed), jax.random.key_data(key))


@pytest.mark.parametrize("x64", [False, True])
def test_numbers_become_the_default_floats(x64):
    with jax.enable_x64(x64):
        (number,) = in_default_float((np.float64(1 / 3),))
    assert float(number) == (1 / 3 if x64 else np.float32(1 / 3))


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
def test_devices_that_do_not_start_are_one_line(monkeypatch, kind):
    def devices():
        raise kind("no plugin\nand more")

    monkeypatch.setattr(jax, "devices", devices)
    with pytest.raises(RunError, match=r"^JAX cannot start with .* \(no plugin\); without"):
        make_mesh()


def test_replicas_are_whole():
    copies = place(TREE["a"], replicated(mesh_of(4))).addressable_shards
    assert len(copies) == 4
    for copy in copies:
        np.testing.assert_array_equal(copy.data, TREE["a"])


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_sums_and_means_over_devices(num_devices):
    mesh = mesh_of(num_devices)

    def totals(tree):
        local = jax.tree.map(lambda leaf: leaf.sum(axis=0), tree)
        return ACROSS_DEVICES.total(local), ACROSS_DEVICES.mean(local)

    program = jax.jit(on_every_device(totals, mesh, (by_rows(mesh),)))
    summed, mean = program(place(TREE, by_rows(mesh)))
    for name, leaf in TREE.items():
        np.testing.assert_array_equal(summed[name], leaf.sum(axis=0))
        np.testing.assert_array_equal(mean[name], leaf.sum(axis=0) / num_devices)


def test_a_tree_is_summed_in_one_all_reduce():
    mesh = mesh_of(4)
    program = jax.jit(on_every_device(ACROSS_DEVICES.total, mesh, (by_rows(mesh),)))
    text = program.lower(place(TREE, by_rows(mesh))).compile().as_text()
    assert len(re.findall(r"= .* all-reduce(?:-start)?\(", text)) == 1


def test_results_may_be_spread_too():
    mesh = mesh_of(4)

    def center(rows, total):
        return rows - rows.mean(), total + 1

    shardings = (by_rows(mesh), replicated(mesh))
    program = jax.jit(on_every_device(center, mesh, shardings, shardings))
    rows, total = program(*place((TREE["b"], np.float32(2)), shardings))
    assert [s.data.shape for s in rows.addressable_shards] == [(2,)] * 4
    np.testing.assert_array_equal(rows, np.zeros(8))  # each device has its own mean
    assert total == 3


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_parts_come_together(num_devices):
    mesh = mesh_of(num_devices)

    def together(part):
        whole = ACROSS_DEVICES.gather(part)
        return whole, ACROSS_DEVICES.total({"sum": part.sum()}), ACROSS_DEVICES.scatter_total(whole)

    everywhere, spread = replicated(mesh), by_rows(mesh)
    program = jax.jit(on_every_device(together, mesh, (spread,), (everywhere, everywhere, spread)))
    whole, total, scattered = program(place(TREE["a"], spread))
    np.testing.assert_array_equal(whole, TREE["a"])
    assert total == {"sum": TREE["a"].sum()}
    np.testing.assert_array_equal(scattered, num_devices * TREE["a"])
    assert {s.data.shape for s in scattered.addressable_shards} == {(8 // num_devices, 3)}


def test_alone_there_is_nothing_to_do():
    *collectives, index, size = ALONE
    assert all(collective(TREE) is TREE for collective in collectives)
    assert (index(), size()) == (0, 1)


@pytest.mark.parametrize(
    ("configured", "environment", "wanted"),
    [(-1, {}, True), (3, {}, False), (-1, {"JAX_NUM_CPU_DEVICES": "1"}, False)],
)
def test_all_cores_are_used_unless_their_number_was_chosen(
    monkeypatch, configured, environment, wanted
):
    class Config:
        jax_num_cpu_devices = configured
        updates = ()

        def update(self, *setting):
            self.updates += (setting,)

    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = Config()
    monkeypatch.setattr(jax, "config", config)
    use_all_cores()
    num_cores = len(os.sched_getaffinity(0))
    assert config.updates == ((("jax_num_cpu_devices", num_cores),) if wanted else ())


@pytest.mark.parametrize(("library", "num_settings"), [("glibc", 3), ("", 0)])
def test_freed_memory_is_kept_by_glibc_alone(monkeypatch, library, num_settings):
    settings = []
    fake = types.SimpleNamespace(mallopt=lambda *setting: settings.append(setting))
    monkeypatch.setattr(platform, "libc_ver", lambda: (library, ""))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: fake)
    keep_freed_memory()
    assert len(settings) == num_settings


def test_samples_must_be_divisible():
    check_divisible(8, 4, "samples")
    with pytest.raises(ValueError, match=r"samples must be divisible .*\(4\), got 6"):
        check_divisible(6, 4, "samples")


def test_what_one_process_has_stays_as_it_is():
    placed = place(TREE, by_rows(mesh_of(4)))
    assert all(map(operator.is_, jax.tree.leaves(gathered(placed)), jax.tree.leaves(placed)))
    np.testing.assert_array_equal(whole(placed["a"]), TREE["a"])


def test_one_process_has_the_largest_value():
    assert largest_of_processes(3) == 3


def test_what_the_first_process_raises_reaches_its_caller():
    assert on_first_process(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        on_first_process(lambda: 1 // 0)


def test_the_other_processes_are_told_that_the_first_failed(monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with pytest.raises(RunError, match="the first process could not go on"):
        on_first_process(lambda: 3)
