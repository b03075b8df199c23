"""Checkpoints verify themselves, are whole or absent, and never run code."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.training.checkpoint import About, fill_networks, load_checkpoint, save_checkpoint, tensors_crc32

ABOUT = About(run_digest="f" * 64, step=3)


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(40, 30, generator=generator)
    return {
        "net/a.weight": weights,
        "net/b.tied": weights,
        "net/count": torch.tensor(3),
        "net/half": torch.randn(5, generator=generator).bfloat16(),
        "net/nothing": torch.zeros(0, 2),
    }


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    crc = save_checkpoint(path, some_tensors(), ABOUT)
    tensors, about = load_checkpoint(path, "f" * 64)
    assert about == ABOUT and crc == tensors_crc32(tensors)
    for name, tensor in some_tensors().items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode, "as readable as any other file"


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", some_tensors(), ABOUT)
    save_checkpoint(tmp_path / "b", dict(reversed(some_tensors().items())), ABOUT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, some_tensors(), ABOUT)
    whole = path.read_bytes()
    padding = whole[8 : 8 + int.from_bytes(whole[:8], "little")]
    meaningless = range(8 + len(padding.rstrip()), 8 + len(padding))
    for position in (*range(0, len(whole), 37), len(whole) - 1):
        if position in meaningless:
            continue
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(ModelError):
            load_checkpoint(path, "f" * 64)
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            load_checkpoint(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(ModelError, match="no checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ModelError):
        load_checkpoint(path)
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(ModelError):
        load_checkpoint(path)
    save_checkpoint(path, some_tensors(), ABOUT)
    with pytest.raises(ModelError, match="another run"):
        load_checkpoint(path, "e" * 64)
    save_checkpoint(path, {"net/a": torch.tensor([1.0, float("nan")])}, ABOUT)
    with pytest.raises(ModelError, match="NaN"):
        load_checkpoint(path)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    nets = torch.nn.ModuleDict({"one": torch.nn.Linear(3, 2)})
    with pytest.raises(ModelError) as caught:
        fill_networks(nets, {"one.weight": torch.zeros(2, 4), "two": torch.zeros(1)}, tmp_path)
    assert caught.value.found is not None
    for words in ("one.bias is missing", "two is unknown", "(2, 4) instead of (2, 3)"):
        assert words in caught.value.found


FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from autofuse.foundation.errors import ResourceError
from autofuse.training.checkpoint import About, load_checkpoint, save_checkpoint
path = Path(sys.argv[1])
save_checkpoint(path, {"net/a": torch.ones(1000)}, About(run_digest="f" * 64, step=1))
for limit in (100, 5_000, 39_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save_checkpoint(path, {"net/a": torch.zeros(10_000)}, About(run_digest="f" * 64, step=2))
    except ResourceError:
        pass
    else:
        sys.exit("the full disk was not noticed")
    tensors, about = load_checkpoint(path)
    assert about.step == 1 and tensors["net/a"].sum() == 1000
    assert [file.name for file in path.parent.iterdir()] == [path.name]
"""


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "last.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("failing", ["fsync", "replace", "save_file"])
def test_any_failing_call_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, some_tensors(), ABOUT)
    before = path.read_bytes()

    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    target = {"fsync": (os, "fsync"), "replace": (Path, "replace")}.get(failing)
    if target is None:
        monkeypatch.setattr("autofuse.training.checkpoint.save_file", fail)
    else:
        monkeypatch.setattr(*target, fail)
    with pytest.raises(ResourceError):
        save_checkpoint(path, {"net/a": torch.zeros(3)}, ABOUT)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
