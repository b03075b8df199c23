"""A prediction into files: the mask, its probabilities if wanted, and the record that vouches for both."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autofuse.foundation.files import crc32_of_file, write_atomically
from autofuse.inference.prediction import Prediction, Probabilities
from autofuse.inference.record import RECORDS, PredictionRecord

PROBABILITIES_ENDING = ".probabilities.b2nd"


def record_path(out: Path, case: str) -> Path:
    """Where the record of a case stands."""
    return out / RECORDS / f"{case}.json"


def write_prediction(prediction: Prediction, out: Path, file_ending: str, record: PredictionRecord) -> dict[str, Path]:
    """Write the files of one case, then the record; the paths written, "mask" first.

    Raises:
        ResourceError: if the disk is full; what was there before stays.
    """
    from autofuse.images.write import write_labels

    paths = {"mask": out / f"{prediction.case}{file_ending}"}
    write_labels(paths["mask"], prediction.raw_labels(), prediction.geometry)
    if prediction.probabilities is not None:
        paths["probabilities"] = out / f"{prediction.case}{PROBABILITIES_ENDING}"
        write_probabilities(paths["probabilities"], prediction.probabilities)
    checksums = {path.name: crc32_of_file(path) for path in paths.values()}
    record.model_copy(update={"files": checksums}).save(record_path(out, prediction.case))
    return paths


def write_probabilities(path: Path, probabilities: Probabilities) -> None:
    """(C, z, y, x) float16 on the native grid as blosc2 b2nd, one output in memory at a time.

    Raises:
        ResourceError: if the disk is full, or what is read back differs.
    """
    import blosc2

    shape = probabilities.placement.raw_shape
    chunk = tuple(min(size, limit) for size, limit in zip(shape, (64, 128, 128), strict=True))
    settings = blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=5, filters=[blosc2.Filter.SHUFFLE], filters_meta=[0])

    def fill(temp: Path) -> None:
        stored = blosc2.empty(
            (probabilities.spool.outputs, *shape),
            dtype=np.float16,
            urlpath=str(temp),
            mode="w",
            chunks=(1, *chunk),
            cparams=settings,
        )
        for channel in range(probabilities.spool.outputs):
            stored[channel] = probabilities.output(channel)

    def verify(temp: Path) -> None:
        try:
            stored = blosc2.open(str(temp), mode="r")
            for channel in range(probabilities.spool.outputs):
                if not np.array_equal(stored[channel], probabilities.output(channel)):
                    raise OSError("what was read back is not what was written")
        except RuntimeError as error:
            raise OSError(f"it cannot be read back: {error}") from error

    write_atomically(path, fill, verify)
