"""Strict test environment: two CPU devices, no implicit rank promotion, shapes checked at run time."""

import dataclasses
import os
import sys
from pathlib import Path

from helpers import quick_compiles

import rtseg_jax  # before JAX, which would let child processes report each cached compile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests start processes, and the package need not be installed.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
)
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ["XLA_FLAGS"] += f" {quick_compiles.FLAGS}"

import jax
import jaxtyping
import pytest
from absl import logging

from rtseg_jax.files import cache_folder

PACKAGE = Path(rtseg_jax.__file__).parent
# Arguments are checked where arrays have shapes. Declarations have none, and are called a million times.
SHAPED = [path for path in sorted(PACKAGE.rglob("*.py")) if "jaxtyping" in path.read_text()]
jaxtyping.install_import_hook(
    [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in SHAPED], "beartype.beartype"
)
USER_CACHE = cache_folder()

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    """Groups first, the whole runs among them: begun last, one would keep a worker busy while the others are idle."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """What the package remembers of data sets stays among the tests' own files; processes share what they compiled."""
    os.environ["RTSEG_JAX_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"


@pytest.fixture(scope="session")
def user_cache() -> Path:
    """Where what launch/test.sh has fetched is kept."""
    return USER_CACHE


@pytest.fixture(autouse=True, scope="module")
def forget_compiled():
    """What one module compiled no other needs: a worker would keep gigabytes of it."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def same_verbosity():
    """Commands, which some tests run in this process, choose what is logged from then on."""
    before = logging.get_verbosity()
    yield
    logging.set_verbosity(before)


@pytest.fixture
def key() -> jax.Array:
    """A fixed random key."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def predictor_path(tmp_path_factory):
    """A recorded latency predictor, of a device that is a formula."""
    sys.path.insert(0, str(Path(__file__).parent / "latency"))
    sys.path.insert(0, str(Path(__file__).parent / "training"))
    from shrinking import NETWORK
    from synthetic import CARD, measure

    from rtseg_jax.latency import fitting
    from rtseg_jax.zoo import RTSeg

    path = tmp_path_factory.mktemp("predictor") / "predictor.json"
    model = fitting.fit(measure(), CARD, steps=200).model
    network = RTSeg(2, **NETWORK).to_json()
    card = {**model.card, "image_size": [32, 64], "network": network}  # what shrunk configs ask for
    dataclasses.replace(model, card=card).save(path)
    return path


@pytest.fixture(scope="session")  # its tests are one group, "finished": workers would each make their own
def finished(tmp_path_factory, predictor_path):
    """A whole run, evaluated and exported, as (config file, workdir, what it printed)."""
    from shrinking import start, write_config

    folder = tmp_path_factory.mktemp("finished")
    config = write_config(folder / "config.py", "quickstart", predictor_path, steps=2)
    process = start(config, folder / "run")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return config, folder / "run", output
