"""Help: quick, complete, and nothing heavy behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autofuse.cli.parser import parse, verb_parser
from autofuse.cli.verbs import VERBS
from autofuse.foundation.errors import UsageError

NAMES = [verb.name for verb in VERBS]
HEAVY = ("torch", "numpy", "SimpleITK", "scipy", "skimage", "blosc2", "matplotlib", "pydantic", "rich")
HELP_S = 0.3
_LOADED = """
import sys
from autofuse.cli.main import main
code = main(sys.argv[1:])
loaded = sorted({name.split(".")[0] for name in sys.modules})
sys.stderr.write("\\n" + __import__("json").dumps([code, loaded]))
"""


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in NAMES)], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-c", _LOADED, *arguments], capture_output=True, text=True, check=True)
    code, loaded = json.loads(ended.stderr.splitlines()[-1])
    assert code == 0
    assert not set(HEAVY) & set(loaded)
    assert "usage: autofuse" in ended.stdout


def test_help_answers_at_once() -> None:
    """In processor time, which other work on the machine does not lengthen."""
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "autofuse", "train", "--help"], check=True, capture_output=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert 0 < min(seconds) < HELP_S


@pytest.mark.parametrize("verb", VERBS, ids=NAMES)
def test_every_verb_has_an_example_that_can_be_given(verb) -> None:  # type: ignore[no-untyped-def]
    assert verb.examples
    for command, remark in verb.examples:
        program, *arguments = command.split()
        assert program == "autofuse"
        assert parse(arguments).verb == verb.name
        assert remark
    assert verb.examples[0][0] in verb_parser(verb).format_help()


def test_every_option_is_explained() -> None:
    for verb in VERBS:
        for action in verb_parser(verb)._actions:
            assert action.help, f"{verb.name} {action.option_strings}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "verb is missing"),
        (["trian", "x"], "no verb 'trian'"),
        (["train"], "folder is missing"),
        (["train", "a", "-d", "b"], "named twice"),
        (["train", "a", "--stpes", "3"], "--stpes"),
        (["train", "a", "--steps", "0"], "at least 1"),
        (["train", "a", "--steps", "many"], "whole number"),
        (["plan", "a", "--memory", "lots"], "amount of memory"),
        (["plan", "a", "--memory", "0GiB"], "more than zero"),
        (["plan", "a", "--minutes", "-3"], "--minutes"),
        (["plan", "a", "--minutes", "nan"], "more than zero"),
        (["run", "a", "--folds", "first"], "whole number"),
        (["run", "a", "--device", "tpu"], "invalid choice"),
    ],
    ids=" ".join,
)
def test_mistakes_are_named(arguments: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse(arguments)


def test_a_near_miss_is_pointed_at() -> None:
    with pytest.raises(UsageError) as caught:
        parse(["preproces", "x"])
    assert caught.value.remedy == "autofuse preprocess --help"


def test_values_are_understood() -> None:
    options = parse(["run", "-d", "D", "--memory", "512MiB", "--folds", "2,0,2", "--set", "a=1", "--set", "b=x"])
    assert (options.dataset, options.memory, options.folds) == ("D", 0.5, (2, 0))
    assert options.settings == ["a=1", "b=x"]
    assert parse(["run", "D", "--folds", "all"]).folds is None
    assert parse(["run", "D"]).folds == (0,)
    assert parse(["plan", "D", "--memory", "8"]).memory == 8.0
    assert parse(["train", "D", "--set", "x=-1"]).settings == ["x=-1"]


def test_module_and_script_are_the_same_command(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "autofuse"
    module = subprocess.run([sys.executable, "-m", "autofuse", "--version"], capture_output=True, text=True, check=True)
    if not script.exists():
        pytest.skip("the package is not installed with its script")
    installed = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert installed.stdout == module.stdout
