"""Files to arrays with geometry and back; the only room that opens image files."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autofuse.images.geometry import Geometry
    from autofuse.images.image import Image
    from autofuse.images.io import (
        SUPPORTED_ENDINGS,
        Header,
        read_header,
        read_image,
        read_label_image,
    )
    from autofuse.images.write import write_image, write_labels

_HOMES = {
    "Geometry": "geometry",
    "Image": "image",
    "SUPPORTED_ENDINGS": "io",
    "Header": "io",
    "read_header": "io",
    "read_image": "io",
    "read_label_image": "io",
    "write_image": "write",
    "write_labels": "write",
}

__all__ = [
    "SUPPORTED_ENDINGS",
    "Geometry",
    "Header",
    "Image",
    "read_header",
    "read_image",
    "read_label_image",
    "write_image",
    "write_labels",
]


def __getattr__(name: str) -> Any:
    # Names are looked up when first used, so that `autofuse --help` need not wait for numpy.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"autofuse.images.{_HOMES[name]}"), name)
