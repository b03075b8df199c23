"""One network as an ONNX graph, compared with torch before it is given away.

The graph takes one tile: ``image`` (1, M, *patch) float32, ``seen`` (1, M, *patch) bool (where each modality sees
anything; false throughout for an absent one) and, for a cascade's second stage, ``prior`` (1, K, *patch). It gives
``logits`` (1, C, *patch) float32. A field of view that ends inside the tile, an absent modality and a whole one go
through the same graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.files import temp_beside, write_bytes
from autofuse.inference.export import activate
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.sharing.contract import IMAGE, LOGITS, PRIOR, SEEN
from autofuse.training.model import Model

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference of a probability between onnxruntime and torch in float32."""


@dataclass(frozen=True)
class Comparison:
    """How far the probabilities of a graph and of its network lie apart at most, over so many tiles."""

    largest_difference: float
    tiles: int


class TileNetwork(nn.Module):
    """What a trainer's networks say about one tile, from tensors alone."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._trainer, self._task = model.trainer, model.task
        self.nets = model.nets

    def forward(self, image: Tensor, seen: Tensor, prior: Tensor | None = None) -> Tensor:
        """Logits (B, C, *S) of images (B, M, *S), where they are ``seen`` (B, M, *S), and priors (B, K, *S)."""
        batch = Batch(
            image=image,
            present=seen.flatten(2).any(2),
            prior=prior,
            covered=seen,
            spacing_mm=tuple(self._task.configuration.spacing_mm[-(image.ndim - 2) :]),
        )
        return self._trainer.segment(self.nets, batch).float()


def require_onnx() -> None:
    """Nothing, if the packages are there that write and run ONNX.

    Raises:
        UsageError: otherwise, with the command that installs them.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "ONNX networks need packages that are not installed.",
            found=str(error),
            expected="onnx and onnxruntime",
            remedy="pip install 'autofuse[onnx]'",
        ) from None
    del onnx


def write_graph(model: Model, path: Path) -> Comparison:
    """The network of ``model`` (on the CPU, in evaluation mode) as ``path``; how it compares with torch.

    Raises:
        ModelError: if it cannot be written as a graph, or onnxruntime finds other probabilities than torch.
        ResourceError: if the file cannot be written.
    """
    content = _graph(model, temp_beside(path))
    compared = compare(model, session(content))
    if not compared.largest_difference <= TOLERANCE:
        raise ModelError(
            "The ONNX network does not say what the network here says.",
            file=path,
            found=f"probabilities that differ by {compared.largest_difference:.2g}",
            expected=f"at most {TOLERANCE:g}",
            remedy="Report it, with the trainer and topology of this run; the bundle without --onnx is not concerned.",
        )
    write_bytes(path, content)
    return compared


def session(content: bytes | Path) -> InferenceSession:
    """An onnxruntime session on the CPU, for a graph's bytes or its file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    source = str(content) if isinstance(content, Path) else content
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_graph(graph: InferenceSession, image: Tensor, seen: Tensor, prior: Tensor | None = None) -> Tensor:
    """Logits (B, C, *S), one sample after another."""
    rows = []
    for index in range(image.shape[0]):
        row = slice(index, index + 1)
        given = {IMAGE: image[row].numpy(), SEEN: seen[row].numpy()}
        if prior is not None:
            given[PRIOR] = prior[row].numpy()
        known = {item.name for item in graph.get_inputs()}
        found = graph.run([LOGITS], {name: array for name, array in given.items() if name in known})
        rows.append(torch.from_numpy(found[0]))
    return torch.cat(rows)


def compare(model: Model, graph: InferenceSession) -> Comparison:
    """Probabilities of both on noise, with every modality, with each one absent, and with fields of view that end."""
    network = TileNetwork(model).eval()
    largest, tiles = 0.0, 0
    with torch.inference_mode():
        for image, seen, prior in _tiles(model.task):
            there, here = network(image, seen, prior), run_graph(graph, image, seen, prior)
            gap = activate(there[0], model.task.labels) - activate(here[0], model.task.labels)
            largest, tiles = max(largest, float(gap.abs().nan_to_num(nan=torch.inf).max())), tiles + 1
    return Comparison(largest, tiles)


def _graph(model: Model, scratch: Path) -> bytes:
    """The serialised graph; it passes through the file ``scratch``.

    torch's older exporter, which traces: it is done in a second where the newer one takes ten, and needs no further
    package. What it cannot know from one example does not occur: a tile's size and the number of tiles are fixed.
    """
    import onnx

    example = next(_tiles(model.task))
    names = [IMAGE, SEEN, PRIOR]
    given = tuple(part for part in example if part is not None)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, about sizes that are fixed indeed
            torch.onnx.export(
                TileNetwork(model).eval(),
                given,
                str(scratch),
                dynamo=False,
                opset_version=OPSET,
                input_names=names[: len(given)],
                output_names=[LOGITS],
            )
        graph = onnx.load(str(scratch))
        onnx.checker.check_model(graph)
    except Exception as error:  # whatever the exporter makes of layers that it does not know
        raise ModelError(
            "This network cannot be written as an ONNX graph.",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200],
            remedy="Share the model without --onnx; or report it, with the trainer and topology of this run.",
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
    return _plain(graph)


def _plain(graph: Any) -> bytes:
    """The graph without notes on where in the program a node came from."""
    for node in graph.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _tiles(task: Task) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Noise as a z-scored image has it: all modalities seen, each absent in turn, each seen in half of the tile."""
    random = torch.Generator().manual_seed(0)
    patch, modalities = tuple(task.configuration.patch), task.modalities
    shape = (1, modalities, *patch)
    everything = torch.ones(shape, dtype=torch.bool)
    views = [everything]
    for modality in range(modalities if modalities > 1 else 0):
        absent, half = everything.clone(), everything.clone()
        absent[:, modality] = False
        half[:, modality, patch[0] // 2 :] = False
        views += [absent, half]
    for seen in views:
        image = torch.randn(shape, generator=random).masked_fill(~seen, 0.0)
        prior = None
        if task.prior_channels:
            prior = (torch.rand(1, task.prior_channels, *patch, generator=random) < 0.3).float()
        yield image, seen, prior
