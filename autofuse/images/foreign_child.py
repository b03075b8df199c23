"""Reads one image after another with SimpleITK, within limits of memory and time; ends with its parent.

Run as a script, so that it needs nothing of autofuse. A request is one line of JSON on standard input:
``{"path", "reader", "voxels", "max_voxels", "max_bytes", "limit_s"}``. The answer is one line of JSON on what
was standard output (``{"error"}`` or shape, type and geometry), followed by the voxels' bytes if they were asked for.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HEADER_ALLOWANCE_BYTES = 1 << 29
"""Memory that reading a header may take, beyond what the process has once SimpleITK is loaded."""
COPIES = 3
"""How often the voxels may lie in memory while ITK reads them."""
_PR_SET_PDEATHSIG = 1
_TYPES = {
    "8-bit signed integer": "int8", "8-bit unsigned integer": "uint8", "16-bit signed integer": "int16",
    "16-bit unsigned integer": "uint16", "32-bit signed integer": "int32", "32-bit unsigned integer": "uint32",
    "64-bit signed integer": "int64", "64-bit unsigned integer": "uint64", "32-bit float": "float32",
    "64-bit float": "float64",
}  # fmt: skip


def main(parent: int) -> None:
    """Answer requests until standard input ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != parent:
        return
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sitk: Any = import_module("SimpleITK")

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    for line in sys.stdin:
        request = json.loads(line)
        signal.alarm(int(request["limit_s"]) + 1)  # ends this process even inside a hanging library
        try:
            answer, image = _read(sitk, request)
        except Exception as error:
            answer, image = {"error": " ".join(str(error).split())[-300:] or type(error).__name__}, None
        _allow_memory(None)
        _send(answers, (json.dumps(answer) + "\n").encode())
        if image is not None:  # the view does not keep the image alive
            _send(answers, memoryview(sitk.GetArrayViewFromImage(image)).cast("B"))
        del image
        signal.alarm(0)


def _read(sitk: Any, request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    _allow_memory(HEADER_ALLOWANCE_BYTES)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(request["reader"])
    reader.SetFileName(request["path"])
    reader.ReadImageInformation()
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    name = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue()).removeprefix("vector of ")
    count = components
    for length in size:
        count *= length
    if name not in _TYPES:
        return {"error": f"its voxels are of type {name}"}, None
    voxel_bytes = count * int("".join(filter(str.isdigit, _TYPES[name]))) // 8
    if not 0 < count <= request["max_voxels"] or voxel_bytes > request["max_bytes"]:
        return {"error": f"it declares {' x '.join(map(str, size))} x {components} voxels"}, None
    answer = {
        "size": size,
        "components": components,
        "dtype": _TYPES[name],
        "spacing": reader.GetSpacing(),
        "origin": reader.GetOrigin(),
        "direction": reader.GetDirection(),
    }
    if not request["voxels"]:
        return answer, None
    _allow_memory(HEADER_ALLOWANCE_BYTES + COPIES * voxel_bytes)
    image = reader.Execute()
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.size != count or voxels.dtype.name != _TYPES[name]:
        return {"error": "its voxels are not what its header declares"}, None
    return answer, image


def _allow_memory(extra_bytes: int | None) -> None:
    """Let the address space grow by this much from now, or without limit."""
    limit = resource.RLIM_INFINITY
    if extra_bytes is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + extra_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = hard if limit == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _send(handle: int, content: Any) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
