"""What dataset.json says about labels, as ``Labels``; in nnU-Net's order or the Decathlon's."""

from __future__ import annotations

from collections import Counter
from typing import Any

from autofuse.dataset.problems import Findings
from autofuse.dataset.types import LabelClass, Labels

MAX_RAW_VALUE = 65535
"""Masks are written as unsigned 16-bit integers at most."""

_REMEDY = 'Write labels like {"background": 0, "organ": 1, "lesion": 2}; regions are lists of values.'


def is_decathlon_style(content: dict[str, Any]) -> bool:
    """Whether labels are declared as {"0": "background", "1": "organ"}, value first."""
    labels = content.get("labels")
    return (
        isinstance(labels, dict)
        and bool(labels)
        and all(key.isdecimal() for key in labels)
        and all(isinstance(name, str) for name in labels.values())
    )


def read_labels(content: dict[str, Any], findings: Findings) -> Labels | None:
    """The label declaration of a dataset.json, or None (and findings) where it cannot be used."""
    declared = content.get("labels")
    if not isinstance(declared, dict) or not declared:
        _refuse(findings, "dataset.json declares no labels.", repr(declared)[:100])
        return None
    if is_decathlon_style(content):
        declared = {name: int(value) for value, name in declared.items()}
        if len(declared) != len(content["labels"]):
            _refuse(findings, "Two label values have the same name.", str(content["labels"])[:200])
            return None
    before = len(findings.errors)
    values = {name: _values(name, entry, findings) for name, entry in declared.items()}
    ignore = _ignore(values, findings)
    foreground = _foreground(values, findings)
    if len(findings.errors) > before:
        return None
    if not foreground:
        _refuse(findings, "dataset.json declares no label besides background.", str(declared)[:100])
        return None
    if any(len(item.raw_values) > 1 for item in foreground):
        labels = _regions(foreground, ignore, content.get("regions_class_order"), findings)
    else:
        labels = _classes(foreground, ignore, findings)
    if labels is not None:
        _warn_of_gaps(labels, findings)
    return labels


def _values(name: str, entry: Any, findings: Findings) -> tuple[int, ...]:
    """Raw values of one declared label; a list of several makes it a region."""
    members = entry if isinstance(entry, list) else [entry]
    good = [isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= MAX_RAW_VALUE for item in members]
    if not members or not all(good):
        _refuse(findings, f"Label {name!r} is not declared as a whole number or a list of them.", repr(entry)[:100])
        return ()
    if len(set(members)) < len(members):
        _refuse(findings, f"Region {name!r} names one value twice.", repr(entry)[:100])
    return tuple(sorted(set(members)))


def _ignore(values: dict[str, tuple[int, ...]], findings: Findings) -> int | None:
    raw = values.get("ignore")
    if raw is None:
        return None
    used = {value for name, members in values.items() if name != "ignore" for value in members}
    if len(raw) != 1 or raw[0] == 0 or raw[0] in used:
        _refuse(findings, "The ignore label needs one value of its own, other than 0.", f"ignore: {list(raw)}")
        return None
    return raw[0]


def _foreground(values: dict[str, tuple[int, ...]], findings: Findings) -> list[LabelClass]:
    background = values.get("background")
    if background is not None and background != (0,):
        _refuse(findings, "The background must have the value 0.", f"background: {list(background)}")
    if background is None:
        findings.warn(
            "labels",
            "dataset.json does not declare a background; the value 0 is taken as background.",
            file="dataset.json",
            remedy='Add "background": 0 to the labels.',
        )
    named = [(name, raw) for name, raw in values.items() if name not in ("background", "ignore") and raw != (0,)]
    unnamed_zero = [name for name, raw in values.items() if name not in ("background", "ignore") and raw == (0,)]
    if background is not None and unnamed_zero:
        _refuse(findings, "Two labels have the value 0.", ", ".join(["background", *unnamed_zero]))
    return [LabelClass(name=name, raw_values=raw) for name, raw in named if raw]


def _classes(foreground: list[LabelClass], ignore: int | None, findings: Findings) -> Labels | None:
    """Exclusive classes, ascending by raw value so that class k is the network's output channel k + 1."""
    counts = Counter(item.raw_values[0] for item in foreground)
    twice = sorted(value for value, count in counts.items() if count > 1)
    if twice:
        names = [item.name for item in foreground if item.raw_values[0] in twice]
        _refuse(findings, "Several labels have the same value.", f"{twice} for {names}")
        return None
    return Labels(classes=tuple(sorted(foreground, key=lambda item: item.raw_values[0])), ignore=ignore)


def _regions(foreground: list[LabelClass], ignore: int | None, order: Any, findings: Findings) -> Labels | None:
    """Overlapping regions in the order in which they are declared and painted."""
    raw_values = {value for item in foreground for value in item.raw_values if value != 0}
    good = isinstance(order, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in order)
    if not good or len(order) != len(foreground) or not set(order) <= raw_values:
        findings.error(
            "labels",
            "Labels are regions (lists of values), but regions_class_order does not fit them.",
            file="dataset.json",
            found=repr(order)[:100],
            expected=f"a list of {len(foreground)} of the values {sorted(raw_values)}, one per region",
            remedy="Write for each region, in the order of labels, the value that paints it; later ones paint on top.",
        )
        return None
    if len(set(order)) < len(order):
        findings.warn(
            "labels",
            "regions_class_order paints two regions with the same value, so masks cannot tell them apart.",
            file="dataset.json",
            found=repr(order)[:100],
            remedy="Give each region a value of its own.",
        )
    return Labels(classes=tuple(foreground), ignore=ignore, region_values=tuple(order))


def _warn_of_gaps(labels: Labels, findings: Findings) -> None:
    expected = tuple(range(1, len(labels.raw_values) + 1))
    if labels.raw_values != expected:
        findings.warn(
            "label gaps",
            "Label values are not consecutive; autofuse copes, nnU-Net does not.",
            file="dataset.json",
            found=str(list(labels.raw_values)),
            expected=str(list(expected)),
            remedy="Check that no value is forgotten.",
        )


def _refuse(findings: Findings, cause: str, found: str) -> None:
    findings.error("labels", cause, file="dataset.json", found=found, remedy=_REMEDY)
