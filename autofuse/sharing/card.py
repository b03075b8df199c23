"""The model card: what a model is for, what it was made from, how good it was, and where it must not be trusted.

After Mitchell et al., Model Cards for Model Reporting (arXiv 1810.03993), in Markdown. All numbers come from the values
of the bundle; nothing is claimed that they do not hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from autofuse.dataset.types import Labels
from autofuse.evaluation.types import Statistic
from autofuse.inference.reading import EACH_ALONE
from autofuse.plan.types import Configuration, NetworkPlan, Plan
from autofuse.sharing.types import DataSummary, HeldOutScores, Range, SharedModel

AXES = ("z (slowest)", "y", "x")
_SCORES = (("dice", "Dice"), ("nsd", "NSD"), ("hd95_mm", "HD95 (mm)"))
_SUPERVISION = {"dense": "labelled in every voxel", "sparse": "labelled in part (scribbles)", "none": "not labelled"}


def model_card(model: SharedModel, plan: Plan, data: DataSummary | None, *, graphs: bool = False) -> str:
    """The card as Markdown, the same text for the same values; ``graphs``: of ONNX networks, not of a bundle."""
    sections = (
        _head(model),
        _segments(plan.labels),
        _expects(model, plan),
        _how_to_use(model, graphs=graphs),
        _trained_on(model, data),
        _scored(model.scores),
        _limits(model, data),
        _made_of(model, graphs=graphs),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def _head(model: SharedModel) -> list[str]:
    licence = model.licence or "not stated: ask its owner before you use it"
    return [
        f"# {model.name}",
        "",
        f"A segmentation model for {' + '.join(model.modalities)} images, trained with autofuse "
        f"{model.autofuse_version}.",
        "",
        f"Licence: {licence}",
    ]


def _segments(labels: Labels) -> list[str]:
    kind = "Regions, which may overlap; later ones are painted over earlier ones." if labels.has_regions else "Classes."
    painted = labels.region_values or tuple(item.raw_values[0] for item in labels.classes)
    rows = [
        (str(value), item.name, ", ".join(map(str, item.raw_values)))
        for value, item in zip(painted, labels.classes, strict=True)
    ]
    return ["## What it segments", "", kind, "", *table(("value in the mask", "name", "values in training"), rows)]


def _expects(model: SharedModel, plan: Plan) -> list[str]:
    item = _configuration(model, plan)
    spacing = [0.0, 0.0, 0.0]
    for position, axis in enumerate(plan.transpose):
        spacing[axis] = item.spacing_mm[position]
    rows = [
        (f"{channel:04d}", name, plan.normalisation[channel].scheme) for channel, name in enumerate(plan.modalities)
    ]
    return [
        "## What it expects",
        "",
        f"Files `<case>_<channel>{model.file_ending}`, one per modality; intensities as the scanner gives them.",
        "",
        *table(("channel", "modality", "normalised by"), rows),
        "",
        f"- Grid: any; it is resampled to {_mm(spacing)} (z, y, x), and the mask comes on the grid of "
        f"{plan.modalities[plan.reference]}.",
        f"- Modalities on grids of their own: {_registered(plan)}",
        f"- Without a modality: {_absent(item.network)}",
    ]


def _configuration(model: SharedModel, plan: Plan) -> Configuration:
    return plan.named(next(member.configuration for member in model.members if not member.earlier))


def _registered(plan: Plan) -> str:
    if len(plan.modalities) == 1:
        return "there is one only."
    if plan.registration is not None:
        return "registered rigidly onto the reference first."
    return "resampled; they must show the same place."


def _absent(network: NetworkPlan) -> str:
    if network.modality_dropout > 0:
        return f"trained for that, with modalities dropped at a rate of {network.modality_dropout:g}."
    if network.topology in EACH_ALONE:
        return "possible, since each modality has an answer of its own."
    return "no; every modality must be there."


def _how_to_use(model: SharedModel, *, graphs: bool) -> list[str]:
    if graphs:
        return [
            "## How to use it",
            "",
            "Each `.onnx` file is one network; a tile goes in, logits come out. `contract.json` says what to do before "
            "and after, in numbers and in words: without that, masks are wrong and nothing tells.",
        ]
    return [
        "## How to use it",
        "",
        "```bash",
        f"autofuse import {model.name}.autofuse.zip",
        f"autofuse predict {model.name} -i folder_of_images -o masks",
        "```",
    ]


def _trained_on(model: SharedModel, data: DataSummary | None) -> list[str]:
    last = [member for member in model.members if not member.earlier]
    counts = ", ".join(f"fold {item.fold}: {item.labelled} labelled + {item.unlabelled} not" for item in last)
    lines = ["## What it was trained on", "", f"- Cases that trained it: {counts}"]
    if data is None:
        return [*lines, "- Nothing else is known of the data."]
    kinds = ", ".join(f"{count} {_SUPERVISION.get(kind, kind)}" for kind, count in data.annotation.items())
    rates = zip(data.modalities, data.missing_rates, strict=True)
    missing = ", ".join(f"{name} {rate:.0%}" for name, rate in rates if rate)
    rows = [
        (axis, _range(spacing, ".3g"), _range(shape, ".0f"))
        for axis, spacing, shape in zip(AXES, data.spacing_mm, data.shape, strict=True)
    ]
    classes = [(item.name, str(item.cases), f"{item.volume_ml_median:.3g}") for item in data.classes]
    return [
        *lines,
        f"- The whole data set: {data.cases} cases of {data.subjects} subjects",
        f"- Supervision: {kinds}",
        f"- Cases that lack a modality: {missing or 'none'}",
        "",
        *table(("axis", "spacing in mm (least, median, largest)", "voxels (least, median, largest)"), rows),
        "",
        *table(("class", "cases that have it", "median volume in ml"), classes),
    ]


def _scored(scores: HeldOutScores | None) -> list[str]:
    head = ["## How good it was", ""]
    if scores is None:
        return [*head, "No held-out case was scored: how good it is, is not known."]
    rows = [
        (item.name, *(_statistic(item.statistics.get(key, Statistic(n=0))) for key, _ in _SCORES), str(item.n_missed))
        for item in scores.classes
    ]
    return [
        *head,
        f"On {scores.cases} cases of {scores.subjects} subjects that had not trained the fold which segmented them; "
        "mean [95 % bootstrap interval]:",
        "",
        *table(("class", *(title for _, title in _SCORES), "missed in"), rows),
        "",
        "Each fold was scored by itself. Averaged folds, as prediction uses them, can only be scored on new cases.",
    ]


def _limits(model: SharedModel, data: DataSummary | None) -> list[str]:
    few = model.scores is None or model.scores.cases < 20
    lines = [
        "## Limits",
        "",
        "- It was judged on cases of the data set that it comes from, if at all. Scanners, protocols, diseases and age "
        "groups that are not in there were not tried.",
        "- It is no medical device. Whoever uses it for patients is responsible for validating it.",
    ]
    if few:
        lines.append("- Few or no cases were held out: the scores above say little.")
    if data is not None and max(data.missing_rates, default=0) > 0:
        lines.append("- Some training cases lacked a modality; scores are over all of them.")
    return lines


def _made_of(model: SharedModel, *, graphs: bool) -> list[str]:
    where = "contract.json" if graphs else "manifest.json"
    rows = [
        (
            item.run,
            str(item.fold),
            item.configuration,
            item.trainer,
            item.topology,
            "first stage" if item.earlier else "",
        )
        for item in model.members
    ]
    return [
        "## What it is made of",
        "",
        *table(("run", "fold", "configuration", "trainer", "topology", ""), rows),
        "",
        f"autofuse {model.autofuse_version}, torch {model.torch_version}. `{where}` holds the SHA-256 of every file.",
    ]


def _statistic(value: Statistic) -> str:
    if value.mean is None:
        return "-"
    interval = "" if value.low is None or value.high is None else f" [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.mean:.3f}{interval} (n = {value.n})"


def _range(values: Range, form: str) -> str:
    return ", ".join(format(value, form) for value in values)


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in spacing) + " mm"
