"""The log of a workspace: what was said and what went wrong, with times."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path

from autofuse.foundation.console import log
from autofuse.foundation.workspace import Workspace

LOG_NAME = "log.txt"


class _Beside(logging.Handler):
    """Appends to a file whose folder somebody else makes; silent until it is there, and where it cannot be written."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.INFO)
        self.path = path
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.path.parent.is_dir():
                with self.path.open("a", encoding="utf-8") as stream:
                    stream.write(self.format(record) + "\n")
        except OSError:
            return


def attach_log(options: Namespace) -> Path | None:
    """Send the log of this process to the workspace's log.txt; its path, or None where the verb has no workspace."""
    workspace = _workspace(options)
    if workspace is None:
        return None
    path = workspace.folder / LOG_NAME
    logger = log()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(_Beside(path))
    return path


def _workspace(options: Namespace) -> Workspace | None:
    from autofuse.road.places import demo_workspace, workspace_of

    if options.verb == "demo":
        return demo_workspace(Path(options.folder))
    if options.dataset is None:
        return None
    return workspace_of(options.dataset, options.workspace)
