"""The launchers: they parse, and `--dry-run` prints exactly what would run."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "launch").glob("*.sh"))
MAIN = [".venv/bin/python", "-m", "rtseg_jax.main"]
ARGUMENTS = ["--config=configs/search.py", "--workdir=a folder"]


def launch(script, *arguments, **environment):
    elsewhere = ("SLURM", "COORDINATOR", "TPU", "ZONE", "PYTHON", "TEST_WORKERS")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
    command = ["bash", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=clean | environment, check=False)


def dry_run(name, **environment):
    result = launch(ROOT / "launch" / name, "--dry-run", *ARGUMENTS, **environment)
    assert result.returncode == 0, result.stderr
    return shlex.split(result.stdout)


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_parses(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_one_host_is_one_process():
    assert dry_run("gpu.sh") == [*MAIN, *ARGUMENTS]
    assert dry_run("gpu.sh", SLURM_NTASKS="1") == [*MAIN, *ARGUMENTS]


def test_slurm_joins_the_other_processes():
    assert dry_run("gpu.sh", SLURM_NTASKS="4") == [*MAIN, *ARGUMENTS, "--distributed"]


def test_explicit_hosts():
    assert dry_run("gpu.sh", COORDINATOR="host0:1234", NUM_PROCESSES="4", PROCESS_ID="2") == [
        "env",
        "JAX_COORDINATOR_ADDRESS=host0:1234",
        "JAX_NUM_PROCESSES=4",
        "JAX_PROCESS_ID=2",
        *MAIN,
        *ARGUMENTS,
        "--distributed",
    ]


def test_a_coordinator_alone_is_refused():
    result = launch(ROOT / "launch" / "gpu.sh", "--dry-run", COORDINATOR="host0:1234")
    assert result.returncode != 0
    assert "NUM_PROCESSES" in result.stderr


def test_tpu_pod_runs_on_every_worker():
    *command, remote = dry_run("tpu_pod.sh", TPU_NAME="pod", ZONE="z")
    assert command == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=z", "--worker=all"]
    main = [*MAIN, *ARGUMENTS, "--distributed"]
    assert shlex.split(remote.removeprefix("--command=")) == ["cd", "rtseg_jax", "&&", *main]


def test_tpu_pod_needs_a_name():
    result = launch(ROOT / "launch" / "tpu_pod.sh", "--dry-run")
    assert result.returncode != 0
    assert "TPU_NAME" in result.stderr


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose .venv has a Python that only tells what it was asked."""
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    for file in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        shutil.copy(ROOT / file, tmp_path / file)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> asked\n')
    python.chmod(0o755)
    return tmp_path


def asked(checkout):
    lines = (checkout / "asked").read_text().splitlines()
    (checkout / "asked").unlink()
    return [line for line in lines if line != "-m pip --version"]


def test_quickstart_installs_once_and_passes_arguments_on(checkout):
    script = checkout / "launch" / "quickstart.sh"
    assert launch(script, str(checkout / "w"), "--config.train.seed=1").returncode == 0
    install, run = asked(checkout)
    assert install.startswith("-m pip install")
    assert install.endswith("-r requirements.txt -c constraints.txt")
    main = "-m rtseg_jax.main --config=configs/quickstart.py --workdir="
    assert run == f"{main}{checkout}/w --config.train.seed=1"

    assert launch(script, "--describe").returncode == 0
    assert asked(checkout) == [f"{main}{checkout}/workdir/quickstart --describe"]


def test_changed_requirements_are_installed_again(checkout):
    script = checkout / "launch" / "quickstart.sh"
    launch(script)
    with (checkout / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    asked(checkout)
    launch(script)
    assert asked(checkout)[0].startswith("-m pip install")


@pytest.fixture
def debian(tmp_path):
    """Commands of a Debian whose package holds the three files; environment to find them."""
    commands = tmp_path / "commands"
    commands.mkdir()
    unpack = 'mkdir -p "$3/usr/lib/chromium"; cd "$3/usr/lib/chromium"; touch {files}'
    files = "libvk_swiftshader.so vk_swiftshader_icd.json libvulkan.so.1"
    for name, body in (("apt-get", "touch chromium-common_1_amd64.deb"), ("dpkg-deb", unpack.format(files=files))):
        (commands / name).write_text(f"#!/bin/sh\n{body}\n")
        (commands / name).chmod(0o755)
    return {"PATH": f"{commands}:{os.environ['PATH']}", "HOME": str(tmp_path / "home")}


def test_swiftshader_is_unpacked_for_the_user_once(debian):
    script = ROOT / "launch" / "swiftshader.sh"
    folder = Path(debian["HOME"]) / ".cache" / "rtseg_jax" / "swiftshader"
    assert launch(script, **debian).stdout == f"SwiftShader installed: {folder}\n"
    assert len(list(folder.iterdir())) == 3
    assert launch(script, **debian).stdout == f"SwiftShader is there: {folder}\n"


def test_package_lists_are_renewed_where_there_are_none(debian):
    apt = Path(debian["PATH"].split(":")[0]) / "apt-get"
    apt.write_text(
        '#!/bin/sh\nif [ "$1" = update ]; then touch ../updated; else [ -e ../updated ] && touch $2_1.deb; fi\n'
    )
    assert launch(ROOT / "launch" / "swiftshader.sh", TMPDIR=str(apt.parent), **debian).returncode == 0
    assert (apt.parent / "updated").exists()


def test_a_package_without_swiftshader_leaves_nothing_behind(debian):
    dpkg = Path(debian["PATH"].split(":")[0]) / "dpkg-deb"
    dpkg.write_text(dpkg.read_text().replace("libvulkan.so.1", ""))
    result = launch(ROOT / "launch" / "swiftshader.sh", **debian)
    assert result.returncode != 0
    assert "no libvulkan.so.1" in result.stderr
    assert not (Path(debian["HOME"]) / ".cache" / "rtseg_jax" / "swiftshader").exists()


def test_checks_run_in_order(checkout, debian):
    result = launch(checkout / "launch" / "test.sh", "-k", "name", **debian)
    assert result.returncode == 0, result.stderr
    install, *checks = asked(checkout)
    assert install.endswith("-r requirements-dev.txt -c constraints.txt")
    assert checks == ["-m ruff check", "-m ruff format --check", "-m mypy", "-m pytest -n 2 --dist loadgroup -k name"]


def test_an_unfit_python_is_refused(checkout):
    shutil.rmtree(checkout / ".venv")
    fake = checkout / "bin"
    fake.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (fake / name).write_text("#!/bin/sh\nexit 1\n")
        (fake / name).chmod(0o755)
    path = f"{fake}:{os.environ['PATH']}"
    result = launch(checkout / "launch" / "quickstart.sh", PATH=path, PYTHON="python3")
    assert result.returncode != 0
    assert result.stderr.startswith("error: Python 3.11, 3.12 or 3.13 is needed")
    assert len(result.stderr.splitlines()) == 1


def test_a_python_without_ensurepip_names_the_package(checkout):
    shutil.rmtree(checkout / ".venv")
    fake = checkout / "python3.11"
    fake.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    fake.chmod(0o755)
    result = launch(checkout / "launch" / "quickstart.sh", PYTHON=str(fake))
    assert result.returncode != 0
    assert "apt-get install python3-venv" in result.stderr
