"""What `autofuse doctor` does and shows."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from autofuse.cli.answers import Answer, answer

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

    from autofuse.road import Diagnosis


def doctor_answer(options: Namespace) -> Answer:
    """The diagnosis; warnings are no failure."""
    from autofuse import road

    seen = road.diagnose(options.workspace, device=options.device)
    return answer(seen, lambda: _shown(seen))


def _shown(seen: Diagnosis) -> Group:
    """Facts, convolutions, what a step needs beside what arrives, findings, and options to paste."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [
        _facts(seen),
        Text(),
        _convolutions(seen),
        Text(),
        _supply(seen),
        Text(),
        *_findings(seen),
    ]
    return Group(*parts, *_advice(seen), Text(f"\nMeasured in {seen.seconds:.0f} s.", style="dim"))


def _facts(seen: Diagnosis) -> Text:
    from autofuse.cli.tables import where

    machine = seen.machine
    limit = "" if machine.limit_gib is None else f", the container may have {machine.limit_gib:g}"
    cuda = "without CUDA" if machine.cuda is None else f"for CUDA {machine.cuda}, cuDNN {machine.cudnn or 'none'}"
    rows = {
        "system": f"{machine.system}, Python {machine.python}",
        "processor": f"{machine.processor}, {machine.threads} of {machine.processors} usable",
        "memory": f"{machine.available_gib:g} of {machine.memory_gib:g} GiB free{limit}; swap {machine.swap_gib:g} GiB",
        "GPU": "; ".join(
            f"{gpu.name}, {gpu.free_gib:g} of {gpu.memory_gib:g} GiB free, capability {gpu.capability}"
            for gpu in machine.gpus
        )
        or "none that torch can use",
        "torch": f"{machine.packages.get('torch', 'unknown')}, {cuda}"
        + ("" if machine.driver is None else f", driver {machine.driver}"),
        "packages": ", ".join(f"{name} {number}" for name, number in machine.packages.items() if name != "torch"),
    }
    return where(rows)


def _convolutions(seen: Diagnosis) -> Table:
    from rich.table import Table

    title = f"Conv3d, forward and backward, on the {'GPU' if seen.device == 'cuda' else 'CPU'}"
    table = Table(title=title, title_justify="left")
    for column in ("precision", "layout", "ms", "GFLOP/s", "ms with norm", ""):
        table.add_column(column, justify="right" if column[:2] in ("ms", "GF") else "left")
    for rate in seen.convolutions:
        remark = rate.problem or ("" if rate.native else "emulated")
        numbers = (rate.milliseconds, rate.gflops_per_s, rate.block_milliseconds)
        shown = ("" if number is None else f"{number:.3g}" for number in numbers)
        table.add_row(rate.precision, rate.layout, *shown, remark)
    return table


def _supply(seen: Diagnosis) -> Text:
    """The disk and the crops beside what a step needs."""
    from autofuse.cli.tables import where

    disk, step = seen.disk, seen.step
    rates = ""
    if disk.write_mib_per_s is not None and disk.read_mib_per_s is not None:
        rates = f", written at {disk.write_mib_per_s:.0f} and read at {disk.read_mib_per_s:.0f} MiB/s"
    rows = {"disk": f"{disk.folder} ({disk.kind}), {disk.free_gib:.1f} GiB free{rates}"}
    if seen.crops:
        arriving = (f"{rate.crops_per_s:.3g} a second by {rate.readers}" for rate in seen.crops)
        rows["crops"] = ", ".join(arriving) + (" reader" if len(seen.crops) == 1 else " readers")
    if step is not None:
        rows["a step"] = f"{step.milliseconds:.3g} ms in {step.precision} ({step.network})"
        rows["it needs"] = (
            f"{step.crops} crops, augmented in {step.augmentation_milliseconds:.3g} ms; {step.readers} "
            f"{'reader suffices' if step.readers == 1 else 'readers are best'}"
        )
    return where(rows)


def _findings(seen: Diagnosis) -> list[Text]:
    from rich.text import Text

    if not seen.findings:
        return [Text("Nothing is wrong with this machine.", style="green")]
    lines = []
    for finding in seen.findings:
        warning = finding.weight == "warning"
        line = Text("warning  " if warning else "note     ", style="yellow bold" if warning else "dim")
        line.append(f"{finding.about}: {finding.what}", style="not bold" if warning else "not dim")
        lines.append(line)
        if finding.remedy is not None:
            lines.append(Text(f"         {finding.remedy}", style="cyan"))
    return lines


def _advice(seen: Diagnosis) -> list[Text]:
    from rich.text import Text

    if seen.advice is None:
        return []
    reasons = [Text(f"  {option:<12}{reason}") for option, reason in seen.advice.reasons.items()]
    return [Text(f"\nautofuse run DATASET {seen.advice.options}", style="bold", no_wrap=True), *reasons]
