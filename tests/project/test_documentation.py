"""What the documents say exists, exists: links, files, commands, make targets."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest

from autofuse.cli.parser import parse
from autofuse.cli.reference import reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "documentation").rglob("*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"```.*?```", re.DOTALL)
SHELL = {"&", ">", "|", "&&"}
BLOCK = re.compile(r"```(?:bash|console|sh)\n(.*?)```", re.DOTALL)


def _anchors(page: Path) -> set[str]:
    titles = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def _commands(page: Path) -> list[list[str]]:
    lines = [line for block in BLOCK.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    split = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [list(itertools.takewhile(lambda word: word not in SHELL, words)) for words in split if words]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    prose = FENCED.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(file), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_can_be_given(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in _commands(page):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        if words[0] == "autofuse" and not {"--help", "--version"} & set(words):
            parse(words[1:])


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "documentation" / "index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(index.read_text("utf-8"))}
    assert {page.resolve() for page in (ROOT / "documentation").rglob("*.md")} - {index.resolve()} <= linked


def test_readme_tells_the_two_commands() -> None:
    commands = _commands(ROOT / "README.md")
    assert ["make", "demo"] in commands
    assert ["make", "test"] in commands


def test_command_line_reference_is_what_the_program_says() -> None:
    written = (ROOT / "documentation" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert written == reference() + "\n", "run `make docs`"
