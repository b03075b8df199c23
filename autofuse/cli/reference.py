"""The page of the command-line reference, made from the parsers themselves so that it cannot be out of date.

python -m autofuse.cli.reference documentation/reference/cli.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from autofuse.cli.parser import PROGRAM, verb_parser
from autofuse.cli.verbs import VERBS, Verb

_OPENING = f"""# The command line

*Made from the program by `make docs`; a test fails where it is out of date.*

`{PROGRAM} VERB DATASET [options]`. Results go to stdout, everything else to stderr; `--json` makes the result one
JSON object (`verb`, `exit_code`, and `result` or `error`). Nothing is written but into the workspace (`--workspace`, by
default `./autofuse_workspace`) and folders that you name.

| exit code | meaning |
| --- | --- |
| 0 | good |
| 1 | a bug of autofuse; the traceback is in the workspace's `log.txt` |
| 2 | the command cannot be meant as it was given |
| 3 | bad data |
| 4 | a bad, foreign or unsafe model or plan |
| 5 | too little disk or memory, no right to write, or another process is at work there |
| 6 | some cases failed; the results of the others are kept |
| 130, 143 | interrupted; what was finished is kept, and the same command goes on from there |
"""


def reference() -> str:
    """The whole page, as Markdown."""
    parts = [_OPENING, "| verb | what it does |\n| --- | --- |"]
    parts[-1] += "".join(f"\n| [`{verb.name}`](#{verb.name}) | {verb.summary} |" for verb in VERBS)
    return "\n".join([*parts, *(_section(verb) for verb in VERBS)])


def _section(verb: Verb) -> str:
    parser = verb_parser(verb)
    examples = "\n".join(f"{command}    # {remark}" for command, remark in verb.examples)
    rows = [_row(action) for action in parser._actions if action.help != argparse.SUPPRESS and action.dest != "help"]
    table = "\n".join(["| option | meaning |", "| --- | --- |", *rows])
    return f"\n## {verb.name}\n\n{verb.description}\n\n```bash\n{examples}\n```\n\n{table}"


def _row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    if action.choices is not None:
        value = " `" + "` / `".join(str(choice) for choice in action.choices) + "`"
    elif action.option_strings and action.nargs != 0:
        value = f" `{action.metavar or action.dest.upper()}`"
    else:
        value = ""
    return f"| {names}{value} | {action.help} |".replace("\n", " ")


def main() -> int:
    """Write the page to the file that is named, or to stdout."""
    text = reference() + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
