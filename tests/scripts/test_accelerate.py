"""The configurations for several devices, opened as `accelerate launch` opens them."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType

FOLDER = Path(__file__).parents[2] / "scripts/accelerate"
WAYS = {
    "multi_gpu": DistributedType.MULTI_GPU,
    "multi_machine": DistributedType.MULTI_GPU,
    "zero2": DistributedType.DEEPSPEED,
    "fsdp2": DistributedType.FSDP,
}


def test_each_is_listed_and_tested():
    files = {file.stem for file in FOLDER.glob("*.yaml")}
    assert files == WAYS.keys()
    assert all(f"({name}.yaml)" in (FOLDER / "README.md").read_text() for name in files)


@pytest.mark.parametrize("name", WAYS)
def test_opens(name):
    """accelerate refuses unknown keys itself, but for those of a section, which must be flags of the launcher."""
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert config.distributed_type == WAYS[name] and config.num_processes > 1
    flags = vars(launch_command_parser().parse_args(["train.py"]))
    assert (config.fsdp_config | config.deepspeed_config).keys() <= flags.keys()
    if name == "multi_machine":
        assert config.num_machines > 1 and config.main_process_ip and config.main_process_port
    if name == "fsdp2":  # else transformers would leave all processes but one without weights: it is the default
        assert config.fsdp_config["fsdp_version"] == 2
        assert config.fsdp_config["fsdp_cpu_ram_efficient_loading"] is False
    if name == "zero2":
        assert config.deepspeed_config["zero_stage"] == 2
