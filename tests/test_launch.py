"""The launchers: ShellCheck likes them, and `--dry-run` prints exactly what would run."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "launch"
SCRIPTS = sorted(path for pattern in ("*.sh", "*.sbatch", "docker/*.sh") for path in LAUNCH.glob(pattern))
MAIN = [".venv/bin/python", "-m", "rtseg_jax.main"]
ARGUMENTS = ["--config=configs/search.py", "--workdir=a folder"]
SLICE = {
    "NAME": "on",  # a truth value in YAML, unless it is quoted
    "IMAGE": "host/rtseg_jax:tpu",
    "TPU_ACCELERATOR": "tpu-v5-lite-podslice",
    "TPU_TOPOLOGY": "4x4",
    "HOSTS": "4",
}
NOT_RUN = {"dry_run.sh", "environment.sh"}  # sourced by the others
NOTHING_TO_SHOW = {"quickstart.sh", "test.sh", "swiftshader.sh", "docs.sh", "android.sh", "release.sh"}
"""The last two have tests of their own."""


def launch(script, *arguments, **environment):
    names = ("SLURM", "COORDINATOR", "TPU", "ZONE", "PYTHON", "TEST_WORKERS", "PORT", "GRACE", "JAX_", "CHIPS")
    elsewhere = (*names, *SLICE)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
    command = ["bash", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=clean | environment, check=False)


def dry_run(name, *arguments, **environment):
    """What is printed, by lines, as words."""
    result = launch(LAUNCH / name, "--dry-run", *arguments, **environment)
    assert (result.returncode, result.stderr) == (0, "")
    return [shlex.split(line) for line in result.stdout.splitlines()]


def test_shellcheck_finds_nothing():
    program = Path(sys.executable).with_name("shellcheck")
    command = [program, "--external-sources", f"--source-path={ROOT}:SCRIPTDIR", *SCRIPTS, ROOT / ".ci" / "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def peer(number):
    return [*MAIN, *ARGUMENTS, "--coordinator=localhost:1234", "--num_processes=2", f"--process_id={number}"]


HOSTS = {"JAX_COORDINATOR_ADDRESS": "host0:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "2"}
REMOTE = shlex.join(["cd", "rtseg_jax"]) + " && " + shlex.join([*MAIN, "--config=configs/search.py"])
GCLOUD = ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=z", "--worker=all"]
TABLE = [
    ("gpu.sh", ARGUMENTS, {}, [[*MAIN, *ARGUMENTS]]),
    ("gpu.sh", ARGUMENTS, {"SLURM_NTASKS": "1"}, [[*MAIN, *ARGUMENTS]]),
    ("gpu.sh", ARGUMENTS, {"SLURM_NTASKS": "4"}, [[*MAIN, *ARGUMENTS, "--distributed"]]),
    (
        "gpu.sh",
        ARGUMENTS,
        {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4"},
        [["env", "JAX_LOCAL_DEVICE_IDS=0,1,2,3", *MAIN, *ARGUMENTS, "--distributed"]],
    ),
    (
        "gpu.sh",
        ARGUMENTS,
        {"COORDINATOR": "host0:1234", "NUM_PROCESSES": "4", "PROCESS_ID": "2"},
        [["env", *(f"{name}={value}" for name, value in HOSTS.items()), *MAIN, *ARGUMENTS, "--distributed"]],
    ),
    ("local.sh", ["2", *ARGUMENTS], {"PORT": "1234"}, [peer(0), peer(1)]),
    ("slurm.sbatch", ARGUMENTS, {}, [["srun", "--kill-on-bad-exit=0", "--wait=300", "launch/gpu.sh", *ARGUMENTS]]),
    (
        "tpu_pod.sh",
        ARGUMENTS[:1],
        {"TPU_NAME": "pod", "ZONE": "z"},
        [[*GCLOUD, f"--command={REMOTE} --distributed"]],
    ),
]


@pytest.mark.parametrize(("name", "arguments", "environment", "expected"), TABLE)
def test_dry_run(name, arguments, environment, expected):
    assert dry_run(name, *arguments, **environment) == expected


def test_every_launcher_has_a_dry_run_here():
    shown = {name for name, *_ in TABLE} | {"gke.sh", "build.sh"}
    assert {path.name for path in SCRIPTS} == shown | NOT_RUN | NOTHING_TO_SHOW


def test_words_stay_words_on_a_pod():
    (*_, remote) = dry_run("tpu_pod.sh", *ARGUMENTS, TPU_NAME="pod", ZONE="z")[0]
    assert shlex.split(remote)[-3:] == [*ARGUMENTS, "--distributed"]


@pytest.mark.parametrize(
    ("name", "arguments", "environment", "missing"),
    [
        ("gpu.sh", [], {"COORDINATOR": "host0:1234"}, "NUM_PROCESSES"),
        ("gpu.sh", [], {"SLURM_NTASKS": "2", "SLURM_NNODES": "2"}, "set JAX_LOCAL_DEVICE_IDS"),
        ("tpu_pod.sh", [], {}, "TPU_NAME"),
        ("local.sh", ["--config=configs/search.py"], {}, "the number of processes comes first"),
        ("docker/build.sh", ["rocm"], {}, "name the image"),
        ("gke.sh", [], SLICE | {"HOSTS": "four"}, "HOSTS is four: it must be a number"),
        ("gke.sh", [], SLICE | {"IMAGE": "a b"}, "IMAGE is a b"),
        ("gke.sh", [], SLICE | {"NAME": "Run"}, "NAME is Run"),
        ("gke.sh", ["a\nb"], SLICE, "an argument has a line break"),
        *(("gke.sh", [], {k: v for k, v in SLICE.items() if k != name}, name) for name in SLICE),
        ("slurm.sbatch", [], {"SLURM_SUBMIT_DIR": "/"}, "/ is not the root of a checkout"),
    ],
)
def test_what_is_missing_is_named(name, arguments, environment, missing):
    result = launch(LAUNCH / name, "--dry-run", *arguments, **environment)
    assert result.returncode != 0
    assert missing in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_kubernetes_manifest():
    schema = json.loads((ROOT / "tests" / "helpers" / "jobset_schema.json").read_text())
    arguments = [*ARGUMENTS, 'quoted " and \\ & ${NAME}']
    result = launch(LAUNCH / "gke.sh", "--dry-run", *arguments, **SLICE)
    assert (result.returncode, result.stderr) == (0, "")
    manifest = yaml.safe_load(result.stdout)
    jsonschema.Draft202012Validator(schema).validate(manifest)
    assert manifest["metadata"]["name"] == "on"
    (job,) = manifest["spec"]["replicatedJobs"]
    assert (job["template"]["spec"]["parallelism"], job["template"]["spec"]["completions"]) == (4, 4)
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "4x4"
    (container,) = pod["containers"]
    assert container["image"] == SLICE["IMAGE"]
    assert container["args"] == [*arguments, "--distributed"]
    assert container["resources"]["limits"] == container["resources"]["requests"] == {"google.com/tpu": 4}
    manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["paralelism"] = 4
    with pytest.raises(jsonschema.ValidationError, match="paralelism"):
        jsonschema.Draft202012Validator(schema).validate(manifest)


@pytest.mark.parametrize(("kind", "accelerator"), [("cuda", "cuda12"), ("tpu", "tpu")])
def test_image(kind, accelerator):
    (command,) = dry_run("docker/build.sh", kind)
    start, commit = command[:-2], command[-2]
    assert start == [
        *("docker", "build", "--file=launch/docker/Dockerfile", f"--tag=rtseg_jax:{kind}"),
        f"--build-arg=ACCELERATOR={accelerator}",
    ]
    assert commit.startswith("--build-arg=COMMIT=")
    dockerfile = (LAUNCH / "docker" / "Dockerfile").read_text()
    assert json.loads(dockerfile.rpartition("ENTRYPOINT ")[2]) == MAIN
    copied = {word for line in dockerfile.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]}
    allowed = {
        line[1:] for line in (LAUNCH / "docker" / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_options_of_slurm():
    lines = (LAUNCH / "slurm.sbatch").read_text().splitlines()
    options = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if line.startswith("#SBATCH"))
    assert options["ntasks-per-node"] == "1"  # one process drives all GPUs of a node, see gpu.sh
    assert options["signal"] == "TERM@180"  # to the processes, not to the script alone, which would be B:TERM
    assert "requeue" in options


@pytest.mark.parametrize(("status", "queued"), [(0, []), (75, ["requeue 17"]), (2, [])])
def test_a_run_that_saved_is_queued_again(tmp_path, status, queued):
    for name, body in (("srun", f"exit {status}"), ("scontrol", f"echo $@ >> {tmp_path}/asked")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    assert launch(LAUNCH / "slurm.sbatch", "--config=c", **environment).returncode == status
    asked = tmp_path / "asked"
    assert (asked.read_text().splitlines() if asked.exists() else []) == queued


PEER = """#!/usr/bin/env bash
case "$*" in *--process_id=0*) ;; *) {others} ;; esac
{first}
"""


def local(checkout, first, others, **environment):
    """Runs two processes of `local.sh`, whose Python does as it is told here."""
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(PEER.format(first=first, others=others))
    return launch(checkout / "launch" / "local.sh", "2", "--config=c", PORT="1", **environment)


def test_processes_of_one_machine(checkout):
    done = local(checkout, "echo first; echo oops >&2", "echo second; exit 0")
    assert (done.returncode, sorted(done.stdout.splitlines()), done.stderr) == (
        *(0, ["[0] first", "[1] second"]),
        "[0] oops\n",
    )


def test_a_process_that_fails_ends_the_others(checkout):
    wait = "trap 'echo told; exit 3' TERM; while true; do sleep 0.05; done"
    done = local(checkout, wait, "exit 7", GRACE="0.2")
    assert (done.returncode, done.stdout) == (7, "[0] told\n")
    assert done.stderr == "a process ended with status 7; the others have 0.2 seconds to end\n"
    deaf = "trap '' TERM; while true; do sleep 0.05; done"
    done = local(checkout, deaf, "exit 7", GRACE="0.2")
    assert done.returncode == 7


def test_a_signal_is_passed_on(checkout):
    wait = "trap 'echo told; exit 75' TERM; echo up; while true; do sleep 0.05; done"
    (checkout / ".venv" / "bin" / "python").write_text(PEER.format(first=wait, others=wait))
    command = ["bash", str(checkout / "launch" / "local.sh"), "2", "--config=c"]
    environment = os.environ | {"PORT": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert sorted(run.stdout.readline() for _ in range(2)) == ["[0] up\n", "[1] up\n"]
        run.send_signal(signal.SIGTERM)
        rest, _ = run.communicate()
    assert (run.returncode, sorted(rest.splitlines())) == (75, ["[0] told", "[1] told"])


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
    install, converter, page, *checks = asked(checkout)
    assert install.endswith("-r requirements-dev.txt -c constraints.txt")
    assert converter.endswith("--no-deps -r requirements-litert.txt")
    assert page == "-m rtseg_jax.demo.litert_js"
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
