"""The code that runs here as wheels, and the versions of everything that it stands on, for a container.

A wheel is packed from the packages as they are imported here, with the metadata of their installation: it works in an
installation without a source tree, needs no build tool, and the container runs what was tried here, byte for byte.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from autofuse.foundation.errors import UsageError
from autofuse.foundation.registry import TRAINERS, registered
from autofuse.sharing.submissions.archive import write_zip

OWN = "autofuse"
TORCH_FOR_CPU = "https://download.pytorch.org/whl/cpu"
_OF_CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")
"""What torch brings along for GPUs; pip finds it by itself where the torch of a container needs it."""
_WHEEL = "Wheel-Version: 1.0\nGenerator: autofuse\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def packed_distributions(trainers: Sequence[str]) -> tuple[Distribution, ...]:
    """autofuse, and the packages that register these trainers."""
    points = registered(TRAINERS)
    names = {canonicalize_name(OWN): distribution(OWN)}
    for trainer in trainers:
        owner = points[trainer].dist if trainer in points else None
        if owner is not None:
            names.setdefault(canonicalize_name(owner.name), owner)
    return tuple(names.values())


def write_wheel(package: Distribution, folder: Path) -> Path:
    """A wheel of ``package`` in ``folder``, the same bytes for the same code.

    Raises:
        UsageError: if its packages hold compiled code, or cannot be found.
    """
    name = re.sub(r"[-_.]+", "_", package.name)
    info = f"{name}-{package.version}.dist-info"
    files: dict[str, bytes] = {}
    for top in (package.read_text("top_level.txt") or name).split():
        files |= dict(_sources(package, top))
    metadata = package.read_text("METADATA")
    assert metadata is not None, "an installed distribution has metadata"
    files |= {f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": _WHEEL.encode()}
    for extra in ("entry_points.txt", "top_level.txt"):
        text = package.read_text(extra)
        files |= {} if text is None else {f"{info}/{extra}": text.encode()}
    record = "".join(f"{path},{_hash(files[path])},{len(files[path])}\n" for path in sorted(files))
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = folder / f"{name}-{package.version}-py3-none-any.whl"
    write_zip(wheel, files)
    return wheel


def requirements(packages: Sequence[Distribution], *, gpu: bool) -> str:
    """A requirements file: every package that these stand on, in the version installed here.

    Args:
        gpu: torch as the package index has it, for CUDA, instead of the one for CPUs alone.
    """
    pins = {canonicalize_name(found.name): found.version for found in _below(packages)}
    lines = [f"{name}=={version.partition('+')[0]}" for name, version in sorted(pins.items()) if name != "torch"]
    torch = pins.get(canonicalize_name("torch"), "").partition("+")[0]
    head = [f"torch=={torch}"] if gpu else [f"--extra-index-url {TORCH_FOR_CPU}", f"torch=={torch}+cpu"]
    return "\n".join([*(head if torch else []), *lines]) + "\n"


def _sources(package: Distribution, top: str) -> Iterator[tuple[str, bytes]]:
    """Files of one top-level package or module by their path in a wheel."""
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        raise UsageError(f"The package {top!r} of {package.name} cannot be found.", remedy="Install it again.")
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        yield origin.name, origin.read_bytes()
        return
    for path in sorted(origin.parent.rglob("*")):
        if not path.is_file() or path.name.startswith(".") or "__pycache__" in path.parts:
            continue
        if path.suffix in {".so", ".pyd"}:
            raise UsageError(f"{package.name} holds compiled code, of which no wheel can be made.", file=path)
        if path.suffix != ".pyc":
            yield f"{top}/{path.relative_to(origin.parent).as_posix()}", path.read_bytes()


def _below(packages: Sequence[Distribution]) -> Iterator[Distribution]:
    """Installed distributions that ``packages`` need, themselves left out, each once."""
    seen = {canonicalize_name(package.name) for package in packages}
    waiting = list(packages)
    while waiting:
        package = waiting.pop()
        for text in package.requires or ():
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if not needed or name in seen or _OF_CUDA.fullmatch(name):
                continue
            seen.add(name)
            try:
                found = distribution(name)
            except PackageNotFoundError:
                continue  # pip will say so if the container needs it
            waiting.append(found)
            yield found


def _hash(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
