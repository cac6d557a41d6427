import pytest
import torch

from vxl.errors import ConfigError, LostError
from vxl.train.launch.processes import Processes, _silence, join_processes, launched_processes
from vxl.train.trainer import TrainerConfig

TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1"}
SRUN = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
}
ARRAY = {"SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "2"}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}


@pytest.mark.parametrize(
    ("environment", "group", "said"),
    [
        ({}, None, ""),
        (BATCH, None, ""),  # a job's batch script is no task
        (TORCHRUN, Processes("torchrun", 5, 8, 1, 1, 2), "launched by torchrun: 2 nodes x 4 tasks"),
        (SRUN, Processes("SLURM", 3, 4, 1, 1, 2, "7"), "launched by SLURM, job 7: 2 nodes x 2 tasks"),
        (
            SRUN | ARRAY,
            Processes("SLURM", 3, 4, 1, 1, 2, "6_2"),
            "launched by SLURM, job 6_2: 2 nodes x 2 tasks",
        ),
        (
            SRUN | TORCHRUN,
            Processes("torchrun", 5, 8, 1, 1, 2, "7"),
            "launched by torchrun, job 7: 2 nodes x 4",
        ),
    ],
    ids=["python", "a batch script", "torchrun", "srun", "an array", "torchrun in a job"],
)
def test_who_launched_it(environment, group, said):
    assert launched_processes(environment) == group
    assert group is None or str(group).startswith(said)
    assert str(Processes()) == "launched by python: 1 node x 1 task"


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "words"),
    [
        (
            TORCHRUN,
            8,
            1,  # as many processes, but not there
            [
                "launched by torchrun: 2 nodes x 4 tasks, but trainer.devices=8 trainer.num_nodes=1.",
                "as it was launched:  trainer.devices=4 trainer.num_nodes=2",
                "torchrun --nnodes 1 --nproc-per-node 8 train.py",
            ],
        ),
        (SRUN, 4, 2, ["trainer.devices=2 trainer.num_nodes=2", "srun --nodes 2 --ntasks-per-node 4"]),
        ({}, 4, 2, ["cluster=slurm", "torchrun --nnodes=2 --nproc-per-node=4"]),
    ],
    ids=["torchrun", "srun", "python"],
)
def test_other_processes_than_the_config_says_are_refused(environment, devices, nodes, words, monkeypatch):
    monkeypatch.setattr("os.environ", environment)
    config = TrainerConfig(devices=devices, num_nodes=nodes)
    with pytest.raises(ConfigError) as error, join_processes(config, cuda=False):
        pass
    for word in words:
        assert word in str(error.value)


def test_a_process_that_does_not_answer_is_told_from_a_mistake():
    gloo = RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:4711\nmore")
    said = _silence(gloo)
    assert said is not None
    assert said.splitlines()[1] == f"  {str(gloo).splitlines()[0]}"
    assert "the same command goes on" in said
    assert _silence(torch.distributed.DistNetworkError("timed out")) is not None
    assert _silence(RuntimeError("shapes (2, 3) and (4, 5)")) is None
    assert (LostError.status, ConfigError.status) == (1, 2)
