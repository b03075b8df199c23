"""What the verbs that deal with work units do and show."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from autofuse.cli.answers import Answer, answer

if TYPE_CHECKING:
    from rich.text import Text

    from autofuse.units.ledger import Finished


def unit_answer(options: Namespace) -> Answer:
    """One unit, done."""
    from autofuse.road.unit_work import do_unit

    made = do_unit(
        options.dataset,
        options.unit,
        workspace=options.workspace,
        workers=options.workers,
        again=options.again,
        patience_s=options.patience,
    )
    return answer(made, lambda: _finished(made))


def _finished(made: Finished) -> Text:
    from rich.text import Text

    return Text(f"{made.unit} is done: {len(made.outputs)} files, {made.seconds:.1f} s, {made.place.in_words()}")
