"""A container's build context, rehearsed on cases of the data set without Docker."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.console import progress, say
from autofuse.foundation.errors import DataError, UsageError
from autofuse.road.importing import import_model

if TYPE_CHECKING:
    from autofuse.dataset.types import Case, Dataset
    from autofuse.sharing.submissions.interface import ContainerInterface
    from autofuse.sharing.submissions.rehearsal import Rehearsal, Start
    from autofuse.sharing.submissions.sandbox import Sandbox, Stage


def rehearse_context(
    context: Path, dataset: Dataset, *, cases: int, limit_minutes: float, limit_memory_gib: float
) -> Rehearsal:
    """How the container of ``context`` goes on the first ``cases`` test cases (training cases where there is none), and
    on the first of them without each modality that its interface lets cases lack.

    Raises:
        UsageError: if the folder is no build context of a container.
        DataError: if there is no case.
        ModelError: if the bundle in it is broken.
    """
    from autofuse.sharing.submissions.interface import INTERFACE, ContainerInterface
    from autofuse.sharing.submissions.rehearsal import ENTRY_POINT, Rehearsal, rehearse_start
    from autofuse.sharing.submissions.sandbox import best_sandbox

    if not (context / ENTRY_POINT).is_file() or not (context / INTERFACE).is_file():
        raise UsageError(
            "This is no build context of a container.", found=str(context), expected=f"{ENTRY_POINT} and {INTERFACE}"
        )
    interface = ContainerInterface.load(context / INTERFACE)
    plans = list(_starts(interface, dataset, cases))
    limits = {"limit_minutes": limit_minutes, "limit_memory_gib": limit_memory_gib}
    starts: list[Start] = []
    with tempfile.TemporaryDirectory(prefix="autofuse-rehearsal-") as folder, progress("rehearse", len(plans)) as told:
        place = Path(folder)
        os.chmod(place, 0o711)  # noqa: PTH101  (another user has to get through)
        _build(context, place)
        sandbox: Sandbox | None = None
        for number, (case, without) in enumerate(plans):
            stage = _stage(place, place / f"start_{number}")
            _lay_out(interface, dataset, case, without, stage.inside / "input")
            if sandbox is None:
                sandbox = best_sandbox(stage)
                say(f"Rehearsing: {'; '.join(sandbox.facts)}.")
            starts.append(rehearse_start(sandbox, stage, interface, case.id, without, **limits))
            shutil.rmtree(stage.inside, ignore_errors=True)
            told(1, note=case.id)
        assert sandbox is not None
        return Rehearsal(**limits, facts=sandbox.facts, starts=tuple(starts))


def _starts(interface: ContainerInterface, dataset: Dataset, cases: int) -> Iterator[tuple[Case, tuple[str, ...]]]:
    """Cases, and modalities that are left out of them."""
    known = dataset.test_cases or dataset.cases
    if not known:
        raise DataError(
            "There is no case to rehearse on.",
            file=dataset.root,
            remedy="Put images into imagesTs, or name a folder of images with -i.",
        )
    for case in known[:cases]:
        yield case, ()
    first = known[0]
    present = {item.name for item, file in zip(dataset.modalities, first.images, strict=True) if file is not None}
    for item in interface.inputs:
        if item.optional and item.modality in present and len(present) > 1:
            yield first, (item.modality,)


def _build(context: Path, place: Path) -> None:
    """What `docker build` does: the code in ``site``, the entry point and the unpacked model in ``app``."""
    from autofuse.sharing.submissions.grand_challenge import MODEL, WHEELS
    from autofuse.sharing.submissions.rehearsal import readable_for_all
    from autofuse.sharing.submissions.sandbox import EMPTY_PROGRAM, unpack_code
    from autofuse.sharing.submissions.texts import MODELS_WORKSPACE

    app, site = place / "app", place / "site"
    shutil.copytree(context, app, ignore=shutil.ignore_patterns(WHEELS, MODEL, "__pycache__"))
    site.mkdir()
    unpack_code(sorted((context / WHEELS).glob("*.whl")), site)
    for bundle in sorted((context / MODEL).glob("*.zip")):
        import_model(bundle, workspace=app / MODELS_WORKSPACE)
    (app / EMPTY_PROGRAM).write_text("", encoding="utf-8")
    readable_for_all(app)
    readable_for_all(site)


def _stage(place: Path, inside: Path) -> Stage:
    from autofuse.sharing.submissions.sandbox import Stage

    for folder in (inside / "input", place / "root"):
        folder.mkdir(parents=True, exist_ok=True)
    return Stage(place / "app", place / "site", inside, place / "root")


def _lay_out(interface: ContainerInterface, dataset: Dataset, case: Case, without: Sequence[str], folder: Path) -> None:
    """The images of ``case`` as Grand Challenge lays them out: one .mha in each place, and inputs.json."""
    from autofuse.dataset.raw import CaseFiles
    from autofuse.images import write_image
    from autofuse.sharing.submissions.rehearsal import readable_for_all

    files, listed = CaseFiles(dataset, case), []
    for channel, item in enumerate(interface.inputs):
        image = None if item.modality in without else files.image(channel)
        if image is None:
            continue
        place = folder / item.path.removeprefix("/input/")
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{case.id}/{item.modality}")
        write_image(place / f"{name}.mha", image.voxels, image.geometry)
        slug = place.name
        socket = {"slug": slug, "kind": "Image", "relative_path": item.path.removeprefix("/input/")}
        listed.append({"socket": socket, "image": {"pk": str(name), "name": f"{slug}.mha"}, "file": None})
    (folder / "inputs.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")
    readable_for_all(folder)
