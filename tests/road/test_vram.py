"""The memory dial under the name that it has on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_road import draw

from autofuse import road
from autofuse.cli.parser import parse
from autofuse.foundation.errors import UsageError
from autofuse.road.dials import Asked, Dials
from autofuse.training.guards import gpu_share


def test_vram_is_the_memory_dial_of_a_gpu() -> None:
    turned = Asked(vram_gib=11.0).turned(None, "cuda")
    assert (turned.device, turned.memory_gib) == ("cuda", 11.0)
    assert Asked().turned(turned, "cuda") == turned  # kept


def test_vram_is_refused_where_training_computes_on_the_cpu() -> None:
    kept = Dials(device="cpu", memory_gib=4.0)
    with pytest.raises(UsageError, match="no GPU") as refused:
        Asked(vram_gib=11.0).turned(kept, "cuda")
    assert "--memory 11GiB" in str(refused.value)
    assert Asked(vram_gib=11.0, device="cuda").turned(kept, "cpu").memory_gib == 11.0


def test_memory_is_dialled_once() -> None:
    with pytest.raises(UsageError, match="twice"):
        Asked(vram_gib=11.0, memory_gib=8.0).turned(None, "cuda")
    with pytest.raises(UsageError, match="not allowed with"):
        parse(["plan", "data", "--memory", "8GiB", "--vram", "11GiB"])


@pytest.mark.parametrize("verb", ["plan", "train", "run"])
def test_amounts_are_read_in_any_unit(verb: str) -> None:
    assert parse([verb, "data", "--vram", "11GiB"]).vram == 11.0
    assert parse([verb, "data", "--vram", "512MiB"]).vram == 0.5
    assert parse([verb, "data", "--vram", "11GB"]).vram == pytest.approx(11e9 / 2**30)


def test_nothing_is_planned_for_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    raw = draw(tmp_path / "raw", cases=3, test_cases=0)
    with pytest.raises(UsageError, match="no GPU"):
        road.plan(raw, workspace=tmp_path / "work", vram_gib=11.0, device="cpu", workers=0)


def test_the_share_of_a_gpu_leaves_room_for_its_context() -> None:
    assert gpu_share(12.5, 24.0) == 0.5  # 0.5 GiB are the context's
    assert gpu_share(100.0, 24.0) == 1.0
    assert gpu_share(0.3, 24.0) == 0.01
