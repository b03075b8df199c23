"""The rules that a trainer keeps, one small check each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from autofuse.dataset.types import IGNORE
from autofuse.foundation.values import canonical_json
from autofuse.sampling.batch import Batch
from autofuse.testing.conformance import Check
from autofuse.testing.examples import example_batch
from autofuse.testing.trial import HALFWAY, Trial, changed, gradients, one_sample, snapshot, without_modality
from autofuse.training.trainer import Trainer

OVERFIT_STEPS = 12
OVERFIT_LEARNING_RATE = 0.05
OVERFIT_CLIP = 1.0
MATE_TOLERANCE = 1e-3
"""Largest difference of a sample's logits with and without batch mates; kernels sum in another order."""


def is_named(kind: type[Trainer]) -> Iterator[str]:
    """``name`` is what people type after --trainer and what run folders are called."""
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        yield f'name is {name!r}; write `name: ClassVar[str] = "my_method"` (lower-case letters, digits, underscores)'


def is_a_value(kind: type[Trainer]) -> Iterator[str]:
    """A frozen dataclass whose fields have defaults and survive JSON, since runs are recorded by them."""
    if not issubclass(kind, Trainer):
        yield "derive from autofuse.training.trainer.Trainer"
    if not is_dataclass(kind) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield "decorate the class with @dataclass(frozen=True)"
        return
    value = kind()
    try:
        stored = json.loads(canonical_json(asdict(value)))
    except (TypeError, ValueError) as error:
        yield f"a field cannot be written as JSON ({error}); use numbers, strings, booleans, None, and tuples of them"
        return
    for field in fields(value):
        if isinstance(getattr(value, field.name), list | dict | set):
            yield f"field {field.name} can be changed from outside; use a tuple"
    if json.loads(canonical_json(asdict(kind(**stored)))) != stored:
        yield "fields do not come back from JSON as they were"


def streams_are_sound(trial: Trial) -> Iterator[str]:
    """At least one stream, with names of their own, shares above 0."""
    streams = trial.trainer.streams()
    names = [stream.name for stream in streams]
    if not streams:
        yield "streams() is empty; ask for at least one Stream()"
    if len(set(names)) < len(names):
        yield f"streams share a name: {names}"
    for stream in streams:
        if not stream.share > 0 or not 0 <= stream.foreground <= 1:
            yield f"stream {stream.name!r} needs share > 0 and 0 <= foreground <= 1"


def networks_are_sound(trial: Trial) -> Iterator[str]:
    """A ModuleDict of finite float32 parameters, each stored once, the same for the same seed."""
    nets = trial.networks()
    if not isinstance(nets, nn.ModuleDict) or not len(nets):
        yield "networks() must return a torch.nn.ModuleDict with at least one network"
        return
    if not any(True for _ in nets.parameters()):
        yield "no network has a parameter"
    for name, weight in nets.named_parameters():
        if weight.dtype != torch.float32 or not weight.isfinite().all():
            yield f"parameter {name} must be float32 and finite"
    stored: dict[int, str] = {}
    for name, value in nets.state_dict().items():
        if value.numel() and stored.setdefault(value.untyped_storage().data_ptr(), name) != name:
            yield f"{name} shares memory with {stored[value.untyped_storage().data_ptr()]}; checkpoints store each once"
    if changed(trial.networks(), snapshot(nets)):
        yield "the same seed gives other weights; draw from torch's global generator only"


def objectives_are_sound(trial: Trial) -> Iterator[str]:
    """Names of their own; ``moves`` names networks that exist."""
    nets, objectives = trial.networks(), trial.objectives()
    names = [objective.name for objective in objectives]
    if not objectives or len(set(names)) < len(names):
        yield f"objectives() must give at least one, each with a name of its own; it gave {names}"
    for objective in objectives:
        unknown = [name for name in objective.moves if name not in nets]
        if unknown or not objective.moves:
            yield f"objective {objective.name!r} moves {objective.moves}, but the networks are {tuple(nets)}"
        if objective.every < 1:
            yield f"objective {objective.name!r} is taken every {objective.every} steps; at least 1"


def terms_are_finite_scalars(trial: Trial) -> Iterator[str]:
    """Named finite numbers, of which some carry a gradient; in float32 and in bf16."""
    nets, batches = trial.networks(), trial.batches()
    for objective in trial.objectives():
        for reduced in (False, True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
                terms = trial.terms(objective, nets, batches)
            yield from _about(terms, f"objective {objective.name!r}{' in bf16' if reduced else ''}")
            if terms and not any(value.requires_grad for value in terms.values()):
                yield f"no term of {objective.name!r} has a gradient; were they computed under no_grad, or detached?"


def gradient_reaches_what_moves(trial: Trial) -> Iterator[str]:
    """Each network that an objective moves gets a gradient that is finite and not all zero."""
    for objective in trial.objectives():
        nets = trial.networks()
        trial.loss(objective, nets, trial.batches()).backward()  # type: ignore[no-untyped-call]
        for name in objective.moves:
            found = gradients(nets, (name,))
            if not any(bool(gradient.any()) for gradient in found):
                yield f"no gradient of {objective.name!r} reaches {name!r}; look for detach, no_grad or argmax"
            if not all(bool(gradient.isfinite().all()) for gradient in found):
                yield f"the gradient of {objective.name!r} in {name!r} is not finite"


def terms_only_compute(trial: Trial) -> Iterator[str]:
    """Computing terms changes neither weights nor batches: only the loop takes steps."""
    nets = trial.networks()
    for objective in trial.objectives():
        before, batches = snapshot(nets), trial.batches()
        trial.loss(objective, nets, batches)
        for name in changed(nets, before):
            yield f"terms of {objective.name!r} changed {name}; leave steps to the loop, averages to after_step"
        for name, batch in trial.batches().items():
            if not _same(batch, batches[name]):
                yield f"terms of {objective.name!r} changed the batch {name!r} in place; work on a copy"


def descent_lowers_the_loss(trial: Trial) -> Iterator[str]:
    """A few small steps on one batch lower what the objective says it descends."""
    for objective in trial.objectives():
        nets, batches = trial.networks(), trial.batches()
        weights = [weight for name in objective.moves for weight in nets[name].parameters()]
        optimiser = torch.optim.SGD(weights, lr=OVERFIT_LEARNING_RATE)
        losses = []
        for _ in range(OVERFIT_STEPS):
            optimiser.zero_grad()
            loss = trial.loss(objective, nets, batches)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, OVERFIT_CLIP)
            optimiser.step()
            losses.append(loss.item())
        after = trial.loss(objective, nets, batches).item()
        if not after < losses[0]:
            yield (
                f"{OVERFIT_STEPS} steps on one batch took {objective.name!r} from {losses[0]:.4f} to {after:.4f}; "
                "is a sign wrong, or a term independent of the weights?"
            )


def labels_are_learned_from(trial: Trial) -> Iterator[str]:
    """Labels matter, ignored voxels count as no class at all, and a batch without any label is harmless."""
    nets, batches = trial.networks(), trial.batches()
    matters = False
    for objective in trial.objectives():
        exact = trial.loss(objective, nets, batches).item()
        if exact == trial.loss(objective, nets, _relabelled(batches, value=0, everywhere=True)).item():
            continue
        matters = True
        ignoring = trial.loss(objective, nets, _relabelled(batches, value=IGNORE)).item()
        for value in range(len(trial.task.labels.raw_values) + 1):
            if ignoring == trial.loss(objective, nets, _relabelled(batches, value=value)).item():
                yield (
                    f"{objective.name!r} takes ignored voxels for class {value}; leave out voxels where the target is "
                    f"IGNORE ({IGNORE}), as autofuse.losses.dice_ce does"
                )
    if not matters:
        yield "no objective depends on the labels of its batches"


def unlabelled_batches_are_harmless(trial: Trial) -> Iterator[str]:
    """Nothing labelled, or half of it: terms and gradients stay finite."""
    for labelled in ("none", "sparse"):
        yield from _finite(trial, trial.batches(labelled), f"with labels {labelled!r}")


def absent_modalities_are_harmless(trial: Trial) -> Iterator[str]:
    """A sample that lacks a modality neither crashes nor yields NaN, in training and in prediction."""
    if trial.task.modalities == 1:
        return
    for modality in range(trial.task.modalities):
        batches = {name: without_modality(batch, 0, modality) for name, batch in trial.batches().items()}
        yield from _finite(trial, batches, f"without modality {modality}")
        batch = without_modality(example_batch(trial.task), 0, modality)
        if not trial.segment(trial.networks(), batch).isfinite().all():
            yield f"segment is not finite without modality {modality}; use batch.present"


def segmentation_is_sound(trial: Trial) -> Iterator[str]:
    """Finite logits of the image's size, one channel per output, the same each time, without a target."""
    nets, batch = trial.networks(), example_batch(trial.task)
    logits = trial.segment(nets, batch)
    expected = (batch.image.shape[0], trial.task.outputs, *batch.image.shape[2:])
    if tuple(logits.shape) != expected:
        yield f"segment gives shape {tuple(logits.shape)}, expected (B, C, *S) = {expected}"
        return
    if not logits.is_floating_point() or not logits.isfinite().all():
        yield "segment must give finite floating-point logits"
    if not torch.equal(logits, trial.segment(nets, batch)):
        yield "segment gives other logits the second time; nothing random may act in eval mode"


def fused_images_are_sound(trial: Trial) -> Iterator[str]:
    """A method that says it fuses gives one finite channel in [0, 1] of the image's size; others give nothing."""
    nets, batch = trial.networks().eval(), replace(example_batch(trial.task), target=None)
    with torch.no_grad():
        fused = trial.trainer.fused(nets, batch)
    says = trial.trainer.fuses(trial.task)
    if (fused is not None) != says:
        yield f"fuses() says {says}, fused() gives {'nothing' if fused is None else 'an image'}"
    if fused is None:
        return
    expected = (batch.image.shape[0], 1, *batch.image.shape[2:])
    if tuple(fused.shape) != expected:
        yield f"fused gives shape {tuple(fused.shape)}, expected (B, 1, *S) = {expected}"
    if not bool(fused.isfinite().all()) or fused.min() < 0 or fused.max() > 1:
        yield f"fused lies between {fused.min():.3g} and {fused.max():.3g}; it must be finite, in [0, 1]"


def each_modality_has_a_head(trial: Trial) -> Iterator[str]:
    """A method with ``masks_each`` learns from a target for each modality, and gives finite logits of each."""
    if not trial.trainer.masks_each:
        return
    count = trial.task.modalities
    own = {
        name: batch if batch.target is None else replace(batch, target=torch.stack([batch.target] * count, 1))
        for name, batch in trial.batches().items()
    }
    yield from _finite(trial, own, "with a target for each modality")
    nets, batch = trial.networks().eval(), replace(example_batch(trial.task), target=None)
    with torch.no_grad():
        logits = trial.trainer.segment_each(nets, batch)
    expected = (batch.image.shape[0], count, trial.task.outputs, *batch.image.shape[2:])
    if tuple(logits.shape) != expected:
        yield f"segment_each gives shape {tuple(logits.shape)}, expected (B, M, C, *S) = {expected}"
    elif not logits.isfinite().all():
        yield "segment_each must give finite logits"


def samples_do_not_depend_on_their_mates(trial: Trial) -> Iterator[str]:
    """In eval mode each sample's logits are its own."""
    nets, batch = trial.networks(), example_batch(trial.task, samples=3)
    together = trial.segment(nets, batch)
    for sample in range(3):
        difference = (trial.segment(nets, one_sample(batch, sample))[0] - together[sample]).abs().max().item()
        if not difference <= MATE_TOLERANCE:
            yield f"a sample's logits differ by {difference:.3g} without its batch mates; no statistics over the batch"
            return


def training_repeats(trial: Trial) -> Iterator[str]:
    """The same seed gives the same terms, so that a stopped run goes on as if it had not stopped."""
    nets, batches = trial.networks(), trial.batches()
    for objective in trial.objectives():
        first, second = (trial.terms(objective, nets, batches) for _ in range(2))
        if {k: v.item() for k, v in first.items()} != {k: v.item() for k, v in second.items()}:
            yield f"terms of {objective.name!r} differ under one seed; keep no state outside the networks"


def after_step_repeats(trial: Trial) -> Iterator[str]:
    """What ``after_step`` changes is finite, and a function of networks and progress alone."""
    nets, others = trial.networks(), trial.networks()
    with torch.no_grad():
        for seed, given in enumerate((nets, others)):
            torch.manual_seed(seed)
            trial.trainer.after_step(given, HALFWAY)
    if changed(nets, snapshot(others)):
        yield "after_step did something else the second time; it may depend on networks and progress only"
    if not all(bool(value.isfinite().all()) for value in snapshot(nets).values()):
        yield "after_step left numbers that are not finite"


def _about(terms: Mapping[str, Any], where: str) -> Iterator[str]:
    if not terms:
        yield f"{where} gives no terms"
    for name, value in terms.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.numel() != 1:
            yield f"{where}: term {name!r} must be a tensor of one number under a name"
        elif not value.isfinite().all():
            yield f"{where}: term {name!r} is {value.item()}; guard divisions (by at least one voxel) and logarithms"


def _finite(trial: Trial, batches: Mapping[str, Batch], when: str) -> Iterator[str]:
    for objective in trial.objectives():
        nets = trial.networks()
        terms = trial.terms(objective, nets, batches)
        yield from _about(terms, f"objective {objective.name!r} {when}")
        loss = torch.stack([value.float().reshape(()) for value in terms.values()]).sum()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        if not all(bool(gradient.isfinite().all()) for gradient in gradients(nets, objective.moves)):
            yield f"a gradient of {objective.name!r} is not finite {when}; guard divisions and logarithms"


def _relabelled(batches: Mapping[str, Batch], *, value: int, everywhere: bool = False) -> dict[str, Batch]:
    """The batches with ``value`` as label of the first half of the first axis, or of every voxel."""
    found = {}
    for name, batch in batches.items():
        assert batch.target is not None
        target = batch.target.clone()
        target[:, : None if everywhere else target.shape[1] // 2] = value
        found[name] = replace(batch, target=target)
    return found


def _same(one: Batch, other: Batch) -> bool:
    pairs = (
        (one.image, other.image),
        (one.present, other.present),
        (one.target, other.target),
        (one.prior, other.prior),
    )
    return all((a is None and b is None) or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


DECLARATION_CHECKS: dict[str, Check[type[Trainer]]] = {check.__name__: check for check in (is_named, is_a_value)}
TASK_CHECKS: dict[str, Check[Trial]] = {
    check.__name__: check
    for check in (
        streams_are_sound,
        networks_are_sound,
        objectives_are_sound,
        terms_are_finite_scalars,
        gradient_reaches_what_moves,
        terms_only_compute,
        descent_lowers_the_loss,
        labels_are_learned_from,
        unlabelled_batches_are_harmless,
        absent_modalities_are_harmless,
        segmentation_is_sound,
        fused_images_are_sound,
        each_modality_has_a_head,
        samples_do_not_depend_on_their_mates,
        training_repeats,
        after_step_repeats,
    )
}
