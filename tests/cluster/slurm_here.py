"""A real SLURM on this machine, in a folder of its own: munged, slurmctld and two virtual nodes, without systemd.

Run by hand, as root on Debian or Ubuntu, it starts one, says which environment leads to it, and stops it on Ctrl-C:

    python tests/cluster/slurm_here.py [FOLDER]

The packages are installed where they are missing. Nothing of an installed SLURM's own configuration is read or changed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
NODES = ("n1", "n2")
INSTALL_S, START_S, END_S = 600.0, 90.0, 45.0

_SLURM_CONF = """\
ClusterName=autofuse_tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
KillWait=30
MinJobAge=300
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


class NoSlurmError(Exception):
    """A SLURM cannot be had here; the message says why."""


def require_slurm() -> None:
    """Nothing, if SLURM's programs are here; they are installed where that is possible.

    Raises:
        NoSlurmError: if they are not, and cannot be.
    """
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if not sys.platform.startswith("linux"):
        raise NoSlurmError("SLURM runs on Linux only")
    if os.geteuid() != 0:
        raise NoSlurmError("starting SLURM's daemons needs root")
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise NoSlurmError(f"{', '.join(missing)} not found, and no apt-get to install them")
    done = _install()
    if any(shutil.which(name, path=_path()) is None for name in missing):
        raise NoSlurmError(f"apt-get install {' '.join(PACKAGES)} did not succeed: {done[-400:]}")


def _install() -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    told = ""
    for arguments in (["update"], ["install", "-y", "-q", "--no-install-recommends", *PACKAGES]):
        try:
            done = subprocess.run(
                ["apt-get", *arguments], env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"apt-get {arguments[0]} took more than {INSTALL_S:.0f} s"
        told = done.stdout + done.stderr
    return told


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """A running SLURM for the length of the block; yields the environment in which ``sbatch`` and the like find it.

    Raises:
        NoSlurmError: if it cannot be had here.
    """
    require_slurm()
    write_configuration(folder)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        _start(folder, environment, daemons)
        yield environment
    finally:
        _stop(folder, environment, daemons)


def write_configuration(folder: Path) -> None:
    """slurm.conf, gres.conf, cgroup.conf and munge's key in ``folder``: free ports, two nodes, four fake GPUs."""
    for name in ("munge", "state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(0o755)
    host = socket.gethostname().split(".")[0]
    controller_port, *ports = _free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
        "CPUs=2 RealMemory=10000 Gres=gpu:2 State=UNKNOWN"
        for node, port in zip(NODES, ports, strict=True)
    )
    text = _SLURM_CONF.format(host=host, folder=folder, controller_port=controller_port, nodes=nodes)
    (folder / "slurm.conf").write_text(text)
    terminals = {node: f"/dev/tty[{2 * index}-{2 * index + 1}]" for index, node in enumerate(NODES)}
    lines = [f"NodeName={node} Name=gpu File={files}\n" for node, files in terminals.items()]
    (folder / "gres.conf").write_text("".join(lines))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    key = folder / "munge" / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)


def _start(folder: Path, environment: dict[str, str], daemons: list[subprocess.Popen[bytes]]) -> None:
    munge = folder / "munge"
    commands = [
        [
            *("munged", "--foreground", "--force", "--num-threads=2"),
            *(f"--key-file={munge}/munge.key", f"--socket={munge}/munge.socket"),
            *(f"--pid-file={munge}/munged.pid", f"--log-file={munge}/munged.log", f"--seed-file={munge}/munged.seed"),
        ],
        ["slurmctld", "-D", "-i", "-c"],
        *(["slurmd", "-D", "-N", node] for node in NODES),
    ]
    for command in commands:
        log = (folder / f"{command[0]}.out").open("ab")
        daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        if command[0] == "munged":
            _wait_for(lambda: (munge / "munge.socket").exists(), daemons, folder)
    _wait_for(lambda: _idle(environment) == len(NODES), daemons, folder)


def _wait_for(ready, daemons: list[subprocess.Popen[bytes]], folder: Path) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + START_S
    while not ready():
        ended = [daemon.args for daemon in daemons if daemon.poll() is not None]
        if ended or time.monotonic() > deadline:
            raise NoSlurmError(f"SLURM did not start ({ended or 'time is up'}): {_last_words(folder)}")
        time.sleep(0.2)


def _idle(environment: dict[str, str]) -> int:
    asked = ["sinfo", "--noheader", "--Node", "--partition=work", "--format=%T"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.split().count("idle")


def _last_words(folder: Path) -> str:
    logs = sorted(folder.glob("*.log")) + sorted(folder.glob("*.out")) + [folder / "munge" / "munged.log"]
    return " | ".join(f"{log.name}: {log.read_text(errors='replace')[-300:]}" for log in logs if log.exists())


def _stop(folder: Path, environment: dict[str, str], daemons: list[subprocess.Popen[bytes]]) -> None:
    """End jobs first, then the daemons in the opposite order; whatever does not listen is killed."""
    if len(daemons) == 2 + len(NODES):
        for how in ([], ["--signal=KILL", "--full"]):
            command = ["scancel", *how, "--user=root"]
            subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
            _wait_for_jobs(environment, END_S)
    for daemon in reversed(daemons):
        if daemon.poll() is None:
            daemon.send_signal(signal.SIGTERM)
    for daemon in daemons:
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _wait_for_jobs(environment: dict[str, str], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    asked = ["squeue", "--noheader", "--states=RUNNING,COMPLETING"]
    while time.monotonic() < deadline:
        if not subprocess.run(asked, env=environment, capture_output=True, timeout=60, check=False).stdout.strip():
            return
        time.sleep(0.3)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]
    finally:
        for item in sockets:
            item.close()


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def main() -> None:
    """Start, tell, wait for Ctrl-C, stop."""
    folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="slurm-"))
    with slurm(folder):
        sys.stdout.write(f"SLURM is up. In another shell: export SLURM_CONF={folder}/slurm.conf\nCtrl-C stops it.\n")
        sys.stdout.flush()
        try:
            signal.pause()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
