import pytest

from vxl.errors import ConfigError
from vxl.option.build import build
from vxl.train.launch.environment import StartedProcesses
from vxl.train.launch.processes import Processes
from vxl.train.lightning_trainer import build_trainer
from vxl.train.parallel.lightning_strategies import SingleStrategy
from vxl.train.parallel.strategy import SingleConfig
from vxl.train.trainer import TrainerConfig, accelerator_of


@pytest.mark.parametrize(
    "values",
    [
        {"max_steps": 0},
        {"accumulate": 0},
        {"val_every": -1},
        {"threads": 0},
        {"devices": 0},
        {"log_every": 0},
    ],
)
def test_impossible_values(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        TrainerConfig(**values)


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert accelerator_of(TrainerConfig()) == "cpu"
    with pytest.raises(ConfigError, match="PyTorch sees no GPU here") as error:
        accelerator_of(TrainerConfig(accelerator="gpu"))
    assert "on the CPU:  trainer=cpu" in str(error.value)


def test_lightning_does_nothing_that_vxl_does(tmp_path):
    config = TrainerConfig(max_steps=7, accelerator="cpu", precision="32-true")
    trainer = build_trainer(config, build(SingleConfig()), Processes(), [], tmp_path)
    assert isinstance(trainer.strategy, SingleStrategy)
    assert (trainer.max_steps, trainer.max_epochs) == (7, -1)
    assert trainer.loggers == []
    assert trainer.checkpoint_callbacks == []
    assert list(tmp_path.iterdir()) == []


def test_under_slurm_lightning_requeues_nothing(tmp_path, monkeypatch):
    for name, value in {
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ID": "7",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NNODES": "1",
    }.items():
        monkeypatch.setenv(name, value)
    config = TrainerConfig(accelerator="cpu", precision="32-true")
    trainer = build_trainer(config, build(SingleConfig()), Processes(), [], tmp_path)
    assert isinstance(trainer._accelerator_connector.cluster_environment, StartedProcesses)
