"""The program of a container: the case in /input, its mask to /output; what goes wrong as one message and exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from autofuse.cli.failure import report


def main(app: Path, arguments: Sequence[str]) -> int:
    """Segment one case; the exit code.

    Args:
        app: folder with interface.json and the model's workspace.
        arguments: of the command line: ``--root DIR`` for a folder that stands for ``/``.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"), help="stands for / in the paths of the interface")
    root = parser.parse_args(arguments).root
    try:
        from autofuse.foundation.console import say
        from autofuse.road.container import segment_case
        from autofuse.sharing.submissions.interface import INTERFACE, ContainerInterface
        from autofuse.sharing.submissions.texts import MODELS_WORKSPACE

        interface = ContainerInterface.load(app / INTERFACE)
        say(f"Wrote {segment_case(interface, app / MODELS_WORKSPACE, root)}")
        sys.stdout.flush()
        return 0
    except BaseException as error:
        return report(error, None, as_json=False, debug=False, log_file=None)
