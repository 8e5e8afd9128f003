"""Parameters and MACs of every shipped config's supernet; a config without a row fails."""

import importlib.util
from pathlib import Path

import pytest

from rtseg_jax.architecture import counts, declare
from rtseg_jax.config import run_spec

CONFIGS = Path(__file__).parents[2] / "configs"

# name: parameters, MACs of one picture at the config's evaluation size
TABLE = {
    "ade20k": (24_783_606, 68_114_950_720),
    "camvid": (3_669_835, 3_685_457_680),
    "camvid_full": (24_472_107, 43_869_362_320),
    "folder": (24_472_107, 66_839_620_160),
    "quickstart": (1_780_027, 429_033_472),
    "published": (24_490_035, 137_542_115_904),
    "search": (24_490_035, 137_542_115_904),
    "voc2012": (24_494_517, 69_199_050_536),
}


def test_every_config_is_in_the_table():
    assert {path.stem for path in CONFIGS.glob("*.py")} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_exact_counts_of_configs(name):
    spec = importlib.util.spec_from_file_location(f"config_{name}", CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.data.stand_in = name == "folder"  # whose classes stand in the user's files
    run = run_spec(config)
    network = declare(run.network)
    assert (counts.parameters(network), counts.macs(network, run.data.eval_size)) == TABLE[name]
