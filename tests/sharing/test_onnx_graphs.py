"""Every topology's and every trainer's network as an ONNX graph: the same probabilities, whatever a tile shows."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.registry import TRAINERS, registered
from autofuse.inference.recipe import Recipe
from autofuse.networks import TOPOLOGIES
from autofuse.plan.task import Task
from autofuse.sharing.contract import make_contract, tensor_specs
from autofuse.sharing.onnx_graph import OPSET, TOLERANCE, compare, session, write_graph
from autofuse.testing import example_task
from autofuse.training.model import Model
from autofuse.training.run import make_trainer, plan_run


def model_of(task: Task, trainer: str = "supervised", seed: int = 0) -> Model:
    """A network that was never trained, its gates and norms not as even as when they begin."""
    method = make_trainer(trainer)
    torch.manual_seed(seed)
    nets = method.networks(task).eval()
    with torch.no_grad():
        for weight in nets.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return Model(task, method, nets, plan_run(task, trainer, method, fold=0, labelled=["a"], steps=1))


def require_same(task: Task, trainer: str, path: Path) -> None:
    """The graph in a file says what the network says, and its tensors are those that the contract names."""
    model = model_of(task, trainer)
    compared = write_graph(model, path)
    assert compared.largest_difference <= TOLERANCE and compared.tiles == 2 * task.modalities + 1
    graph = session(path)
    inputs, output = tensor_specs(task)
    assert [(item.name, tuple(item.shape)) for item in graph.get_inputs()] == [
        (item.name, item.shape) for item in inputs
    ]
    assert [(item.name, tuple(item.shape)) for item in graph.get_outputs()] == [(output.name, output.shape)]
    assert compare(model_of(task, trainer, seed=1), graph).largest_difference > TOLERANCE


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_topology_becomes_a_graph(name: str, tmp_path: Path) -> None:
    require_same(example_task(3, 3, topology=name), "supervised", tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["early", "per_modality", "shared_kernels", "late"])
def test_regions_and_slices_become_graphs_too(name: str, tmp_path: Path) -> None:
    require_same(example_task(2, 2, topology=name, regions=True), "supervised", tmp_path / "a.onnx")


def test_a_second_stage_takes_the_masks_of_the_first(tmp_path: Path) -> None:
    require_same(example_task(2, 3, cascade=True, topology="stems"), "supervised", tmp_path / "a.onnx")


@pytest.mark.parametrize("trainer", registered(TRAINERS))
def test_every_trainer_becomes_a_graph(trainer: str, tmp_path: Path) -> None:
    topology = make_trainer(trainer).topology or "early"
    require_same(example_task(2, 2, topology=topology), trainer, tmp_path / "a.onnx")


@pytest.mark.parametrize("aggregate", ["mean", "max", "saliency", "pyramid"])
def test_every_rule_to_fuse_by_becomes_a_graph(aggregate: str, tmp_path: Path) -> None:
    task = example_task(2, 2, topology="image_level")
    method = make_trainer("fuse4seg", {"aggregate": aggregate})
    model = replace(model_of(task, "fuse4seg"), trainer=method, nets=method.networks(task).eval())
    assert write_graph(model, tmp_path / "a.onnx").largest_difference <= TOLERANCE


def test_a_graph_tells_nothing_of_the_machine_and_is_the_same_again(tmp_path: Path) -> None:
    model = model_of(example_task(topology="stems"))
    for name in ("a.onnx", "b.onnx"):
        write_graph(model, tmp_path / name)
    content = (tmp_path / "a.onnx").read_bytes()
    assert content == (tmp_path / "b.onnx").read_bytes()
    for word in (str(Path.cwd()), str(tmp_path), str(Path.home()), "site-packages", ".py", "patient"):
        assert word.encode() not in content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_network_that_says_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = model_of(example_task()), model_of(example_task(), seed=1)
    write_graph(other, tmp_path / "other.onnx")
    there = session(tmp_path / "other.onnx")
    monkeypatch.setattr("autofuse.sharing.onnx_graph.session", lambda _: there)
    with pytest.raises(ModelError, match="does not say what the network here says"):
        write_graph(model, tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_a_network_that_cannot_be_a_graph_is_named(tmp_path: Path) -> None:
    model = model_of(example_task())

    def segment(*_: object) -> torch.Tensor:
        raise RuntimeError("a layer of another kind")

    object.__setattr__(model.trainer, "segment", segment)
    with pytest.raises(ModelError, match="cannot be written") as caught:
        write_graph(model, tmp_path / "a.onnx")
    assert "a layer of another kind" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_without_the_packages_the_command_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autofuse.sharing.onnx_graph import require_onnx

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        require_onnx()
    assert "autofuse[onnx]" in str(caught.value)


def test_the_contract_says_what_the_plan_says(tmp_path: Path) -> None:
    task = example_task(2, 2, regions=True)
    contract = make_contract("m", None, {"a": task.plan}, (), Recipe(), opset=OPSET, torch_version="2")
    assert contract.activation == "sigmoid" and contract.thresholds == (0.5, 0.5)
    assert contract.modalities == ("modality 0", "modality 1")
    assert any("later ones over earlier" in step for step in contract.steps)
    value = json.loads(contract.to_json())["value"]
    assert (value["tile_step"], value["tile_sigma"], value["half_limit"]) == (0.5, 0.125, 30000.0)
    assert not any("—" in step for step in contract.steps)


def test_a_graph_is_written_without_onnxscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert write_graph(model_of(example_task()), tmp_path / "a.onnx").largest_difference < TOLERANCE
