"""The verbs that deal with work units: see ``autofuse.cli.verbs``."""

from __future__ import annotations

from autofuse.cli.verb import Verb

UNIT_VERBS: tuple[Verb, ...] = (
    Verb(
        "worker",
        "take work units of a run, together with other workers",
        "Takes units of a run one after another (or --jobs at once), each as soon as those that it stands on are done, "
        "and ends when none is left. Any number of workers, on any machines that see the workspace, work together: "
        "each unit is claimed, and what a dead worker held is taken over. What there is to do is what was asked for "
        "before in this workspace, or what the options say, which are those of `autofuse run`; workers that start "
        "together on a fresh data set need nobody before them. Images are looked at again by `autofuse run` only.",
        (
            ("autofuse worker Dataset104_Hippocampus --folds all", "on each of several machines"),
            ("autofuse worker Dataset104_Hippocampus --folds all --shard 2/4", "the second of four shares"),
        ),
    ),
    Verb(
        "status",
        "show which work units run, are done, wait or failed",
        "Shows for each unit of a run that was divided whether it is done, runs (where, since when, how far), waits, "
        "or failed (why, and the command that tries it again). Reads the workspace only, from any machine that sees "
        "it, and disturbs nobody.",
        (
            ("autofuse status Dataset104_Hippocampus", "all units"),
            ("autofuse status Dataset104_Hippocampus --only failed --json", "for a program"),
        ),
    ),
    Verb(
        "unit",
        "do one work unit of a run: what `run --executor` starts",
        "Does one piece of a run that was divided into work units: prepares a share of the cases, trains one fold with "
        "one trainer, scores it, predicts a share of the test cases. `autofuse run --executor` and `autofuse worker` "
        "start these commands by themselves; `autofuse status` names the units. A unit that is done is found done; one "
        "that stands on others says which are missing; one that another process is at is refused with exit code 5. "
        "Stopped at any moment, the same command goes on.",
        (("autofuse unit Dataset104_Hippocampus train.planned.fold_2", "fold 2, trained"),),
    ),
)
