"""Training goes on while a save is written, what is written is the state as it was, and no fault is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from selfsight.errors import DiskError
from selfsight.methods.base import Group, Training
from selfsight.training import memory, state
from selfsight.training.optimizers import OPTIMIZERS, build
from selfsight.training.saver import LATEST, SHARE, SOONEST, Saver

Written = Mapping[str, bytearray]
FULL = DiskError("the disk is full")


class Disk:
    """A slow disk: what it is given lies there once `ready` is set."""

    def __init__(self) -> None:
        self.ready, self.begun, self.holds = threading.Event(), threading.Event(), list[bytes]()

    def write(self, files: Written) -> None:
        self.begun.set()
        assert self.ready.wait(30)
        self.holds.append(bytes(files["a"]))


def copied(content: bytes) -> dict[str, bytearray]:
    return {"a": bytearray(content)}


def full(files: Written) -> None:
    raise FULL


def test_training_goes_on_and_the_next_save_waits() -> None:
    disk, saver = Disk(), Saver(None, pytest.fail)
    saver.save(lambda room: copied(b"1"), disk.write, must=False)
    assert disk.begun.wait(30)
    saver.look()
    assert disk.holds == [], "the step after it did not wait"
    threading.Timer(0.05, disk.ready.set).start()
    saver.save(lambda room: copied(bytes(len(disk.holds))), disk.write, must=True)
    assert disk.holds == [b"1", b"\0"], "its copy was taken when the first was on the disk"


def test_however_training_ends_the_last_save_is_on_the_disk() -> None:
    disk, saver = Disk(), Saver(None, pytest.fail)
    saver.save(lambda room: copied(b"1"), disk.write, must=False)
    threading.Timer(0.05, disk.ready.set).start()
    saver.close()
    assert disk.holds == [b"1"]


def test_every_0_goes_on_when_it_is_written() -> None:
    said: list[str] = []
    disk, saver = Disk(), Saver(0.0, said.append)
    disk.ready.set()
    saver.save(lambda room: copied(b"1"), disk.write, must=False)
    assert disk.holds == [b"1"]
    saver.save(lambda room: copied(b"2"), full, must=False)
    assert said == ["the disk is full; the next save tries again"]
    assert saver.due


def test_a_fault_is_said_once_and_what_must_be_raises() -> None:
    said: list[str] = []
    saver = Saver(None, said.append)
    saver.save(lambda room: copied(b"1"), full, must=False)
    saver.close()
    assert len(said) == 1
    saver = Saver(None, said.append)
    with pytest.raises(DiskError, match="full"):
        saver.save(lambda room: copied(b"1"), full, must=True)
    saver.close()
    assert len(said) == 1


def test_any_other_fault_is_not_taken_for_a_full_disk() -> None:
    saver = Saver(None, pytest.fail)
    saver.save(lambda room: {}, lambda files: files["a"].clear(), must=False)
    with pytest.raises(KeyError):
        saver.look(wait=True)
    saver.close()


def test_how_often_follows_from_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    saver = Saver(None, pytest.fail)
    monkeypatch.setattr("selfsight.training.saver.time.monotonic", lambda: 1000.0)
    for cost, usual in ((0.0, SOONEST), (0.5, 0.5 / SHARE), (60.0, LATEST)):
        saver.cost, saver.at = cost, 1000.0 - usual + 1
        assert not saver.due
        saver.at -= 2
        assert saver.due
    monkeypatch.undo()
    saver.close()


def test_the_cost_is_that_of_the_copy_and_of_the_thread() -> None:
    saver = Saver(None, pytest.fail)

    def busy(files: Written) -> None:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        time.sleep(0.2)  # as a slow disk would have it: no processor is taken from training

    def copy(room: dict[str, bytearray]) -> dict[str, bytearray]:
        time.sleep(0.1)
        return room

    saver.save(copy, busy, must=True)
    assert saver.held >= 0.1
    assert 0.05 <= saver.cost - saver.held < 0.2
    saver.close()


def tensors() -> dict[str, torch.Tensor]:
    """One of each kind, with awkward names, shapes and layouts."""
    kinds = [kind for kind in state.TYPES if kind != torch.bool]
    found = {str(kind): (100 * torch.randn(3)).to(kind) for kind in kinds}
    found |= {"truth": torch.rand(3) > 0.5, "number": torch.tensor(5), "none": torch.zeros(0, 3), 'é"\n': torch.rand(1)}
    return found | {"turned": torch.rand(2, 5).T, "last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)}


def test_it_is_the_file_that_safetensors_writes() -> None:
    first, second = tensors(), tensors()
    file = state.serialised(first)
    assert file == save({name: tensor.contiguous() for name, tensor in first.items()})
    assert state.serialised(second, file) is file
    assert file == save({name: tensor.contiguous() for name, tensor in second.items()})
    assert torch.equal(load(bytes(file))["turned"], second["turned"])
    assert state.serialised({}) == save({})
    fewer = {"number": second["number"]}
    assert state.serialised(fewer, file) == save(fewer)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_what_lies_in_memory_as_channels_last_goes_on_bit_for_bit(name: str) -> None:
    """A fused step walks through weights and moments side by side, whatever their strides say."""

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return network, build([Group(list(network.parameters()))], Training(name, lr=0.1, weight_decay=0.01), 0.1)

    def step(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        optimizer.zero_grad()
        network(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        optimizer.step()

    (network, optimizer), (other, others) = made(), made()
    step(network, optimizer, 1)
    files = {key: bytes(value) for key, value in state.pack(network, optimizer).items()}
    state.unpack(files, other, others, Path())
    for seed in (2, 3):
        step(network, optimizer, seed)
        step(other, others, seed)
    assert state.pack(network, optimizer) == state.pack(other, others)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_a_checkpoint_takes_is_known_before_the_first_step(name: str) -> None:
    network = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64).requires_grad_(False))
    optimizer = build([Group(list(network[:2].parameters()))], Training(name, lr=0.1), 0.1)
    expected = state.bytes_of(network, name)
    network(torch.rand(4, 64)).square().sum().backward()
    optimizer.step()
    assert 0 < sum(map(len, state.pack(network, optimizer).values())) - expected < 2048


def test_a_save_takes_one_copy_and_the_next_takes_none() -> None:
    network = nn.Linear(4096, 4096)  # 64 MB
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    size, files = memory.size_of(network.parameters()), dict[str, bytearray]()
    assert memory.growth(lambda: files.update(state.pack(network, optimizer))) == pytest.approx(size, rel=0.2)
    rooms = dict(files)
    assert all(content is rooms[name] for name, content in state.pack(network, optimizer, files).items())
