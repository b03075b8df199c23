"""Ways to spoil a good data set, each with the place that a check must name."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from tiny_dataset import (
    AFFINE,
    CASES,
    SHAPE,
    description,
    edited,
    header_bytes,
    image_of,
    intensities,
    label_of,
    mask,
    moved,
    save,
    write_json,
)


@dataclass(frozen=True)
class Defect:
    """One way to spoil a data set.

    Attributes:
        spoil: changes the good data set in a folder.
        culprit: part of the file's name or the case's id that must be named.
        says: part of the cause, or of what was found.
        severity: how bad it is.
    """

    name: str
    spoil: Callable[[Path], object]
    culprit: str
    says: str
    severity: str = "error"


def _json(**changes: object) -> Callable[[Path], object]:
    return lambda folder: write_json(folder, description(**changes))


def _text(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "dataset.json").write_bytes(content)


def _set(index: tuple[int, ...], value: float) -> Callable[[np.ndarray], None]:
    def edit(voxels: np.ndarray) -> None:
        voxels[index] = value

    return edit


def _lists(folder: Path, **changes: object) -> None:
    entries: dict[str, object] = {
        case: {
            "images": [f"imagesTr/{case}_{k:04d}.nii.gz" for k in (0, 1)],
            "label": f"labelsTr/{case}.nii.gz",
        }
        for case in CASES
    }
    entries.update(changes)
    write_json(folder, description(dataset=entries))


def _drop_everywhere(folder: Path) -> None:
    for path in (folder / "imagesTr").glob("*_0001.nii.gz"):
        path.unlink()


def _all_labels(folder: Path, value: int) -> None:
    for case in CASES:
        edited(label_of(folder, case), lambda v: np.full_like(v, value))


def _gzip_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def _reoriented(path: Path) -> None:
    image = nib.load(path)
    flipped = AFFINE.copy()
    flipped[0, 0], flipped[0, 3] = -1, SHAPE[0] - 1
    save(path, np.asarray(image.dataobj)[::-1], flipped)


SHAPE_4D = (*SHAPE, 3)

DEFECTS = (
    # dataset.json
    Defect("json missing", lambda f: (f / "dataset.json").unlink(), "", "neither a dataset.json"),
    Defect("json truncated", _text(b'{"channel_names": {"0": "T1"'), "dataset.json", "cannot be read as JSON"),
    Defect("json not utf-8", _text(b'{"name": "\xff\xfe"}'), "dataset.json", "cannot be read as JSON"),
    Defect("json a list", _text(b"[1, 2]"), "dataset.json", "no JSON object"),
    Defect("json null", _text(b"null"), "dataset.json", "no JSON object"),
    Defect("json empty", _text(b""), "dataset.json", "cannot be read as JSON"),
    Defect("json nan", _text(b'{"labels": NaN}'), "dataset.json", "cannot be read as JSON"),
    Defect("json key twice", _text(b'{"labels": {}, "labels": {}}'), "dataset.json", "occurs twice"),
    Defect("json nested deep", _text(b"[" * 200_000), "dataset.json", "cannot be read as JSON"),
    Defect("channels missing", _json(channel_names=None), "dataset.json", "lacks the key channel_names"),
    Defect("channels a list", _json(channel_names=["T1", "FLAIR"]), "dataset.json", "does not name the channels"),
    Defect("channels gap", _json(channel_names={"0": "T1", "2": "T2"}), "dataset.json", "without a gap"),
    Defect("channels from 1", _json(channel_names={"1": "T1", "2": "T2"}), "dataset.json", "without a gap"),
    Defect("channels numbers", _json(channel_names={"0": 1, "1": 2}), "dataset.json", "does not name the channels"),
    Defect("channels empty", _json(channel_names={}), "dataset.json", "does not name the channels"),
    Defect("labels missing", _json(labels=None), "dataset.json", "lacks the key labels"),
    Defect("labels a list", _json(labels=["organ"]), "dataset.json", "declares no labels"),
    Defect("labels text", _json(labels={"background": 0, "organ": "1"}), "dataset.json", "whole number"),
    Defect("labels float", _json(labels={"background": 0, "organ": 1.5}), "dataset.json", "whole number"),
    Defect("labels bool", _json(labels={"background": 0, "organ": True}), "dataset.json", "whole number"),
    Defect("labels negative", _json(labels={"background": 0, "organ": -1}), "dataset.json", "whole number"),
    Defect("labels only background", _json(labels={"background": 0}), "dataset.json", "besides background"),
    Defect("background not 0", _json(labels={"background": 1, "organ": 2}), "dataset.json", "must have the value 0"),
    Defect("labels equal", _json(labels={"background": 0, "a": 1, "b": 1, "c": 2}), "dataset.json", "same value"),
    Defect("ignore in use", _json(labels={"background": 0, "a": 1, "b": 2, "ignore": 2}), "dataset.json", "own"),
    Defect(
        "regions without order", _json(labels={"background": 0, "whole": [1, 2], "core": 2}), "dataset.json", "order"
    ),
    Defect(
        "regions with a wrong order",
        _json(labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 7]),
        "dataset.json",
        "regions_class_order",
    ),
    Defect("ending unknown", _json(file_ending=".xyz"), "dataset.json", "file_ending"),
    Defect("ending without dot", _json(file_ending="nii.gz"), "dataset.json", "file_ending"),
    Defect("autofuse key unknown", _json(autofuse={"subjekt": "x"}), "dataset.json", "autofuse"),
    Defect("autofuse key type", _json(autofuse={"outside_files": "yes"}), "dataset.json", "autofuse"),
    Defect("subject pattern broken", _json(autofuse={"subject_pattern": "case_("}), "dataset.json", "expression"),
    Defect("subject pattern no group", _json(autofuse={"subject_pattern": "case"}), "dataset.json", "group"),
    Defect("subject pattern misses", _json(autofuse={"subject_pattern": "case_([abc])"}), "case_d", "find a subject"),
    Defect("optional unknown", _json(autofuse={"optional_modalities": ["PET"]}), "dataset.json", "not declared"),
    Defect("subject table missing", _json(autofuse={"subject_table": "s.csv"}), "s.csv", "does not exist"),
    Defect("subject table outside", _json(autofuse={"subject_table": "../s.csv"}), "s.csv", "leaves"),
    Defect("evaluation folder missing", _json(autofuse={"evaluation_labels": "truth"}), "truth", "does not exist"),
    Defect("reference unknown", _json(autofuse={"reference_modality": "T9"}), "T9", "no modality"),
    Defect(
        "reference ambiguous",
        _json(channel_names={"0": "T1", "1": "T1"}, autofuse={"reference_modality": "T1"}),
        "T1",
        "several channels",
    ),
    # lists of files
    Defect(
        "list escapes", lambda f: _lists(f, case_b={"images": ["../x.nii.gz", "/etc/passwd"]}), "x.nii.gz", "leaves"
    ),
    Defect("list file missing", lambda f: _lists(f, case_b={"images": ["a.nii.gz", None]}), "a.nii.gz", "not exist"),
    Defect(
        "list too short", lambda f: _lists(f, case_b={"images": ["imagesTr/case_b_0000.nii.gz"]}), "case_b", "one im"
    ),
    Defect("list of numbers", lambda f: _lists(f, case_b={"images": [1, 2]}), "case_b", "no path"),
    Defect("list entry broken", lambda f: _lists(f, case_b=7), "case_b", "does not list"),
    Defect("list id escapes", lambda f: _lists(f, **{"../evil": {"images": [None, None]}}), "../evil", "file name"),
    # files
    Defect("images folder missing", lambda f: shutil.rmtree(f / "imagesTr"), "imagesTr", "cannot be listed"),
    Defect("labels folder missing", lambda f: shutil.rmtree(f / "labelsTr"), "labelsTr", "cannot be listed"),
    Defect("no labels", lambda f: [p.unlink() for p in (f / "labelsTr").iterdir()], "", "No training case has a label"),
    Defect("modality missing everywhere", _drop_everywhere, "", "No training case has an image of channel 1"),
    Defect("modality missing once", lambda f: image_of(f).unlink(), "case_b", "lacks a modality", "warning"),
    Defect(
        "modality missing that is not optional",
        lambda f: (write_json(f, description(autofuse={"optional_modalities": ["T1"]})), image_of(f).unlink()),
        "case_b",
        "does not declare optional",
    ),
    Defect("label orphaned", lambda f: save(f / "labelsTr/case_x.nii.gz", mask()), "case_x", "no image", "warning"),
    Defect("channel undeclared", lambda f: save(image_of(f, channel=2), intensities(9)), "case_b_0002", "not declare"),
    Defect(
        "channel not named", lambda f: image_of(f).rename(f / "imagesTr/odd.nii.gz"), "odd.nii.gz", "channel number"
    ),
    Defect("ending differs", lambda f: save(f / "imagesTr/case_e_0000.nii", intensities(7)), "case_e_0000", "ending"),
    Defect("stray file", lambda f: (f / "imagesTr/notes.doc").write_text("x"), "notes.doc", "no image", "warning"),
    Defect("stray folder", lambda f: (f / "imagesTr/old").mkdir(), "imagesTr/old", "folder", "warning"),
    Defect("image a folder", lambda f: (image_of(f).unlink(), image_of(f).mkdir()), "case_b_0001", "no regular file"),
    Defect("image a pipe", lambda f: (image_of(f).unlink(), os.mkfifo(image_of(f))), "case_b_0001", "pipe"),
    Defect("image a dead link", lambda f: (image_of(f).unlink(), image_of(f).symlink_to("no")), "case_b_0001", "link"),
    Defect("image empty", lambda f: image_of(f).write_bytes(b""), "case_b_0001", ""),
    Defect("image truncated", lambda f: _gzip_cut(image_of(f)), "case_b_0001", ""),
    Defect("image with a flipped bit", lambda f: _flip_bit(image_of(f)), "case_b_0001", ""),
    Defect("image of another kind", lambda f: image_of(f).write_bytes(b"version https://git-lfs"), "case_b_0001", ""),
    Defect(
        "ids alike",
        lambda f: [save(image_of(f, "CASE_A", k), intensities(90 + k)) for k in (0, 1)],
        "CASE_A",
        "upper and lower",
        "warning",
    ),
    Defect("numTraining wrong", _json(numTraining=9), "dataset.json", "numTraining", "warning"),
    Defect(
        "label gap",
        _json(labels={"background": 0, "organ": 1, "lesion": 2, "x": 5}),
        "dataset.json",
        "consecutive",
        "warning",
    ),
    # geometry
    Defect(
        "shape differs", lambda f: save(image_of(f), intensities(3, (10, 12, 7))), "case_b_0001", "shape", "warning"
    ),
    Defect(
        "spacing differs",
        lambda f: moved(image_of(f), lambda a: np.diag([1, 1, 3.0, 1])),
        "case_b_0001",
        "spacing",
        "warning",
    ),
    Defect("origin differs", lambda f: moved(image_of(f), _set((0, 3), 5.0)), "case_b_0001", "origin", "warning"),
    Defect("axes differ", lambda f: _reoriented(image_of(f)), "case_b_0001", "axes", "warning"),
    Defect("little overlap", lambda f: moved(image_of(f), _set((0, 3), 7.0)), "case_b_0001", "covers only", "warning"),
    Defect("no overlap", lambda f: moved(image_of(f), _set((0, 3), 500.0)), "case_b_0001", "no place in common"),
    Defect("label shape differs", lambda f: save(label_of(f), mask(1, (10, 12, 7))), "labelsTr/case_b", "shape"),
    Defect("label flipped", lambda f: _reoriented(label_of(f)), "labelsTr/case_b", "axes"),
    Defect(
        "header jitters", lambda f: moved(image_of(f), _set((0, 3), 0.01)), "case_b_0001", "voxels beside", "warning"
    ),
    Defect(
        "4-D image", lambda f: save(image_of(f), intensities(3, SHAPE_4D)), "case_b_0001", "another number of images"
    ),
    Defect("spacing zero", lambda f: header_bytes(image_of(f), 80, struct.pack("<f", 0.0)), "case_b_0001", ""),
    Defect("spacing NaN", lambda f: header_bytes(image_of(f), 280, struct.pack("<f", np.nan)), "case_b_0001", ""),
    Defect("sheared", lambda f: moved(image_of(f), _set((0, 1), 0.3)), "case_b_0001", "sheared"),
    Defect(
        "spacing in metres",
        lambda f: [
            moved(p, lambda a: np.diag([0.001, 0.001, 0.002, 1]))
            for p in (image_of(f, channel=0), image_of(f), label_of(f))
        ],
        "case_b",
        "implausible",
        "warning",
    ),
    Defect(
        "one voxel",
        lambda f: [
            save(p, np.full((1, 1, 1), 3 - (p == label_of(f)), np.int16))
            for p in (image_of(f, channel=0), image_of(f), label_of(f))
        ],
        "case_b",
        "single voxel",
    ),
    # intensities
    Defect("NaN", lambda f: edited(image_of(f), _set((1, 1, 1), np.nan), np.float32), "case_b_0001", "finite"),
    Defect("infinity", lambda f: edited(image_of(f), _set((1, 1, 1), np.inf), np.float32), "case_b_0001", "finite"),
    Defect("1e300", lambda f: edited(image_of(f), _set((1, 1, 1), 1e300), np.float64), "case_b_0001", "finite"),
    Defect("1e30", lambda f: edited(image_of(f), _set((1, 1, 1), 1e30), np.float32), "case_b_0001", "arithmetic"),
    Defect("blank", lambda f: edited(image_of(f), lambda v: v * 0), "case_b_0001", "same value", "warning"),
    Defect(
        "blank everywhere",
        lambda f: [edited(image_of(f, case), lambda v: v * 0) for case in CASES],
        "",
        "no contrast in any case",
    ),
    # labels
    Defect("label undeclared", lambda f: edited(label_of(f), _set((5, 5, 5), 7)), "labelsTr/case_b", "7 (1 voxels)"),
    Defect("label 255", lambda f: edited(label_of(f), _set((5, 5, 5), 255)), "labelsTr/case_b", "255"),
    Defect("label 257", lambda f: edited(label_of(f), _set((5, 5, 5), 257)), "labelsTr/case_b", "257"),
    Defect("label negative", lambda f: edited(label_of(f), _set((5, 5, 5), -1)), "labelsTr/case_b", "-1"),
    Defect("label fraction", lambda f: edited(label_of(f), _set((5, 5, 5), 0.5), np.float32), "labelsTr/case_b", ""),
    Defect("label NaN", lambda f: edited(label_of(f), _set((5, 5, 5), np.nan), np.float32), "labelsTr/case_b", ""),
    Defect(
        "label without foreground",
        lambda f: edited(label_of(f), lambda v: v * 0),
        "labelsTr/case_b",
        "no foreground",
        "warning",
    ),
    Defect("no foreground at all", lambda f: _all_labels(f, 0), "", "nothing to learn"),
    Defect(
        "everything ignored",
        lambda f: (
            write_json(f, description(labels={"background": 0, "a": 1, "b": 2, "ignore": 3})),
            _all_labels(f, 3),
        ),
        "",
        "everything is ignored",
    ),
    Defect(
        "one label ignored",
        lambda f: (
            write_json(f, description(labels={"background": 0, "a": 1, "b": 2, "ignore": 3})),
            edited(label_of(f), lambda v: np.full_like(v, 3)),
        ),
        "labelsTr/case_b",
        "teaches nothing",
        "warning",
    ),
    Defect("class never there", _json(labels={"background": 0, "a": 1, "b": 2, "rare": 3}), "", "'rare'", "warning"),
    # between cases
    Defect("case copied", lambda f: shutil.copy(image_of(f, "case_a"), image_of(f)), "case_b", "Two cases", "warning"),
    Defect(
        "channel copied", lambda f: shutil.copy(image_of(f, channel=0), image_of(f)), "case_b", "Two modal", "warning"
    ),
    Defect(
        "label copied", lambda f: shutil.copy(label_of(f, "case_a"), label_of(f)), "case_b", "same label", "warning"
    ),
    Defect(
        "odd one out",
        lambda f: [
            moved(p, lambda a: np.diag([20.0, 20, 40, 1])) for p in (image_of(f, channel=0), image_of(f), label_of(f))
        ],
        "case_b",
        "far from",
        "warning",
    ),
    Defect(
        "one case reoriented",
        lambda f: [_reoriented(p) for p in (image_of(f, channel=0), image_of(f), label_of(f))],
        "case_b",
        "different orders or directions",
        "warning",
    ),
    # splits
    Defect("split unknown id", _json(autofuse={"splits": [{"train": ["case_a"], "val": ["ghost"]}]}), "ghost", "exist"),
    Defect(
        "split both sides", _json(autofuse={"splits": [{"train": ["case_a"], "val": ["case_a"]}]}), "case_a", "holds"
    ),
    Defect("split nothing to train", _json(autofuse={"splits": [{"train": [], "val": ["case_a"]}]}), "", "to train on"),
    Defect(
        "split leaks a subject",
        _json(autofuse={"subject_pattern": "(case)", "splits": [{"train": ["case_a"], "val": ["case_b"]}]}),
        "dataset.json",
        "both sides",
    ),
    Defect("splits file broken", lambda f: (f / "splits_final.json").write_text("{}"), "splits_final.json", "no list"),
)
