"""Options that several verbs take."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction

from autofuse.cli import quantities


def everywhere(parser: ArgumentParser) -> None:
    """What every verb takes."""
    group = parser.add_argument_group("everywhere")
    group.add_argument("--json", action="store_true", help="print one JSON object on stdout, and nothing else there")
    group.add_argument("--quiet", "-q", action="store_true", help="say nothing on the way")
    group.add_argument("--debug", action="store_true", help="print tracebacks too (they always go to log.txt)")


def dataset(parser: ArgumentParser, *, needed: bool = True) -> None:
    """The data set, by position or as nnU-Net writes it."""
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        nargs="?",
        help="folder of the data set: nnU-Net's raw layout, a Decathlon Task folder, or one with a cases.csv"
        + ("" if needed else " (optional)"),
    )
    parser.add_argument("-d", dest="dataset_option", metavar="DATASET", help="the same, as nnU-Net writes it")
    parser.set_defaults(dataset_needed=needed)


def workspace(parser: ArgumentParser) -> None:
    """Where everything that is made goes."""
    parser.add_argument(
        "--workspace", metavar="DIR", help="where everything that is made goes (default: ./autofuse_workspace)"
    )


def workers(parser: ArgumentParser) -> None:
    """Processes for work on cases."""
    parser.add_argument(
        "--workers",
        type=quantities.whole,
        metavar="N",
        help="processes for work on cases; 0 for none (default: decided)",
    )


def device(parser: ArgumentParser) -> None:
    """Where to compute."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)"
    )


def memory(parser: ArgumentParser) -> None:
    """The memory dial, under both its names."""
    dial = parser.add_mutually_exclusive_group()
    dial.add_argument(
        "--memory",
        type=quantities.memory_gib,
        metavar="AMOUNT",
        help="memory that training may use, such as 8GiB: RAM, or the GPU's own where there is one",
    )
    dial.add_argument(
        "--vram",
        type=quantities.memory_gib,
        metavar="AMOUNT",
        help="the same for a GPU, such as 11GiB; refused where training computes on the CPU",
    )


def dials(parser: ArgumentParser, minutes: str) -> None:
    """Memory, time, and what is wished of a plan; ``minutes`` says what the time is for."""
    memory(parser)
    parser.add_argument("--minutes", type=quantities.minutes, metavar="N", help=minutes)
    parser.add_argument("--planner", metavar="NAME", help="who decides: a registered planner (default: default)")
    parser.add_argument(
        "--expect-missing",
        action=BooleanOptionalAction,
        default=None,
        help="plan for cases that lack a modality, though training cases have them all",
    )
    parser.add_argument(
        "--want-fused",
        action=BooleanOptionalAction,
        default=None,
        help="make a fused image that a person can read, where modalities lie on each other",
    )
    parser.add_argument(
        "--topology",
        metavar="NAME",
        help="how modalities meet, whatever the rules say: early, stems, specific_shared, per_modality, image_level, "
        "shared_kernels or late; auto lets the rules decide again",
    )


def method(parser: ArgumentParser) -> None:
    """What is to be trained."""
    parser.add_argument("-c", "--configuration", metavar="NAME", help="configuration of the plan (default: its choice)")
    parser.add_argument("-t", "--trainer", metavar="NAME", help="registered trainer (default: the plan's choice)")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a hyper-parameter of the trainer; may be repeated",
    )
    parser.add_argument("--steps", type=quantities.count, metavar="N", help="length of training one fold, in steps")
    parser.add_argument(
        "--seed", type=quantities.whole, default=12345, metavar="N", help="of every random draw (default: 12345)"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="what the network computes in (default: what suits the device)",
    )
    parser.add_argument(
        "--gpus",
        type=quantities.count,
        default=1,
        metavar="N",
        help="GPUs that train one model together; with --device cpu, processes that share the CPU (default: 1)",
    )


def pilot(parser: ArgumentParser, whole: str) -> None:
    """Whether challengers are tried; ``whole`` says of what the time for that is a tenth."""
    group = parser.add_argument_group("the arbiter")
    group.add_argument(
        "--pilot",
        action="store_true",
        help="try the plan's challengers briefly; one replaces the default if it is better beyond chance",
    )
    group.add_argument(
        "--pilot-minutes", type=quantities.minutes, metavar="N", help=f"time for that (default: a tenth of {whole})"
    )


def case_work(parser: ArgumentParser) -> None:
    """Data set, workspace and workers."""
    dataset(parser)
    workspace(parser)
    workers(parser)
