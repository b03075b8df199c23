"""sbatch scripts that a person can read, change and submit: one for each array, and one that submits them all.

submit.sh          submits the arrays in order, and writes their jobs down in jobs.txt
<array>.sbatch     what a job of the array does
jobs.txt           "<array> <job>", a line for each array, once they are submitted
messages/          what SLURM itself says of each job; what the unit says stands in units/logs/<unit>.txt
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from autofuse.foundation.errors import UsageError
from autofuse.units.executor import Job
from autofuse.units.patience import patient_command
from autofuse.units.slurm.arrays import Array
from autofuse.units.slurm.settings import AT_ONCE, Settings

SUBMIT_FILE, JOBS_FILE, MESSAGES = "submit.sh", "jobs.txt", "messages"
SECONDS_TO_SAVE = 120
"""Before the end of a job's time, for the unit to save its state."""
MOST_RESTARTS = 200
_MIB_PER_GIB = 1024

_BODY = """
# SLURM takes a job away (scancel, pre-emption, requeue) by sending TERM to each of its processes. autofuse saves its
# state and ends; this shell has to wait for that. A pre-empted job is queued again by SLURM and goes on from there.
again=
trap 'again=yes' TERM
# When the time is nearly over, USR1 comes, to this shell alone: have the state saved, and queue the job again.
time_over=
trap 'again=yes; time_over=yes; kill -TERM "$unit_process" 2>/dev/null' USR1

export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-1}}}}"
{command} >>"$log" 2>&1 &
unit_process=$!
while :; do
  again=
  wait "$unit_process"
  code=$?
  [ -n "$again" ] || break
done

if [ -n "$time_over" ] && [ "$code" -eq 143 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most_restarts} ]; then
  echo "$unit: the time is over, the state is saved; queued again."
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""

_SUBMIT = """\
#!/bin/bash
# Submits {units} units of {dataset} as {arrays} arrays of jobs, each after what it stands on.
# Nothing is submitted twice: where {jobs} is there, this was done.
set -eu
cd "$(dirname "$0")"
if [ -e {jobs} ]; then
  echo "These jobs have been submitted already: see $PWD/{jobs}" >&2
  exit 5
fi
mkdir -p {messages} {logs}

# Either all are submitted, or none stays.
: >{jobs}
undo() {{
  while read -r _ job; do scancel "$job"; done <{jobs}
  rm -f {jobs}
}}
trap 'code=$?; [ "$code" -eq 0 ] || undo; exit "$code"' EXIT

submit() {{ # name of the array, options of sbatch
  local name="$1" job
  shift
  job=$(sbatch --parsable "$@" "$name.sbatch")
  job="${{job%%;*}}"
  echo "$name $job" >>{jobs}
  printf -v "job_${{name//-/_}}" %s "$job"
}}

"""


def script(job: Job, array: Array, settings: Settings, folder: Path, *, again: bool = False) -> str:
    """What one job of ``array`` does, as text; ``folder`` holds the scripts.

    Args:
        again: do units even where they are done.
    """
    options = "".join(f"#SBATCH --{line}\n" for line in _options(job, array, settings, folder))
    cases = "".join(f"  {number}) unit={shlex.quote(unit.name)} ;;\n" for number, unit in sorted(array.units.items()))
    logs = shlex.quote(str(job.ledger.log_file("x").absolute().parent))
    setup = f"\n{settings.setup}\n" if settings.setup else ""
    of = _one_line(job.workspace.dataset)
    return (
        f"#!/bin/bash\n# autofuse: {array.name}, {len(array.units)} units of {of}.\n{options}{setup}\n"
        f'case "$SLURM_ARRAY_TASK_ID" in\n{cases}esac\n'
        f'log={logs}/"$unit".txt\n' + _BODY.format(command=_command(job, array, again), most_restarts=MOST_RESTARTS)
    )


def _options(job: Job, array: Array, settings: Settings, folder: Path) -> list[str]:
    asked = settings.of_kind(array.kind)
    at_once = asked.pop(AT_ONCE, None)
    numbers = _ranges(sorted(array.units)) + (f"%{at_once}" if at_once else "")
    own = {
        "job-name": f"autofuse-{array.name}",
        "array": numbers,
        "chdir": str(Path.cwd()),
        "output": str(folder.absolute()).replace("%", "%%") + f"/{MESSAGES}/{array.name}.%a.txt",
        "open-mode": "append",
        "requeue": None,
        "signal": f"B:USR1@{SECONDS_TO_SAVE}",
        "kill-on-invalid-dep": "yes",
    }
    needs = array.needs
    wanted: dict[str, str] = {}
    if needs.processors is not None:
        wanted["cpus-per-task"] = str(needs.processors)
    if needs.memory_gib is not None:
        wanted["mem"] = f"{max(1, round(needs.memory_gib * _MIB_PER_GIB))}M"
    if needs.gpus and "gpus" not in asked:
        wanted["gres"] = f"gpu:{needs.gpus}"
    merged = own | wanted | asked
    return [name if value is None else f"{name}={_quoted(value)}" for name, value in merged.items()]


def _quoted(value: str) -> str:
    # sbatch reads these lines itself; it understands double quotes, and no shell looks into them.
    if any(letter in "\"\\'" or not letter.isprintable() for letter in value):
        raise UsageError(
            "SLURM's scripts cannot hold a path with quotes, backslashes or control characters.",
            found=repr(value),
            remedy="Work in another folder, and name another --workspace.",
        )
    return f'"{value}"' if " " in value else value


def _one_line(text: str) -> str:
    """``text`` for a comment, which nothing in it can end."""
    return " ".join(text.split())


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers as SLURM writes them: 0-3,5."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _command(job: Job, array: Array, again: bool) -> str:
    """The command of a unit, its name left to the shell."""
    unit = next(iter(array.units.values()))
    words = (*patient_command(job, unit), *(["--again"] if again else []))
    return " ".join('"$unit"' if word == unit.name else shlex.quote(word) for word in words)


def submit_script(job: Job, arrays: Sequence[Array]) -> str:
    """What submits ``arrays``, as text."""
    head = _SUBMIT.format(
        units=sum(len(array.units) for array in arrays),
        dataset=_one_line(job.workspace.dataset),
        arrays=len(arrays),
        jobs=JOBS_FILE,
        messages=MESSAGES,
        logs=shlex.quote(str(job.ledger.log_file("x").absolute().parent)),
    )
    return head + "".join(f"submit {array.name}{_dependency(array)}\n" for array in arrays)


def _dependency(array: Array) -> str:
    conditions = [f"afterok:{_variable(name)}" for name in array.after]
    conditions += [f"afterok:{_variable(name)}_{number}" for name, number in array.after_some]
    conditions += [f"afterok:{job}" for job in array.after_jobs]
    if array.after_same is not None:
        conditions.append(f"aftercorr:{_variable(array.after_same)}")
    return f' --dependency="{",".join(conditions)}"' if conditions else ""


def _variable(name: str) -> str:
    return f"${{job_{name.replace('-', '_')}}}"
