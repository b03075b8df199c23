"""Programs as a container might hold them, from a good one to one that does every single thing wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autofuse.images import Geometry, write_image
from autofuse.sharing.submissions.interface import ContainerInput, ContainerInterface
from autofuse.sharing.submissions.sandbox import EMPTY_PROGRAM, Stage, unpack_code

GRID = Geometry((3, 4, 5), (2.0, 1.5, 1.0), (10.0, -20.0, 30.0))
INTERFACE = ContainerInterface(
    model="tiny",
    inputs=(
        ContainerInput(modality="T1", path="/input/images/t1-mri"),
        ContainerInput(modality="FLAIR", path="/input/images/flair-mri", optional=True),
    ),
    result="/output/images/lesion",
    values=(0, 1, 2),
)
BEGIN = """
import os, sys, time
root = sys.argv[sys.argv.index("--root") + 1] if "--root" in sys.argv else ""
assert os.listdir(root + "/input/images/t1-mri")
assert not os.listdir(root + "/tmp"), "temp is not empty"
def mask(name="a.mha", offset="10 -20 30", kind="MET_UCHAR", voxels=b"\\1" * 60, folder="/output/images/lesion"):
    os.makedirs(root + folder, exist_ok=True)
    with open(root + folder + "/" + name, "wb") as file:
        file.write(("ObjectType = Image\\nNDims = 3\\nBinaryData = True\\nBinaryDataByteOrderMSB = False\\n"
            "CompressedData = False\\nTransformMatrix = 1 0 0 0 1 0 0 0 1\\nOffset = " + offset +
            "\\nElementSpacing = 1 1.5 2\\nDimSize = 5 4 3\\nElementType = " + kind +
            "\\nElementDataFile = LOCAL\\n").encode() + voxels)
"""
GOOD = "mask()\nopen(root + '/tmp/scratch', 'w').close()\n"
PROGRAMS = {
    "writes outside": ("mask()\nopen('/opt/elsewhere', 'w')", "writes outside /output: /opt/elsewhere"),
    "passes over the refusal": (
        "mask()\ntry: os.mkdir('/elsewhere')\nexcept OSError: pass",
        "writes outside /output: /elsewhere",
    ),
    "changes its input": ("mask()\nos.remove(root + '/input/images/t1-mri/one.mha')", "writes outside /output"),
    "wants the network": (
        "mask()\nimport socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError: pass",
        "wants the network: 192.0.2.1",
    ),
    "fails": ("print('autofuse: no luck'); sys.exit(4)", "ended with exit code 4: autofuse: no luck"),
    "writes nothing": ("pass", "nothing in /output/images/lesion; expected one .mha file"),
    "writes two": ("mask(); mask('b.mha')", "a.mha, b.mha in /output/images/lesion; expected one"),
    "writes something else": ("mask(); mask('log.txt', folder='/output')", "nobody asked for: /output/log.txt"),
    "lies elsewhere": ("mask(offset='10 -20 35')", "its grid is not that of its image (origin differ)"),
    "has another shape": ("mask(voxels=b'\\1' * 59)", "it cannot be read"),
    "has fractions": ("mask(kind='MET_FLOAT', voxels=b'\\0' * 240)", "its voxels are float32; expected int16 or uint8"),
    "has strange labels": ("mask(voxels=b'\\1' * 59 + b'\\7')", "it holds the values 7; expected only 0, 1, 2"),
}
"""By what each does: its code, and what has to be said of it."""


def stage(folder: Path, program: str) -> Stage:
    """Everything for one start of ``program`` on a case that has T1 only."""
    app, site, inside, root = (folder / name for name in ("app", "site", "start", "root"))
    for place in (app, site, inside / "input", root):
        place.mkdir(parents=True)
    unpack_code([], site)
    (app / "entry_point.py").write_text(BEGIN + program, encoding="utf-8")
    (app / EMPTY_PROGRAM).write_text("", encoding="utf-8")
    write_image(inside / "input/images/t1-mri/one.mha", np.zeros(GRID.shape, np.int16), GRID)
    return Stage(app, site, inside, root)
