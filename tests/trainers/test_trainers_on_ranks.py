"""Every registered trainer, trained by two processes, loses and learns as it does in one."""

from __future__ import annotations

from typing import Any

import pytest
from side_by_side import DROPS, Done, assert_alike, trained

from autofuse.foundation.registry import TRAINERS, registered

pytestmark = pytest.mark.distributed
AT_ONCE: dict[str, Any] = {"warm_up": 0.0, "ramp": 0.0}
"""All terms count from the first step."""
FUSING = DROPS | {"warm_up": 0.0, "follower_steps": 1}
METHODS: dict[str, dict[str, Any]] = {
    "supervised": {"topology": "stems", "fields": DROPS | {"batch_dice": False, "ema_decay": 0.9}},
    "supervised in 3D": {"topology": "late", "dimensions": 3, "fields": DROPS | {"batch_dice": True}},
    "partial": {"fields": DROPS},
    "cmfnet": {"topology": "specific_shared", "fields": DROPS | {"ramp": 0.0, "by_certainty": True}},
    "collaboration": {"topology": "per_modality", "fields": DROPS | AT_ONCE | {"teacher_weight": 1.0}},
    "collaboration apart": {"topology": "shared_kernels", "fields": DROPS | AT_ONCE | {"aligned": False}},
    "pseudo_labels": {"fields": DROPS | {"ramp": 0.0}},
    "self_training": {"fields": DROPS | {"ramp": 0.0}},
    "fuse4seg fixed": {"topology": "image_level", "fields": FUSING | {"bilevel": "fixed"}},
    "fuse4seg joint": {"topology": "image_level", "fields": FUSING | {"bilevel": "joint"}},
    "fuse4seg": {"topology": "image_level", "fields": FUSING | {"bilevel": "first_order"}},
    "fuse4seg gauss_newton": {"topology": "image_level", "fields": FUSING | {"bilevel": "gauss_newton"}},
    "fuse4seg unrolled": {"topology": "image_level", "fields": FUSING | {"bilevel": "unrolled"}},
}


def scenarios() -> tuple[dict[str, Any], ...]:
    """Each method in one process, and in two that are stopped and killed once."""
    found = []
    for name, method in METHODS.items():
        common = {"trainer": name.split()[0], "steps": 4, "steps_per_epoch": 2} | method
        found.append(common | {"name": f"{name} alone", "ranks": 1})
        found.append(common | {"name": f"{name} shared", "ranks": 2})
        stops = [(0, "SIGTERM", 1), (1, "SIGKILL", 3)]
        found.append(common | {"name": f"{name} stopped", "ranks": 2, "stops": stops})
    return tuple(found)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return trained(tmp_path_factory.mktemp("trainers"), scenarios())


def test_no_trainer_is_left_out() -> None:
    ours = {name for name, point in registered(TRAINERS).items() if point.value.startswith("autofuse_trainers.")}
    assert {name.split()[0] for name in METHODS} == ours


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_what_one_does(name: str, done: Done) -> None:
    assert_alike(done, f"{name} alone", f"{name} shared")


@pytest.mark.parametrize("name", METHODS)
def test_stopped_and_killed_it_ends_with_the_same_bytes(name: str, done: Done) -> None:
    assert done.ended[f"{name} stopped"][-1] == [0, 0], done.told(f"{name} stopped")
    for file in ("last.safetensors", "best.safetensors"):
        shared, stopped = (done.place / f"{name} {how}" / file for how in ("shared", "stopped"))
        assert shared.read_bytes() == stopped.read_bytes(), file
