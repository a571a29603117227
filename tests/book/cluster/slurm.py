"""Start and stop a real Slurm on one machine: a controller and two nodes, without accounting or control groups.

Needs root and Debian's packages ``slurm-wlm`` and ``munge``. Jobs call ``srun``, which reads ``/etc/slurm/slurm.conf``
and nothing else, so that file is written there, unless there is one that somebody else wrote.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil

MARK = "# written by tests/cluster\n"
CONF = Path("/etc/slurm/slurm.conf")
NODES = ("n1", "n2")


def settings(folder: Path) -> str:
    host = os.uname().nodename
    nodes = "".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={17000 + i} CPUs=2 RealMemory=8000\n"
        for i, name in enumerate(NODES)
    )
    return f"""{MARK}ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SlurmdTimeout=10
ReturnToService=2
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Within this context a cluster runs; everything that it started is ended after it."""

    def __init__(self, folder: Path):
        self.folder, self.started = folder, {}

    def __enter__(self) -> "Cluster":
        missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]
        if missing or os.geteuid():
            raise SystemExit("make test-cluster needs root, and from Debian: apt-get install slurm-wlm munge")
        if CONF.exists() and not CONF.read_text().startswith(MARK):
            raise SystemExit(f"{CONF} is somebody else's: this test is not for machines with a Slurm of their own.")
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        CONF.parent.mkdir(exist_ok=True)
        CONF.write_text(settings(self.folder))
        socket = Path("/run/munge/munge.socket.2")
        if not any(process.name() == "munged" for process in psutil.process_iter()):
            socket.parent.mkdir(exist_ok=True)
            shutil.chown(socket.parent, "munge", "munge")
            self.start("munged", "runuser", "-u", "munge", "--", "munged", "--foreground", "--force")
        self.start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self.start(node, "slurmd", "-D", "-N", node)
        self.wait_for(lambda: self.say("sinfo", "-h", "-o", "%T %D") == f"idle {len(NODES)}", "the nodes to be idle")
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.started.values()):
            process.terminate()
        for process in self.started.values():
            process.wait(20)
        CONF.unlink()

    def start(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.out").open("wb")
        self.started[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def say(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def wait_for(self, condition, what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(path.read_text()[-1500:] for path in self.folder.glob("*.log"))
                raise SystemExit(f"{what}: waited for {seconds} s in vain\n{logs}")
            time.sleep(0.2)

    def running_on(self, node: str) -> list[str]:
        """The ids of the jobs that run there."""
        return self.say("squeue", "-h", "-t", "RUNNING", "-w", node, "-o", "%A").split()

    def kill_node(self, node: str) -> None:
        """What a power cut does: the node's daemon and all that its jobs run are gone at once."""
        jobs = self.running_on(node)
        doomed = [psutil.Process(self.started.pop(node).pid)]
        for process in psutil.process_iter():
            line = " ".join(process.cmdline())
            if line.startswith("slurmstepd") and any(f"[{job}." in line for job in jobs):
                doomed += [process, *process.children(recursive=True)]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        doomed[0].wait()
