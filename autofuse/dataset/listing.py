"""Which files a folder holds: junk ignored, everything else named."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from autofuse.dataset.problems import Findings

JUNK_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})
"""What operating systems leave behind; names that begin with a dot (._x, .DS_Store) are junk too."""

CHANNEL = re.compile(r"(?s)(?P<case>.+)_(?P<channel>\d{4})")
"""A case's id and the four digits of its channel, as nnU-Net writes them before the ending."""


def is_junk(name: str) -> bool:
    """Whether a file of this name belongs to the operating system and not to the data set."""
    return name.startswith(".") or name.lower() in JUNK_NAMES


def list_files(root: Path, folder: str, findings: Findings) -> tuple[str, ...]:
    """Names of the regular files (links followed) in ``folder``, sorted; whatever else lies there is noted."""
    try:
        entries = sorted(entry.name for entry in (root / folder).iterdir())
    except OSError as error:
        findings.error(
            "folder",
            f"The folder {folder or root} cannot be listed.",
            file=folder or root,
            found=error.strerror or str(error),
            remedy="Correct its name or its permissions.",
        )
        return ()
    names = []
    for name in entries:
        if is_junk(name):
            continue
        place = _joined(folder, name)
        kind = _kind(root / folder / name)
        if kind == "file" and not _is_utf8(name):
            findings.error("file name", "The file's name is not valid UTF-8.", file=place, remedy="Rename the file.")
        elif kind == "file":
            names.append(name)
        elif kind == "folder" and "." not in name:
            findings.warn(
                "stray file",
                "A folder lies among the images and is ignored.",
                file=place,
                remedy="Move its files one level up if they belong to the data set.",
            )
        else:
            findings.error(
                "file kind",
                f"This is no regular file but a {kind}.",
                file=place,
                remedy="Put the image file itself here, or remove the entry.",
            )
    return tuple(names)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError:
        return "link that leads nowhere" if path.is_symlink() else "file that cannot be looked at"
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "device, pipe or socket"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def group_by_case(
    names: tuple[str, ...], folder: str, ending: str, channels: int, findings: Findings
) -> dict[str, dict[int, str]]:
    """Per case id its files by channel, from names like ``<case>_0000.nii.gz``; names that do not fit are noted."""
    cases: dict[str, dict[int, str]] = {}
    for name in names:
        file = _joined(folder, name)
        if not name.endswith(ending):
            _note_other_ending(file, name, ending, findings)
            continue
        match = CHANNEL.fullmatch(name.removesuffix(ending))
        if match is None:
            findings.error(
                "file name",
                "The file's name does not end in a channel number.",
                file=file,
                found=name,
                expected=f"<case>_0000{ending}",
                remedy="Rename the file so that four digits say which channel it is.",
            )
        elif int(match["channel"]) >= channels:
            findings.error(
                "channel number",
                "The file belongs to a channel that dataset.json does not declare.",
                case=match["case"],
                file=file,
                found=f"channel {int(match['channel'])}",
                expected=f"channels 0 to {channels - 1}",
                remedy="Declare the channel in dataset.json, or rename or remove the file.",
            )
        else:
            cases.setdefault(match["case"], {})[int(match["channel"])] = file
    return dict(sorted(cases.items()))


def labels_by_case(names: tuple[str, ...], folder: str, ending: str, findings: Findings) -> dict[str, str]:
    """Per case id its label file, from names like ``<case>.nii.gz``; files with another ending are noted."""
    labels = {}
    for name in names:
        file = _joined(folder, name)
        if name.endswith(ending) and name != ending:
            labels[name.removesuffix(ending)] = file
        else:
            _note_other_ending(file, name, ending, findings)
    return labels


def note_orphans(labels: Mapping[str, str], cases: Collection[str], findings: Findings) -> None:
    """Warn of every label file that has no image."""
    for case in sorted(set(labels) - set(cases)):
        findings.warn(
            "orphaned label",
            "A label has no image of the same name; it is ignored.",
            case=case,
            file=labels[case],
            remedy="Add the missing image, or correct the spelling of one of the names.",
        )


def _note_other_ending(file: str, name: str, ending: str, findings: Findings) -> None:
    from autofuse.images import SUPPORTED_ENDINGS

    other = next((known for known in SUPPORTED_ENDINGS if name.lower().endswith(known)), None)
    if other is not None:
        findings.error(
            "file ending",
            "The image has another ending than the data set declares, so it would be overlooked.",
            file=file,
            found=name[-len(other) :],
            expected=ending,
            remedy="Convert the file, or correct `file_ending` in dataset.json.",
        )
    elif not name.lower().endswith((".json", ".txt", ".md", ".csv")):
        findings.warn(
            "stray file",
            "The file is no image of this data set; it is ignored.",
            file=file,
            remedy=f"Remove it, or give it the ending {ending} if it is one.",
        )


def contained(root: Path, text: str, outside: bool) -> str | None:
    """``text`` as a path relative to ``root``; absolute where it lies outside and ``outside`` allows it, else None."""
    if "\0" in text or not text.strip():
        return None
    whole = os.path.normpath(root / text)
    relative = os.path.relpath(whole, root)
    if relative == ".." or relative.startswith("../"):
        return whole if outside else None
    return Path(relative).as_posix()


def listed_file(root: Path, text: object, outside: bool, case: str | None, findings: Findings) -> str | None:
    """The path of a file that a list names, checked to be a regular file inside ``root``; None if it is not."""
    if not isinstance(text, str):
        findings.error(
            "list entry",
            "A list of files names something that is no path.",
            case=case,
            found=repr(text)[:100],
            remedy="Write the file's path, relative to the data set's folder.",
        )
        return None
    path = contained(root, text, outside)
    if path is None:
        findings.error(
            "path outside",
            "A listed path leaves the data set's folder (or is no path).",
            case=case,
            file=text,
            remedy='Move the file into the folder; or, if you trust this list, set "autofuse": {"outside_files": true} '
            "in dataset.json.",
        )
        return None
    kind = _kind(root / path)
    if kind != "file":
        missing = not os.path.lexists(root / path)
        findings.error(
            "missing file" if missing else "file kind",
            "A listed file does not exist." if missing else f"A listed file is a {kind}.",
            case=case,
            file=path,
            remedy="Add the file, or correct or remove its entry in the list.",
        )
        return None
    return path
