"""Bundles that lie, break or attack: each is refused with exit code 4, quickly, and leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_models import FOLDER, Refused, contents, forged, pack_model, repacked, write_fold
from safetensors.torch import save

from autofuse.cli.main import main
from autofuse.sharing import layout
from autofuse.testing import example_task
from autofuse.training.checkpoint import NET

WEIGHTS, PLAN, RUN = (f"{FOLDER}/{name}" for name in (layout.WEIGHTS, layout.PLAN, layout.RUN))
Value = dict[str, Any]


def test_the_bundle_that_all_attacks_begin_with_is_good(good_bundle: Path, tmp_path: Path) -> None:
    same = repacked(good_bundle, tmp_path / "same.zip", {})
    assert main(["import", str(same), "--workspace", str(tmp_path), "--quiet"]) == 0
    assert (tmp_path / "models" / "example" / WEIGHTS).is_file()


def add(
    bundle: Path, path: Path, *infos: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED
) -> Path:
    """``bundle`` at ``path`` with further entries, whatever they are called."""
    path.write_bytes(bundle.read_bytes())
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")  # of duplicate names
        for info, content in infos:
            archive.writestr(info, content, compress_type=method)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "../../../../tmp/evil",
        "/tmp/evil",
        "runs/../../evil.json",
        "runs/../fold_0/plan.json",
        f"{FOLDER}/../../../evil.json",
        "C:\\evil.json",
        "..\\evil.json",
        "runs\\a\\fold_0\\plan.json",
        "~/.bashrc",
        "runs/.hidden/fold_0/run.json",
        "runs/a b/fold_0/run.json",
        "runs/a/fold_01/run.json",
        "model.pkl",
        "__init__.py",
        f"{FOLDER}/best.pth",
        "README.md\n",
        "RE\u0301ADME.md",
    ],
)
def test_a_name_that_does_not_belong_is_refused(name: str, good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    attack = add(good_bundle, tmp_path / "attack.zip", (name, b"evil"))
    refused(attack, "does not belong")


def test_a_name_with_a_zero_byte_is_refused(good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    attack = add(good_bundle, tmp_path / "attack.zip", ("data_summary.jsonXevil", b"evil"))
    attack.write_bytes(attack.read_bytes().replace(b"data_summary.jsonXevil", b"data_summary.json\0evil"))
    refused(attack, "does not belong")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_links_folders_and_devices_are_refused(kind: int, good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    info = zipfile.ZipInfo("data_summary.json")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    refused(add(good_bundle, tmp_path / "attack.zip", (info, b"/etc/passwd")), "a link, a folder or a device")


def test_a_small_entry_that_unpacks_to_much_is_refused(good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    bomb = repacked(good_bundle, tmp_path / "bomb.zip", {layout.CARD: bytes(layout.LARGEST_TEXT_BYTES)})
    refused(bomb, "far more than it is")


def test_a_text_that_is_too_large_is_refused(good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    bomb = repacked(good_bundle, tmp_path / "bomb.zip", {layout.CARD: bytes(layout.LARGEST_TEXT_BYTES + 1)})
    refused(bomb, "too large")


def test_texts_that_are_too_large_together_are_refused(
    good_bundle: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MOST_TEXT_BYTES", 1000)
    refused(repacked(good_bundle, tmp_path / "bomb.zip", {}), "too long")


def test_packed_weights_are_refused(good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    attack = tmp_path / "bomb.zip"
    with zipfile.ZipFile(attack, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents(good_bundle).items():
            archive.writestr(name, bytes(1 << 26) if name == WEIGHTS else content)
    refused(attack, "packed in a way")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_pack_are_refused(method: int, good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    refused(add(good_bundle, tmp_path / "a.zip", ("data_summary.json", b"{}"), method=method), "packed in a way")


def test_sizes_that_lie_are_refused(good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    content = bytearray(good_bundle.read_bytes())
    place = content.rindex(layout.CARD.encode())  # in the list at the end; the unpacked size is 22 bytes before
    struct.pack_into("<L", content, place - 22, 3)
    attack = tmp_path / "attack.zip"
    attack.write_bytes(content)
    refused(attack, "other files than its manifest lists")


def test_fifty_thousand_entries_are_refused(tmp_path: Path, refused: Refused) -> None:
    attack = tmp_path / "many.zip"
    with zipfile.ZipFile(attack, "w") as archive:
        for number in range(50_000):
            archive.writestr(zipfile.ZipInfo(f"runs/a/fold_{number}/run.json"), b"")
    refused(attack, "50000 entries")
    content = bytearray(attack.read_bytes())
    struct.pack_into("<HH", content, len(content) - 14, 5, 5)  # it says that there are five
    attack.write_bytes(content)
    refused(attack, "too many entries")


def test_more_entries_than_the_archive_admits_are_refused(
    good_bundle: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(good_bundle.read_bytes())
    struct.pack_into("<HH", content, len(content) - 14, 1, 1)
    attack = tmp_path / "attack.zip"
    attack.write_bytes(content)
    monkeypatch.setattr(layout, "MOST_ENTRIES", 3)
    refused(attack, "too many entries")


@pytest.mark.parametrize(
    "name", [layout.CARD, FOLDER.upper() + "/run.json", "runs/Example-supervised-00000000/fold_0/plan.json"]
)
def test_duplicates_are_refused_whatever_their_case(
    name: str, good_bundle: Path, tmp_path: Path, refused: Refused
) -> None:
    attack = add(good_bundle, tmp_path / "attack.zip", (name, b"evil"))
    refused(attack, "does not belong" if name.startswith("RUNS") else "two files of one name")


@pytest.mark.parametrize("kept", [0, 1, 21, 22, 1000, 0.5, -1, -22, -200])
def test_a_truncated_file_is_refused(kept: float, good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    content = good_bundle.read_bytes()
    attack = tmp_path / "attack.zip"
    attack.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    refused(attack, "This is no bundle")


@pytest.mark.parametrize("place", [0, 100, 0.5])
def test_a_piece_that_is_missing_or_added_is_refused(
    place: float, good_bundle: Path, tmp_path: Path, refused: Refused
) -> None:
    content = good_bundle.read_bytes()
    cut = int(place * len(content)) if isinstance(place, float) else place
    attack = tmp_path / "attack.zip"
    attack.write_bytes(content[:cut] + content[cut + 10 :])
    refused(attack, "before or between")
    attack.write_bytes(content[:cut] + b"#!/bin/sh\n" + content[cut:])
    refused(attack, "before or between")
    attack.write_bytes(content + b"\n")
    refused(attack, "This is no bundle")


def test_every_flipped_byte_is_refused(good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    content = good_bundle.read_bytes()
    attack = tmp_path / "attack.zip"
    for place in range(30, len(content), len(content) // 40):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        attack.write_bytes(damaged)
        refused(attack, "attack.zip")


@pytest.mark.parametrize("name", [WEIGHTS, RUN, layout.CARD])
def test_another_content_of_the_same_size_is_refused(
    name: str, good_bundle: Path, tmp_path: Path, refused: Refused
) -> None:
    old = contents(good_bundle)[name]
    new = old[:-4] + bytes([old[-4] ^ 1]) + old[-3:]
    refused(repacked(good_bundle, tmp_path / "a.zip", {name: new}, listed=False), "is not what the manifest says")


def test_files_and_manifest_must_be_the_same(good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    extra = repacked(good_bundle, tmp_path / "a.zip", {"data_summary.json": b"{}"}, listed=False)
    assert "data_summary.json" in refused(extra, "other files than its manifest lists")
    refused(repacked(good_bundle, tmp_path / "a.zip", {RUN: None}, listed=False), "other files than")
    refused(repacked(good_bundle, tmp_path / "a.zip", {RUN: None}), "other files than its model has")
    member = f"{FOLDER[:-1]}1/run.json"
    refused(repacked(good_bundle, tmp_path / "a.zip", {member: b"{}"}), "other files than its model has")
    refused(repacked(good_bundle, tmp_path / "a.zip", {layout.MANIFEST: None}), "no manifest")


class Evil:
    """Would make a file if it were unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", [WEIGHTS, RUN, PLAN, layout.MODEL, layout.MANIFEST, layout.CARD])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_pickle_is_never_opened(name: str, form: str, good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    evil = Evil(tmp_path / "opened")
    stream = io.BytesIO()
    torch.save({"net": evil}, stream) if form == "torch" else pickle.dump(evil, stream)
    refused(repacked(good_bundle, tmp_path / "a.zip", {name: stream.getvalue()}), "a.zip")
    assert not evil.mark.exists()


def header(length: int, text: bytes) -> bytes:
    return length.to_bytes(8, "little") + text


ONE = b'{"net/a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
BROKEN = {
    "nothing": b"",
    "no header": b"\0" * 8,
    "longer than the file": header(1 << 40, b"{}"),
    "no JSON": header(4, b"[[[["),
    "a list": header(2, b"[]"),
    "deeply nested": header(100_000, b"[" * 100_000),
    "offsets beyond the end": header(len(ONE), ONE),
    "an unknown type": header(len(ONE), ONE.replace(b"F32", b"P32")) + bytes(4),
    "sizes that overflow": header(len(ONE) + 18, ONE.replace(b"[1]", b"[9223372036854775807]")) + bytes(4),
    "no metadata": save({"net/a": torch.zeros(1)}),
    "foreign tensors": save({"optimiser": torch.zeros(1)}),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_weights_are_refused(kind: str, good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    refused(
        repacked(good_bundle, tmp_path / "a.zip", {WEIGHTS: BROKEN[kind]}), WEIGHTS if kind != "no metadata" else RUN
    )


def test_weights_that_are_not_finite_are_refused(fold_folder: Path, tmp_path: Path, refused: Refused) -> None:
    from autofuse.training.checkpoint import load_checkpoint, save_checkpoint

    bundle = pack_model(tmp_path / "a.zip", [fold_folder])
    inside = tmp_path / "inside.safetensors"
    inside.write_bytes(contents(bundle)[WEIGHTS])
    tensors, about = load_checkpoint(inside)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_checkpoint(inside, tensors, about)
    refused(repacked(bundle, tmp_path / "a2.zip", {WEIGHTS: inside.read_bytes()}), "NaN or infinity")
    tensors = {name.replace("segmenter", "other"): torch.zeros_like(tensor) for name, tensor in tensors.items()}
    save_checkpoint(inside, tensors, about)
    refused(repacked(bundle, tmp_path / "a2.zip", {WEIGHTS: inside.read_bytes()}), "do not fit the network")
    tensors = {NET + "a": torch.zeros(1)}
    save_checkpoint(inside, tensors, about)
    refused(repacked(bundle, tmp_path / "a2.zip", {WEIGHTS: inside.read_bytes()}), "do not fit the network")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as JSON"),
        (b"\x80\x04K\x01.", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"schema":' + b"9" * 10_000 + b"}", "cannot be read as JSON"),
        (b"[]", "not a value of autofuse"),
        (b'{"kind": "bundle", "schema": 2}', "schema 2"),
        (b'{"kind": "plan", "schema": 1}', "kind 'plan'"),
        (b'{"kind": "bundle", "schema": 1, "value": {"name": "../x"}}', "not valid"),
    ],
)
def test_a_foreign_manifest_is_refused(
    content: bytes, words: str, good_bundle: Path, tmp_path: Path, refused: Refused
) -> None:
    refused(repacked(good_bundle, tmp_path / "a.zip", {layout.MANIFEST: content}), words)


def network(value: Value) -> Value:
    found: Value = value["configurations"][0]["network"]
    return found


def configuration(value: Value) -> Value:
    found: Value = value["configurations"][0]
    return found


PLANS: dict[str, tuple[Callable[[Value], object], str]] = {
    "a class path": (lambda plan: plan.update({"trainer_class": "os.system"}), "trainer_class"),
    "a class path in the network": (lambda plan: network(plan).update({"class": "a.b:C"}), "network.class"),
    "an expression": (lambda plan: configuration(plan).update(patch="8 * 8"), "patch"),
    "a path as topology": (lambda plan: network(plan).update(topology="../../evil"), "No topology"),
    "a path as configuration": (lambda plan: configuration(plan).update(name="../../evil"), "cannot be meant"),
    "a name with a line break": (lambda plan: configuration(plan).update(name="example\n"), "cannot be meant"),
    "an unknown choice": (lambda plan: plan.update(configuration="/etc"), "'/etc'"),
    "too wide": (lambda plan: network(plan).update(features=[10**9] * 4), "beyond all bounds"),
    "too deep": (lambda plan: network(plan).update(blocks=[10**9] * 4), "beyond all bounds"),
    "no strides": (lambda plan: network(plan).update(strides=[]), "beyond all bounds"),
    "no stride": (lambda plan: network(plan).update(strides=[[]] * 4), "beyond all bounds"),
    "a stride of zero": (lambda plan: network(plan).update(strides=[[0, 0, 0]] * 4), "beyond all bounds"),
    "a huge kernel": (lambda plan: network(plan).update(kernels=[[10**6 + 1] * 3] * 4), "beyond all bounds"),
    "an even kernel": (lambda plan: network(plan).update(kernels=[[2] * 3] * 4), "contradicts itself"),
    "another network": (lambda plan: network(plan).update(features=[4, 6, 8, 9]), "do not fit the network"),
    "another topology": (lambda plan: network(plan).update(topology="late"), "do not fit the network"),
    "a huge patch": (lambda plan: configuration(plan).update(patch=[10**6] * 3), "a patch of"),
    "a flat patch": (lambda plan: configuration(plan).update(patch=[8, 8]), "a patch of"),
    "an odd patch": (lambda plan: configuration(plan).update(patch=[8, 8, 7]), "for strides"),
    "no spacing": (lambda plan: configuration(plan).update(spacing_mm=[0.0, 1.0, 1.0]), "spacing"),
    "axes": (lambda plan: plan.update(transpose=[0, 0, 7]), "axes in the order"),
    "a reference": (lambda plan: plan.update(reference=7), "reference 7"),
    "no normalisation": (lambda plan: plan.update(normalisation=[]), "0 normalisations"),
    "a far axis": (lambda plan: configuration(plan).update(anisotropic_axis=9), "axis 9"),
    "an earlier stage": (lambda plan: configuration(plan).update(previous="nothing"), "earlier stage"),
    "itself before itself": (lambda plan: configuration(plan).update(previous="example"), "earlier stage"),
}


@pytest.mark.parametrize("kind", PLANS)
def test_a_plan_that_cannot_be_meant_is_refused(kind: str, good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    change, words = PLANS[kind]
    plan = forged(contents(good_bundle)[PLAN], change)  # type: ignore[arg-type]
    digest = json.loads(plan)["sha256"]
    run = forged(contents(good_bundle)[RUN], lambda value: value.update(plan_digest=digest))
    refused(repacked(good_bundle, tmp_path / "a.zip", {PLAN: plan, RUN: run}), words)


RUNS: dict[str, tuple[Callable[[Value], object], str]] = {
    "a class path as trainer": (lambda run: run.update(trainer="os:system"), "No trainer"),
    "a path as trainer": (lambda run: run.update(trainer="../../evil.py"), "No trainer"),
    "a foreign field": (lambda run: run.update(hook="rm -rf"), "hook"),
    "a foreign hyper-parameter": (lambda run: run.update(fields={"callback": "os.system"}), "callback"),
    "a path as earlier stage": (lambda run: run.update(prior_run="../../../../etc"), "no name"),
    "an earlier stage with a line break": (lambda run: run.update(prior_run="other\n"), "no name"),
    "an earlier stage that the plan has not": (lambda run: run.update(prior_run="other"), "disagree"),
    "another configuration": (lambda run: run.update(configuration="../x"), "lacks the configuration"),
    "another plan": (lambda run: run.update(plan_digest="0" * 64), "another plan"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_that_cannot_be_meant_is_refused(kind: str, good_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    change, words = RUNS[kind]
    run = forged(contents(good_bundle)[RUN], change)  # type: ignore[arg-type]
    refused(repacked(good_bundle, tmp_path / "a.zip", {RUN: run}), words)


MODELS: dict[str, tuple[Callable[[Value], object], str]] = {
    "a path as name": (lambda model: model.update(name="../x"), "not valid"),
    "a command to the terminal": (lambda model: model.update(licence="\x1b]0;evil\x07"), "?]0;evil?"),
    "another name": (lambda model: model.update(name="other"), "different names"),
    "a path as run": (lambda model: model["members"][0].update(run="../x"), "not valid"),
    "a fold that is not there": (lambda model: model.update(folds=[3]), "lacks a fold"),
    "an ending that is none": (lambda model: model.update(file_ending="/../../x"), "ending"),
    "other modalities": (lambda model: model.update(modalities=["MR"]), "contradict"),
    "other classes": (lambda model: model.update(classes=["x", "y"]), "contradict"),
    "another trainer": (lambda model: model["members"][0].update(trainer="partial"), "contradict"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_cannot_be_meant_is_refused(
    kind: str, good_bundle: Path, tmp_path: Path, refused: Refused
) -> None:
    change, words = MODELS[kind]
    model = forged(contents(good_bundle)[layout.MODEL], change)  # type: ignore[arg-type]
    refused(repacked(good_bundle, tmp_path / "a.zip", {layout.MODEL: model}), words)


def test_a_cascade_without_its_first_stage_is_refused(tmp_path: Path, refused: Refused) -> None:
    second = example_task(cascade=True)
    first = second.configuration.model_copy(update={"name": "example_before", "previous": None})
    plan = second.plan.model_copy(update={"configurations": (second.configuration, first)})
    folder = tmp_path / "second-00000000" / "fold_0"
    task = type(second)(plan, second.configuration)
    bundle = pack_model(tmp_path / "a.zip", [write_fold(folder, task, prior_run="first-00000000")])
    refused(bundle, "first stage of a cascade is missing")


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "folder", "pipe"])
def test_what_is_no_file_or_no_zip_is_refused(kind: str, tmp_path: Path, refused: Refused) -> None:
    bundle = tmp_path / "bundle.zip"
    if kind == "folder":
        bundle.mkdir()
    elif kind == "pipe":
        os.mkfifo(bundle)
    elif kind != "missing":
        bundle.write_bytes(b"" if kind == "empty" else b"PK is what this text begins with\n" * 100)
    refused(bundle, "bundle.zip")
