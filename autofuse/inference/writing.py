"""A prediction into files: the mask, what was asked for beside it, and the record that vouches for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.files import crc32_of_file, write_atomically
from autofuse.foundation.values import StoredValue
from autofuse.inference.coding import CODED_ENDING, encode
from autofuse.inference.prediction import Prediction, PredictOptions, Probabilities
from autofuse.inference.record import RECORDS, PredictionRecord
from autofuse.inference.uncertainty import StructureVolume, Uncertainty

PROBABILITIES_ENDING = ".probabilities.b2nd"
UNCERTAINTY = "uncertainty"
"""Folder beside the masks with maps and volumes; beside, because every image in the masks' folder is a mask."""
_ENTROPY, _INFORMATION, _VOLUMES = "entropy", "mutual_information", "volumes"


class CaseVolumes(StoredValue):
    """Volumes of the structures of one case."""

    kind: ClassVar[str] = "case_volumes"

    case: str
    structures: tuple[StructureVolume, ...]


def record_path(out: Path, case: str) -> Path:
    """Where the record of a case stands."""
    return out / RECORDS / f"{case}.json"


def volumes_path(out: Path, case: str) -> Path:
    """Where the volumes of a case stand."""
    return out / UNCERTAINTY / f"{case}_{_VOLUMES}.json"


def wanted_files(case: str, options: PredictOptions, file_ending: str, members: int) -> dict[str, str]:
    """Names, relative to the folder of the masks, of what is written for a case, by what it is; "mask" first."""
    names = {"mask": f"{case}{file_ending}"}
    if options.probabilities:
        names["probabilities"] = f"{case}{PROBABILITIES_ENDING}"
    if options.coded:
        names["coded"] = f"{case}{CODED_ENDING}"
    if options.uncertainty:
        names[_ENTROPY] = f"{UNCERTAINTY}/{case}_{_ENTROPY}{file_ending}"
        if members > 1:
            names[_INFORMATION] = f"{UNCERTAINTY}/{case}_{_INFORMATION}{file_ending}"
        names[_VOLUMES] = f"{UNCERTAINTY}/{case}_{_VOLUMES}.json"
    return names


def write_prediction(prediction: Prediction, out: Path, names: dict[str, str], record: PredictionRecord) -> None:
    """Write the files of one case under their ``names``, then the record.

    Raises:
        ResourceError: if the disk is full; what was there before stays.
    """
    from autofuse.images.write import write_labels

    paths = {what: out / name for what, name in names.items()}
    write_labels(paths["mask"], prediction.raw_labels(), prediction.geometry)
    for what, coded in (("probabilities", False), ("coded", True)):
        if what in paths and prediction.probabilities is not None:
            write_probabilities(paths[what], prediction.probabilities, coded=coded)
    if prediction.uncertainty is not None:
        _write_uncertainty(prediction, prediction.uncertainty, paths)
    checksums = {name: crc32_of_file(out / name) for name in names.values()}
    record.model_copy(update={"files": checksums}).save(record_path(out, prediction.case))


def write_probabilities(path: Path, probabilities: Probabilities, *, coded: bool = False) -> None:
    """(C, z, y, x) on the native grid as blosc2 b2nd, one output in memory at a time: half floats, or codes.

    Raises:
        ResourceError: if the disk is full, or what is read back differs.
    """
    import blosc2

    shape = probabilities.placement.raw_shape
    chunk = tuple(min(size, limit) for size, limit in zip(shape, (64, 128, 128), strict=True))
    half = blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=5, filters=[blosc2.Filter.SHUFFLE], filters_meta=[0])
    byte = blosc2.CParams(codec=blosc2.Codec.ZSTD, clevel=3, filters=[blosc2.Filter.NOFILTER], filters_meta=[0])

    def output(channel: int) -> NDArray[Any]:
        values = probabilities.output(channel)
        return encode(values) if coded else values

    def fill(temp: Path) -> None:
        stored = blosc2.empty(
            (probabilities.spool.outputs, *shape),
            dtype=np.uint8 if coded else np.float16,
            urlpath=str(temp),
            mode="w",
            chunks=(1, *chunk),
            cparams=byte if coded else half,
        )
        for channel in range(probabilities.spool.outputs):
            stored[channel] = output(channel)

    def verify(temp: Path) -> None:
        try:
            stored = blosc2.open(str(temp), mode="r")
            for channel in range(probabilities.spool.outputs):
                if not np.array_equal(stored[channel], output(channel)):
                    raise OSError("what was read back is not what was written")
        except RuntimeError as error:
            raise OSError(f"it cannot be read back: {error}") from error

    write_atomically(path, fill, verify)


def _write_uncertainty(prediction: Prediction, found: Uncertainty, paths: dict[str, Path]) -> None:
    from autofuse.images.write import write_image

    write_image(paths[_ENTROPY], found.entropy, prediction.geometry)
    if found.mutual_information is not None:
        write_image(paths[_INFORMATION], found.mutual_information, prediction.geometry)
    CaseVolumes(case=prediction.case, structures=found.volumes).save(paths[_VOLUMES])
