"""The benchmarks of growth on tens of cases, their exponents by hand, and the picture that is drawn from figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import picture  # noqa: E402
from bare_limits import measure_limits  # noqa: E402
from growth import grow_listing, predicted  # noqa: E402
from growth_fit import Growth, fitted_exponent  # noqa: E402
from measure import Usage  # noqa: E402

SIZES = (10.0, 100.0, 1000.0)


def growth(cpu_s: tuple[float, ...], peak_mib: tuple[float, ...] = (51.0, 60.0, 150.0)) -> Growth:
    """Three sizes, a start of one second and 50 MiB."""
    used = tuple(Usage(2 * cpu, cpu, peak, 0) for cpu, peak in zip(cpu_s, peak_mib, strict=True))
    return Growth("check", "cases", Usage(1.0, 1.0, 50.0, 0), SIZES, used)


def test_exponents_by_hand() -> None:
    assert fitted_exponent([0, 1, 2, 4], [3, 5, 11, 35]) == pytest.approx(2, rel=1e-3)  # 3 + 2 n^2
    linear = growth((1.1, 2.0, 11.0))
    assert linear.exponent("cpu_s") == pytest.approx(1, rel=1e-3)
    assert linear.exponent("peak_mib") == pytest.approx(1, rel=1e-3)
    assert linear.as_dict()["linear"]
    square = growth((1.01, 2.0, 101.0))
    assert square.exponent("cpu_s") == pytest.approx(2, rel=1e-3)
    assert not square.as_dict()["linear"]


def test_what_hardly_grows_has_no_exponent() -> None:
    flat = growth((1.01, 1.02, 1.03), (51.0, 52.0, 53.0))
    assert flat.exponent("cpu_s") is None and flat.as_dict()["linear"]


def test_listing_is_measured(tmp_path: Path) -> None:
    (row,) = grow_listing((30, 60), tmp_path)
    facts = row.as_dict()
    assert [point["size"] for point in facts["points"]] == [30, 60]
    assert all(point["exit_status"] == 0 and point["peak_mib"] > 10 for point in facts["points"])


def test_a_prediction_states_its_peak_and_keeps_to_it(tmp_path: Path) -> None:
    usage, stated_gib = predicted({"shape": [16, 24, 24], "patch": 16, "members": 2}, tmp_path)
    assert stated_gib is not None and usage.peak_mib / 1024 <= stated_gib


def test_limits_are_positive_and_leave_nothing_behind(tmp_path: Path) -> None:
    limits = measure_limits(tmp_path, size=1 << 20).as_dict()
    assert set(limits) == {"memory_copy_mib_per_s", "disk_write_mib_per_s", "disk_read_mib_per_s"}
    assert min(limits.values()) > 0 and not list(tmp_path.iterdir())


def figures() -> dict[str, Any]:
    """As against_nnunet.py keeps them."""
    both = {"autofuse": {"wall_s": 2.0}, "nnunet": {"wall_s": 6.0}}
    row = {"stage": "preprocess", "wall_ratio": 3.0, "memory_ratio": 2.0, **both}
    timing = {"autofuse": {"step_s": [1.0], "bare_step_s": [0.8]}, "nnunet": {"step_s": [2.0], "bare_step_s": [2.0]}}
    spent = {"autofuse": {"whole_s": 3.0, "network_s": 2.0}, "nnunet": {"whole_s": 8.0, "network_s": 2.0}}
    return {
        "rows": [row, {"stage": "plan --help", "wall_ratio": 50.0, "memory_ratio": None, **both}],
        "training_steps": timing,
        "around": {**spent, "ratio": 6.0},
        "limits": {"disk_read_mib_per_s": 100.0, "disk_write_mib_per_s": 50.0},
        "preprocess_bytes": {"read": 50 << 20, "written": 25 << 20},
    }


def test_bars_and_overheads_by_hand() -> None:
    found = {bar.name: (bar.time, bar.memory) for bar in picture.bars(figures())}
    assert found == {
        "--help (median)": (50.0, None),
        "preprocess": (3.0, 2.0),
        "training step": (2.0, None),
        "around the network": (6.0, None),
    }
    # Half a second to read 50 MiB, half a second to write 25: a second in all.
    assert [(item.autofuse, item.nnunet) for item in picture.overheads(figures())] == [
        (1.25, 1.0),
        (1.5, 4.0),
        (2.0, 6.0),
    ]


def test_equal_figures_give_an_equal_picture(tmp_path: Path) -> None:
    (tmp_path / "against_nnunet.json").write_text(json.dumps(figures()))
    (tmp_path / "growth_cases.json").write_text(json.dumps({"rows": [growth((1.1, 2.0, 11.0)).as_dict()]}))
    drawn = []
    for name in ("a.svg", "b.svg"):
        picture.draw(tmp_path, tmp_path / name)
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1] and len(picture.panels(tmp_path)) == 3
    assert drawn[0].startswith(b"<?xml")


def test_without_figures_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make bench"):
        picture.draw(tmp_path, tmp_path / "none.svg")
