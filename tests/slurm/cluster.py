"""A SLURM cluster in a folder: munge, a controller and a node, with a key, ports and files of their own.

python -m tests.slurm.cluster FOLDER     start one, say how to use it, and stop it at Ctrl-C

It needs no rights, touches no other SLURM of the machine, and leaves nothing running.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
PACKAGES = "munge slurmctld slurmd slurm-client"
SEARCH_PATH = os.pathsep.join([str(Path(__file__).parent / "commands"), os.environ["PATH"], "/usr/sbin"])
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
# A requeued job waits until its credential has expired: by default for two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
JobRequeue=1
KillWait=20
# For how many seconds a job that has ended can be asked for.
MinJobAge=3600
ReturnToService=2
# Four processors, whatever the machine has.
SlurmdParameters=config_overrides
NodeName={node} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
"""


def missing() -> str | None:
    """Why there can be no cluster here, in a sentence; None if there can."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None]
    return f"there is no {', '.join(lacking)} here: apt-get install {PACKAGES}" if lacking else None


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Args:
        node: The name of its one node, of four processors.
        environment: In which SLURM's commands talk to it.
    """

    node: str
    environment: dict[str, str]

    def run(self, *command: str, folder: Path | None = None) -> str:
        """What a command prints, run in a folder.

        Raises:
            subprocess.CalledProcessError: If it fails.
        """
        return subprocess.run(
            command, env=self.environment, cwd=folder, text=True, check=True, stdout=subprocess.PIPE
        ).stdout.strip()

    def state(self, job: str) -> str:
        """The state of a job, such as RUNNING."""
        return self.field(job, "JobState")

    def field(self, job: str, name: str) -> str:
        """What `scontrol show job` says of a job under a name."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return next(word for word in words if word.startswith(f"{name}=")).partition("=")[2]

    def wait(self, job: str, *states: str, seconds: float = 300) -> str:
        """Wait until a job is in one of the states, and say in which."""
        wait_until(lambda: self.state(job) in states, f"job {job} did not become {' or '.join(states)}", seconds)
        return self.state(job)

    @contextmanager
    def drained(self) -> Iterator[None]:
        """Let the node take no new jobs inside the `with`."""
        node = ["scontrol", "update", f"nodename={self.node}"]
        self.run(*node, "state=drain", "reason=test")
        try:
            yield
        finally:
            self.run(*node, "state=resume")


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that runs inside the `with`.

    Raises:
        TimeoutError: If a daemon does not come up; the folder holds its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # munged insists that everybody can reach its socket
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    node = socket.gethostname().partition(".")[0]
    configuration = folder / "slurm.conf"
    ports = dict(zip(("controller_port", "node_port"), free_ports(2), strict=True))
    configuration.write_text(CONFIGURATION.format(node=node, user=getuser(), folder=folder, **ports))
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    running = Cluster(node, {**outside, "PATH": SEARCH_PATH, "SLURM_CONF": str(configuration)})
    munge_files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    with ExitStack() as daemons:

        def start(*command: str) -> None:
            with (folder / f"{command[0]}.out").open("w") as log:
                process = subprocess.Popen(command, env=running.environment, stdout=log, stderr=log)
            daemons.callback(process.wait)
            daemons.callback(process.terminate)

        start("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge_files)
        wait_until((folder / "munge.socket").exists, f"munged did not start; see {folder}", 10)
        start("slurmctld", "-D", "-f", str(configuration))
        start("slurmd", "-D", "-f", str(configuration), "-N", node)
        wait_until(lambda: "idle" in nodes(running), f"the node did not come up; see {folder}", 60)
        daemons.callback(end_jobs, running, folder / "spool")
        yield running


def nodes(running: Cluster) -> str:
    """The state of the node; nothing while the controller does not answer."""
    command = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(command, env=running.environment, capture_output=True, text=True, check=False).stdout


def end_jobs(running: Cluster, spool: Path) -> None:
    """Cancel what still runs: it outlives the daemons, as does each step's keeper, who has a socket in `spool`."""
    subprocess.run(["scancel", f"--user={getuser()}"], env=running.environment, check=False)
    steps = f"{running.node}_*"
    wait_until(lambda: not running.run("squeue", "--noheader") and not list(spool.glob(steps)), "jobs did not end", 60)


def wait_until(happened: Callable[[], bool], complaint: str, seconds: float) -> None:
    """Look five times a second whether something has happened.

    Raises:
        TimeoutError: With the complaint, if it has not after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{complaint} within {seconds:.0f} s")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in bound]


def main() -> None:
    """The command line."""
    if len(sys.argv) != 2 or (why := missing()):
        sys.exit(why if len(sys.argv) == 2 else "usage: python -m tests.slurm.cluster FOLDER")
    with cluster(Path(sys.argv[1]).resolve()) as running:
        print(f"export SLURM_CONF={running.environment['SLURM_CONF']} PATH={SEARCH_PATH.split(os.pathsep)[0]}:$PATH")
        try:
            input("then sbatch; Enter stops the cluster\n")
        except (EOFError, KeyboardInterrupt):
            print()


if __name__ == "__main__":
    main()
