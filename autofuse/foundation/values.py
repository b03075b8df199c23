"""Values: frozen, versioned, hashed models that are written as JSON and never changed afterwards.

A value on disk is an envelope ``{"kind", "schema", "sha256", "value"}``. The hash is taken over the canonical JSON
of the value (sorted keys, no blanks), so that equal values have equal hashes on every machine.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from autofuse.foundation.errors import ModelError
from autofuse.foundation.files import write_bytes


class Value(BaseModel):
    """A frozen part of a value: no unknown fields, no silent conversion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()


def is_empty(value: object) -> bool:
    """Whether a field holds nothing. Given as ``exclude_if`` it leaves the field out of the JSON then, so that values
    that were written, and hashed, before the field existed stay what they are."""
    return not value


class StoredValue(Value):
    """A value that lives in a file of its own. Subclasses name their ``kind`` and ``schema_number``."""

    kind: ClassVar[str]
    schema_number: ClassVar[int] = 1

    def save(self, path: Path) -> None:
        """Write the envelope to ``path``, atomically."""
        write_bytes(path, self.to_json().encode())

    def to_json(self) -> str:
        """The envelope as indented JSON text."""
        envelope = {
            "kind": self.kind,
            "schema": self.schema_number,
            "sha256": self.digest(),
            "value": self.model_dump(mode="json"),
        }
        # Python's own writer indents without its C code: that was 40 % of measuring a case.
        return to_json(envelope, indent=1).decode() + "\n"

    @classmethod
    def load(cls, path: Path) -> Self:
        """The value in ``path``.

        Raises:
            ModelError: if the file is missing, not JSON, of another kind or schema, or fails its hash.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ModelError("A file that should be here is missing.", file=path) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        return cls.parse(content, path)

    @classmethod
    def parse(cls, content: bytes, path: Path) -> Self:
        """The value in ``content``, the bytes of a file that errors call ``path``.

        Raises:
            ModelError: as ``load``.
        """
        envelope = _envelope(content, path)
        if envelope.get("kind") != cls.kind or envelope.get("schema") != cls.schema_number:
            raise ModelError(
                f"This file is not a {cls.kind} that this version understands.",
                file=path,
                found=f"kind {envelope.get('kind')!r}, schema {envelope.get('schema')!r}",
                expected=f"kind {cls.kind!r}, schema {cls.schema_number}",
                remedy="Delete the file and run the step again; it is made anew.",
            )
        try:
            value = cls.model_validate_json(json.dumps(envelope.get("value")))
        except ValidationError as error:
            first = error.errors()[0]
            raise ModelError(
                f"A field of this {cls.kind} is not valid: {first['msg']}.",
                file=path,
                found=".".join(str(part) for part in first["loc"]),
                remedy="Delete the file and run the step again; it is made anew.",
            ) from None
        if value.digest() != envelope.get("sha256"):
            raise ModelError(
                f"This {cls.kind} was changed or damaged after it was written: its hash does not fit.",
                file=path,
                found=value.digest()[:12],
                expected=str(envelope.get("sha256"))[:12],
                remedy="Delete the file and run the step again; to change a decision, use the command's options.",
            )
        return value


def canonical_json(content: Any) -> bytes:
    """The one JSON text of ``content``: sorted keys, no blanks, UTF-8, NaN refused."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def short_hash(content: Any) -> str:
    """Eight hexadecimal digits that name ``content`` (JSON-able) in a folder name."""
    return hashlib.sha256(canonical_json(content)).hexdigest()[:8]


def _envelope(content: bytes, path: Path) -> dict[str, Any]:
    try:
        envelope = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    if not isinstance(envelope, dict):
        raise ModelError("This file is not a value of autofuse.", file=path, found=type(envelope).__name__)
    return envelope


def _unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        "This file cannot be read as JSON.",
        file=path,
        found=str(error)[:200],
        remedy="Delete the file and run the step again; it is made anew.",
    )
