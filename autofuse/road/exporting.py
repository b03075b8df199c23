"""A finished model out of a workspace, as a bundle without its patients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from autofuse.foundation.console import progress
from autofuse.foundation.errors import UsageError
from autofuse.foundation.values import StoredValue
from autofuse.road.shared_parts import SHARED, Parts, take_apart
from autofuse.road.steps import Folder

if TYPE_CHECKING:
    from autofuse.sharing.pack import Packing


class Exported(StoredValue):
    """A bundle that was written.

    Attributes:
        file: absolute; bytes, sha256: of it.
        run, folds: that it predicts with; of an ensemble its name in the bundle and all folds.
        members: of an ensemble, in words.
        entries: files in it.
        scored_cases: held-out cases whose scores the model card tells.
    """

    kind: ClassVar[str] = "exported"

    name: str
    file: str
    bytes: int
    sha256: str
    run: str
    folds: tuple[int, ...]
    members: str = ""
    entries: int
    scored_cases: int


def export_model(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    run: str | None = None,
    folds: Sequence[int] | None = None,
    out: Folder | None = None,
    name: str | None = None,
    licence: str | None = None,
) -> Exported:
    """The model that `predict` would use, as one bundle file; the same bytes each time.

    Args:
        dataset: folder of a data set, or the name of an imported model.
        run, folds: which are shared, if not the ensemble that was chosen; without one, the newest finished run.
        out: the file, a zip; None for the workspace.
        name: of the model, for the data set's name, which then is nowhere in the bundle.
        licence: text for the model card.

    Raises:
        UsageError: if the name cannot be one.
        ModelError: if nothing is finished, something is damaged, or the bundle would give away a case or a path.
        ResourceError: if it cannot be written.
    """
    from autofuse.sharing.pack import sha256_of, write_bundle

    parts = take_apart(dataset, workspace, run, folds, name, licence)
    file = _file(parts, out)

    def fill(packing: Packing) -> None:
        with progress("export", len(parts.folds)) as advance:
            for fold in parts.folds:
                packing.add_fold(parts.reduced(fold))
                advance(1, note=f"{fold.run}, fold {fold.fold}")
        for entry, text in parts.texts().items():
            packing.add_text(entry, text)

    manifest = write_bundle(file, parts.name, fill)
    return Exported(
        name=parts.name,
        file=str(file),
        bytes=file.stat().st_size,
        sha256=sha256_of(file),
        run=parts.shown_as,
        folds=parts.numbers,
        members=parts.members,
        entries=len(manifest.entries) + 1,
        scored_cases=0 if parts.scores is None else parts.scores.cases,
    )


def _file(parts: Parts, out: Folder | None) -> Path:
    from autofuse.sharing.layout import BUNDLE_ENDING

    if out is None:
        return parts.chosen.workspace.folder / SHARED / f"{parts.name}{BUNDLE_ENDING}"
    file = Path(out).absolute()
    if file.suffix != ".zip" or file.is_dir():
        raise UsageError(
            "A bundle is a zip file.",
            found=str(out),
            expected=f"a file such as {parts.name}{BUNDLE_ENDING}",
            remedy=f"autofuse export {parts.chosen.dataset.root} -o {parts.name}{BUNDLE_ENDING}",
        )
    return file
