"""A model whose network is an ONNX graph; what is around it (preparing, tiles, members, masks) stays as it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from autofuse.sampling.batch import Batch
from autofuse.sharing.onnx_graph import require_onnx, run_graph, session
from autofuse.training.model import Model
from autofuse.training.trainer import Trainer


class Graph(nn.Module):
    """A graph in place of a network. Its buffer is the file's hash, so that predictions by another file differ."""

    digest: Tensor

    def __init__(self, file: Path) -> None:
        super().__init__()
        content = file.read_bytes()
        self._session = session(content)
        self.register_buffer("digest", torch.frombuffer(bytearray(hashlib.sha256(content).digest()), dtype=torch.uint8))

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, *S) on the device of the batch."""
        seen = batch.covered
        if seen is None:
            ones = (1,) * (batch.image.ndim - 2)
            seen = batch.present.view(*batch.present.shape, *ones).expand(batch.image.shape)
        seen = seen & batch.present.view(*batch.present.shape, *(1,) * (batch.image.ndim - 2))
        prior = None if batch.prior is None else batch.prior.float().cpu()
        image = batch.image.float().cpu().contiguous()
        return run_graph(self._session, image, seen.cpu().contiguous(), prior).to(batch.image.device)


@dataclass(frozen=True)
class GraphSegmenter(Trainer):
    """A method that cannot be trained any more: its network is a graph."""

    name: ClassVar[str] = "onnx"

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """Logits (B, C, *S)."""
        logits: Tensor = nets["graph"](batch)
        return logits


def with_graph(model: Model, file: str | Path) -> Model:
    """``model`` with the ONNX network in ``file`` in place of its own; it computes in float32, whatever ``model`` did.

    Raises:
        UsageError: if onnxruntime is not installed.
    """
    require_onnx()
    nets = nn.ModuleDict({"graph": Graph(Path(file))}).eval()
    run = model.run.model_copy(update={"precision": "fp32"})
    return replace(model, trainer=GraphSegmenter(), nets=nets, run=run)
