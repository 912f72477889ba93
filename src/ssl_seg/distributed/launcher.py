"""The number of processes started together, from the environment variables of their launcher.

`torchrun`, `accelerate launch` and Ray set `WORLD_SIZE`; `srun` and MPI have other names. This module
imports nothing heavy, as every command uses it.
"""

import os
import re
from collections.abc import Mapping, MutableMapping

_COUNTS = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def world_size_from_env(environment: Mapping[str, str] = os.environ) -> int:
    """The number of processes, including this one."""
    for name in _COUNTS:
        if environment.get(name, "").isdecimal():
            return max(1, int(environment[name]))
    return 1


def set_env_from_slurm(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables of `torchrun` from those of `srun`, unless a launcher has set them.

    The main address is the first machine of the job step; the port is derived from the job's number, so
    that two jobs on one machine use different ones.
    """
    if (
        "WORLD_SIZE" in environment
        or world_size_from_env(environment) == 1
        or "SLURM_PROCID" not in environment
    ):
        return
    number = int(environment.get("SLURM_JOB_ID", "0")) + int(environment.get("SLURM_STEP_ID", "0"))
    local = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    variables = {
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "LOCAL_WORLD_SIZE": local[0] if local else "1",
        "MASTER_ADDR": first_slurm_host(environment.get("SLURM_STEP_NODELIST", "")) or "127.0.0.1",
        "MASTER_PORT": str(15000 + number % 15000),
    }
    for name, value in variables.items():
        environment.setdefault(name, value)


def first_slurm_host(nodes: str) -> str:
    """The first machine in SLURM's node list: `gpu[003-006,9]-ib,login1` -> `gpu003-ib`."""
    match = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else ""
