"""ONNX networks along the whole road: the same probabilities as torch's, here and by the contract alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from contract_by_hand import segment
from tiny_road import Travelled

from autofuse import road
from autofuse.cli.main import main
from autofuse.dataset.opening import open_dataset
from autofuse.dataset.raw import RawCase, load_case
from autofuse.foundation.errors import UsageError
from autofuse.inference.case import load_for, predict_case
from autofuse.inference.export import activate
from autofuse.inference.prediction import LoadedCase, PredictOptions, grid_key
from autofuse.inference.window import View, WindowPlan, sliding_window, whole
from autofuse.road.exporting_onnx import ExportedOnnx
from autofuse.road.runs import choose_run
from autofuse.sharing.contract import Contract
from autofuse.sharing.onnx_run import with_graph
from autofuse.training.model import Model, load_model

EXACT = PredictOptions(precision="fp32", probabilities=True)


@pytest.fixture(scope="module")
def graphs(travelled: Travelled, tmp_path_factory: pytest.TempPathFactory) -> ExportedOnnx:
    """The tiny road's network as a graph."""
    out = tmp_path_factory.mktemp("onnx") / "phantom"
    return road.export_onnx(travelled.raw, workspace=travelled.workspace.root, out=out, name="phantom")


@pytest.fixture(scope="module")
def model(travelled: Travelled) -> Model:
    return load_model(choose_run(travelled.workspace)[0].folder)


@pytest.fixture(scope="module")
def raw(travelled: Travelled) -> RawCase:
    """A case of the phantom on voxels of another size than the plan's, so that it is resampled both ways."""
    dataset = open_dataset(travelled.raw)
    case = load_case(dataset, dataset.test_cases[0], with_label=False)
    grid = replace(case.geometry, spacing_mm=(1.3, 0.8, 1.1))
    images = tuple(None if image is None else replace(image, geometry=grid) for image in case.images)
    return replace(case, images=images, geometry=grid)


def probabilities(model: Model, case: LoadedCase) -> torch.Tensor:
    """(C, z, y, x) on the prepared grid by the sliding window, in float32."""
    task, prepared = model.task, case.prepared[grid_key(model.task)]
    view = View(torch.from_numpy(prepared.images), torch.from_numpy(prepared.present), case=case.id)
    plan = WindowPlan(task.configuration.patch, task.outputs, mirror_axes=task.plan.mirror_axes, batch=2)
    logits = whole(sliding_window(lambda batch: model.trainer.segment(model.nets, batch), view, plan))
    return activate(logits, task.labels)


def test_the_sliding_window_finds_the_same_probabilities(model: Model, graphs: ExportedOnnx, raw: RawCase) -> None:
    graph = with_graph(model, Path(graphs.folder) / graphs.files[0])
    case = load_for([model], raw)
    here, there = probabilities(model, case), probabilities(graph, case)
    assert here.shape == there.shape and here.std() > 0.01
    assert float((here - there).abs().max()) < 1e-4


def test_masks_are_the_same_but_for_ties(model: Model, graphs: ExportedOnnx, raw: RawCase) -> None:
    graph = with_graph(model, Path(graphs.folder) / graphs.files[0])
    lacking = replace(raw, images=(raw.images[0], None))
    for case in (raw, lacking):
        here, there = (predict_case([item], case, EXACT) for item in (model, graph))
        assert (here.indices != there.indices).mean() < 1e-4
        assert len(np.unique(here.indices)) > 1


@pytest.mark.parametrize("lacks", [None, 1])
def test_the_contract_is_all_that_a_stranger_needs(
    lacks: int | None, model: Model, graphs: ExportedOnnx, raw: RawCase
) -> None:
    case = replace(raw, images=tuple(None if m == lacks else image for m, image in enumerate(raw.images)))
    here = predict_case([model], case, EXACT)
    arrays = [None if image is None else np.asarray(image.voxels) for image in case.images]
    found, mask = segment(Path(graphs.folder), arrays, case.geometry.spacing_mm)
    assert here.probabilities is not None
    stored = here.probabilities.whole().astype(np.float32)  # in half floats, whose steps below 1 are 0.0005
    assert np.abs(stored - found).max() < 1e-3
    assert (here.raw_labels() != mask).mean() < 1e-3


def test_what_is_written_is_whole_and_says_what_it_is(graphs: ExportedOnnx, travelled: Travelled) -> None:
    folder = Path(graphs.folder)
    contract = Contract.load(folder / "contract.json")
    (member,) = contract.members
    assert sorted(path.name for path in folder.iterdir()) == sorted(graphs.files)
    assert member.weight == 1.0 and member.largest_difference < 1e-4 and graphs.compared == 5
    assert (member.member.labelled, member.member.held_out) == (4, 1)
    assert (
        "contract.json" in (folder / "README.md").read_text()
        and "autofuse import" not in (folder / "README.md").read_text()
    )
    text = (folder / "contract.json").read_text() + (folder / "README.md").read_text()
    assert not [case.id for case in open_dataset(travelled.raw).cases if case.id in text]


def test_only_an_earlier_export_is_replaced(travelled: Travelled, graphs: ExportedOnnx, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="replace something else"):
        road.export_onnx(travelled.raw, workspace=travelled.workspace.root, out=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_the_command_answers_programs(
    travelled: Travelled, graphs: ExportedOnnx, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(travelled.raw), "--workspace", str(travelled.workspace.root), "--onnx"]
    assert main([*command, "-o", str(tmp_path / "out"), "--name", "phantom", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["result"]
    assert made["largest_difference"] < 1e-4 and tuple(made["files"]) == graphs.files
    same = [
        (Path(graphs.folder) / name).read_bytes() == (tmp_path / "out" / name).read_bytes() for name in graphs.files
    ]
    assert all(same)
