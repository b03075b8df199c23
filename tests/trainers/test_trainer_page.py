"""The trainer that the documentation shows works as it is printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from autofuse.testing import SETTINGS, check_trainer

PAGE = Path(__file__).resolve().parents[2] / "documentation" / "how-to" / "write_a_trainer.md"


def test_the_printed_trainer_conforms(monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    module = ModuleType("printed_trainer")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    exec(code, module.__dict__)
    assert all(result.passed for result in check_trainer(module.CrossEntropyOnly, settings=SETTINGS[:2]))
