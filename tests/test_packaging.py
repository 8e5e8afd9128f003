"""The package: its metadata, and a wheel of it that is installed where there is nothing else of it."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
from tiny_tflite import NAMES, relu_model

from rtseg_jax import __version__
from rtseg_jax.config_files import config_path, shipped_configs
from rtseg_jax.errors import UserError
from rtseg_jax.export import litert
from rtseg_jax.export.metadata import Metadata, attach_metadata
from rtseg_jax.export.spec import ExportSpec

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = ("rtseg_jax", "configs", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
ONLY_EXTRAS = {"jax2onnx", "litert-converter"}  # not in requirements.txt: what they ask for is in the way
NO_TRAINING = ("train", "all", "demo")  # the last is for exported files
NOT_FOR_FILES = (
    *("array_record", "clu", "flax", "grain", "h5py", "jax", "jaxlib", "matplotlib", "optax", "orbax"),
    *("scipy", "tensorboard", "tensorflow", "tensorflow_datasets"),
)


def pins(name):
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    found = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name.partition("[")[0]): version for name, version in found}


def declared():
    extras = (line for lines in PROJECT["optional-dependencies"].values() for line in lines)
    found = [Requirement(line) for line in (*PROJECT["dependencies"], *extras)]
    return [requirement for requirement in found if requirement.name != PROJECT["name"]]


def test_every_requirement_is_declared_and_every_pin_is_in_its_range():
    required = pins("requirements.txt")
    assert {canonicalize_name(requirement.name) for requirement in declared()} == {*required, *ONLY_EXTRAS}
    for requirement in declared():
        if requirement.name not in ONLY_EXTRAS:
            assert requirement.specifier.contains(required[canonicalize_name(requirement.name)]), str(requirement)


def test_every_direct_pin_is_a_constraint_too():
    constraints = pins("constraints.txt")
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert {pin: constraints.get(pin) for pin in pins(name)} == pins(name)


def test_the_second_converter_has_one_version():
    (pin,) = pins("requirements-litert.txt").items()
    assert f"pip install --no-deps {pin[0]}=={pin[1]}" == litert.INSTALL
    (declared_once,) = [requirement for requirement in declared() if requirement.name == pin[0]]
    assert declared_once.specifier.contains(pin[1])


def test_extras():
    extras = PROJECT["optional-dependencies"]
    assert {"train", "export", "onnx", "cuda", "tpu"} <= set(extras)
    assert all(f"{PROJECT['name']}[train]" in lines for name, lines in extras.items() if name not in NO_TRAINING)


def test_the_workflow_runs_the_same_scripts_on_every_python():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert job["strategy"]["matrix"]["python"] == versions == ["3.11", "3.12", "3.13"]
    scripts = [step["run"].split()[0] for step in job["steps"] if "run" in step]
    assert scripts == ["launch/test.sh", "launch/quickstart.sh"]
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


def test_a_shipped_config_needs_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = str(ROOT / "configs" / "quickstart.py")
    assert set(shipped_configs()) == {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert config_path("quickstart") == shipped
    assert config_path("quickstart:small") == f"{shipped}:small"
    assert config_path("my/quickstart.py") == "my/quickstart.py"
    with pytest.raises(
        UserError, match=r"--config=quickstrat: no such file, and no shipped config; those are ade20k, "
    ):
        config_path("quickstrat")
    (tmp_path / "quickstart").write_text("")
    assert config_path("quickstart") == "quickstart"


def test_the_readme_has_no_links_that_lead_nowhere():
    specification = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    setup = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(setup)
    text = "![a street](docs/a.png) [search](docs/s.md#b), [JAX](https://jax.dev) and [below](#below)"
    assert setup.readme(text, None) == " search, [JAX](https://jax.dev) and [below](#below)"
    assert setup.readme(text, "https://x.org/y") == (
        "![a street](https://x.org/y/raw/main/docs/a.png) [search](https://x.org/y/blob/main/docs/s.md#b), "
        "[JAX](https://jax.dev) and [below](#below)"
    )
    assert not setup.LINK.search(setup.readme((ROOT / "README.md").read_text(), None))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy of the sources by the hook that pip calls."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    environment = {**os.environ, "PYTHONPATH": "", "RTSEG_JAX_COMMIT": "abc-dirty"}
    command = [sys.executable, "-W", "error::setuptools.SetuptoolsDeprecationWarning", "-c", build]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the installed wheel and nothing else; a function that runs Python on it, elsewhere."""
    target = tmp_path_factory.mktemp("installed")
    options = ("--no-deps", "--no-index", "--no-compile", "--quiet", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", target, wheel], check=True)
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def python(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(target)}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)

    return python


@pytest.mark.xdist_group("wheel")
def test_what_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
        assert archive.read("rtseg_jax/commit.txt") == b"abc-dirty\n"
    of_package = {
        str(path.relative_to(ROOT))
        for pattern in ("*.py", "*.json", "py.typed", "*.html", "*.js", "*.css", "*.svg")
        for path in (ROOT / "rtseg_jax").rglob(pattern)
    }
    configs = {f"rtseg_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert {name for name in names if ".dist-info" not in name} == of_package | configs | {"rtseg_jax/commit.txt"}
    fields = re.findall(r"^([A-Z][A-Za-z-]*): (.*)$", metadata.partition("\n\n")[0], re.MULTILINE)
    assert dict(fields)["Version"] == __version__
    assert {"Author", "Classifier", "License-Expression", "Description-Content-Type"} <= dict(fields).keys()
    without_extra = {
        Requirement(value).name for key, value in fields if key == "Requires-Dist" and "extra" not in value
    }
    assert not {name.replace("-", "_") for name in without_extra} & {*NOT_FOR_FILES, "tensorflow_cpu"}


@pytest.mark.xdist_group("wheel")
def test_an_installed_config_is_described(installed):
    done = installed("-m", "rtseg_jax.main", "--config=quickstart", "--describe")
    assert done.returncode == 0, done.stderr
    assert "Network at 128×256" in done.stdout


@pytest.mark.xdist_group("wheel")
def test_a_file_needs_neither_tensorflow_nor_orbax_nor_jax(installed, tmp_path):
    info = (NAMES, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    metadata = Metadata(*info, "0" * 12, ExportSpec((32, 64)), __version__)
    (tmp_path / "m.tflite").write_bytes(attach_metadata(relu_model((32, 64)), metadata))
    picture = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "p.png")
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NOT_FOR_FILES}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from rtseg_jax import provenance
assert provenance.commit() == "abc-dirty", provenance.commit()
import rtseg_jax.show
from rtseg_jax.predict import run
run()
"""
    done = installed("-c", code, f"--model={tmp_path / 'm.tflite'}", tmp_path / "p.png", f"--output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "p_labels.png") as labels:
        np.testing.assert_array_equal(np.array(labels), picture.argmax(axis=-1))
    done = installed("-c", code, f"--workdir={tmp_path}", tmp_path / "p.png", f"--output={tmp_path / 'out'}")
    assert done.returncode == 2
    assert re.fullmatch(rf"error: {tmp_path}: a workdir needs \w+; pip install 'rtseg_jax\[train\]'.*\n", done.stderr)
