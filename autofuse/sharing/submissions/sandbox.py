"""A program started as in a container, without Docker: in namespaces of the kernel's, or at least under a guard.

With the rights for it (root on Linux), the program gets a root folder of its own: system folders and Python read-only,
``/opt/app``, ``/input`` read-only, ``/output`` and an empty ``/tmp`` writable, a user without rights, no network device
but an unconnected loop-back, no other process in sight. Without, it runs where it is, on copies, and the guard refuses
from inside Python what a container would refuse; ``Sandbox.facts`` says which.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autofuse.sharing.submissions import rehearsal_guard
from autofuse.sharing.submissions.texts import APP, ENVIRONMENT

NOBODY = 65534
"""User and group without rights, as every Linux has them."""
_TOOLS = ("unshare", "mount", "chroot", "sh", "env")
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "etc", "sys")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_SITE, _VENV = "/opt/site", "/opt/venv"
_PROBE_LIMIT_S = 60.0
_PASSED_ON = ("OMP_NUM_THREADS",)
EMPTY_PROGRAM = "empty_program.py"
"""In ``Stage.app``, for trying whether a kind of sandbox works here."""


@dataclass(frozen=True)
class Stage:
    """Folders of one start.

    Attributes:
        app: with the entry point, the interface and the model; site: with the code that it imports.
        inside: with ``input``, ``output`` and ``tmp``.
        root: where the program's root folder is made.
    """

    app: Path
    site: Path
    inside: Path
    root: Path


@dataclass(frozen=True)
class Sandbox:
    """How programs are started.

    Attributes:
        isolated: whether in namespaces.
        user: number of the user that they run as; None for whoever rehearses.
    """

    isolated: bool
    user: int | None

    @property
    def facts(self) -> tuple[str, ...]:
        """What of a container is there, and what is not, in words."""
        if self.isolated:
            return (
                f"user {NOBODY}, without rights",
                "no network (a network namespace of its own)",
                "everything read-only but /output and an empty /tmp (a mount namespace of its own)",
            )
        who = "not as another user" if self.user is None else f"user {self.user}, without rights"
        why = "" if self.user is not None else " (that needs root, and a Python that the other user may read)"
        return (
            who + why,
            "sockets are refused inside the program's own Python only (no namespaces here)",
            "writes elsewhere are refused inside the program's own Python only (no namespaces here)",
        )

    def start(self, stage: Stage, program: Sequence[str], notes: int, output: int) -> subprocess.Popen[bytes]:
        """Start ``python PROGRAM``; ``notes`` and ``output``: descriptors for the guard's notes and what is printed."""
        for folder in ("output", "tmp"):
            (stage.inside / folder).mkdir(exist_ok=True)
            if self.user is not None:
                os.chown(stage.inside / folder, self.user, self.user)
        common = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, "start_new_session": True}
        if self.isolated:
            command = ["unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "sh", "-c"]
            command.append(_script(stage, program, notes))
            return subprocess.Popen(command, pass_fds=(notes,), **common)  # type: ignore[call-overload,no-any-return]
        here = str(stage.inside)
        writable = f"{here}/output:{here}/tmp:/dev/null:/dev/shm"
        folders = {"HOME": f"{here}/tmp", "MPLCONFIGDIR": f"{here}/tmp", "TMPDIR": f"{here}/tmp"}
        rights = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [sys.executable, str(stage.app / program[0]), "--root", here, *program[1:]],
            env=_environment(str(stage.site), writable, notes) | folders | {"PATH": os.environ.get("PATH", "")},
            cwd=stage.app,
            pass_fds=(notes,),
            **rights,
            **common,
        )


def best_sandbox(stage: Stage) -> Sandbox:
    """The most like a container that works here; each kind is tried on an empty program."""
    root = os.geteuid() == 0
    kinds = [Sandbox(True, NOBODY), Sandbox(False, NOBODY)] if root else []
    for kind in kinds:
        if (not kind.isolated or all(map(shutil.which, _TOOLS))) and _works(kind, stage):
            return kind
    return Sandbox(False, None)


def _works(sandbox: Sandbox, stage: Stage) -> bool:
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        try:
            process = sandbox.start(stage, (EMPTY_PROGRAM,), nowhere.fileno(), nowhere.fileno())
        except OSError:  # the other user may not read this Python
            return False
        try:
            return process.wait(_PROBE_LIMIT_S) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False


def unpack_code(wheels: Sequence[Path], site: Path) -> None:
    """The code of ``wheels`` in ``site``, with the guard beside it."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    shutil.copyfile(rehearsal_guard.__file__, site / "sitecustomize.py")


def _environment(site: str, writable: str, notes: int) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    guard = {rehearsal_guard.WRITABLE: writable, rehearsal_guard.NOTES: str(notes)}
    return {**ENVIRONMENT, "PYTHONPATH": site, "LANG": "C.UTF-8", **guard, **passed_on}


def _script(stage: Stage, program: Sequence[str], notes: int) -> str:
    """Shell commands that make the root folder and start the program in it."""
    root = stage.root
    lines = ["set -e", _line("mount", "-t", "tmpfs", "-o", "mode=0755,size=16m", "root", root)]
    for name in _SYSTEM:
        source = Path("/", name)
        if source.is_symlink():
            lines.append(_line("ln", "-s", source.readlink(), root / name))
        elif source.is_dir():
            lines += _bound(source, root / name)
    lines += _devices(root)
    lines += [_line("mkdir", "-p", root / "proc"), _line("mount", "-t", "proc", "proc", root / "proc")]
    for name in ("output", "tmp"):
        lines += _bound(stage.inside / name, root / name, writable=True)
    places = {stage.inside / "input": "/input", stage.app: APP, stage.site: _SITE}
    base, prefix = Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve()
    python = str(base / "bin" / Path(sys.executable).resolve().name)
    if not base.is_relative_to("/usr"):
        places[base] = str(base)
    if prefix != base:
        places[prefix] = _VENV
        python = f"{_VENV}/bin/{Path(sys.executable).name}"
    for source, target in places.items():
        lines += _bound(source, root / target.lstrip("/"))
    lines.append(_line("mount", "-o", "remount,ro", root))
    settings = _environment(_SITE, "/output:/tmp:/dev/null:/dev/shm", notes) | {"PATH": "/usr/bin:/bin"}
    named = [f"{name}={value}" for name, value in settings.items()]
    start: list[str | Path] = [
        "chroot",
        f"--userspec={NOBODY}:{NOBODY}",
        root,
        "/usr/bin/env",
        "-i",
        "-C",
        APP,
        *named,
        python,
    ]
    lines.append("exec " + _line(*start, f"{APP}/{program[0]}", *program[1:]))
    return "\n".join(lines)


def _devices(root: Path) -> list[str]:
    lines = [_line("mkdir", "-p", root / "dev" / "shm")]
    for name in (*_DEVICES, *sorted(path.name for path in Path("/dev").glob("nvidia*") if not path.is_dir())):
        lines.append(_line("touch", root / "dev" / name))
        lines.append(_line("mount", "--bind", Path("/dev", name), root / "dev" / name))
    return [*lines, _line("mount", "-t", "tmpfs", "-o", "mode=1777", "shm", root / "dev" / "shm")]


def _bound(source: Path, target: Path, *, writable: bool = False) -> list[str]:
    lines = [_line("mkdir", "-p", target), _line("mount", "--bind", source, target)]
    return lines if writable else [*lines, _line("mount", "-o", "remount,bind,ro", target)]


def _line(*words: str | Path) -> str:
    return shlex.join(str(word) for word in words)
