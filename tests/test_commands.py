"""The family of commands: one table, one style of flags, help and errors; complete over all of them."""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from absl import app, flags
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from segmenting import random_variables, write_workdir

from rtseg_jax import __version__, command_line, commands, main
from rtseg_jax.command_line import Command, config_file, load_config, parse_flags, table
from rtseg_jax.commands import ENTRIES, entry_of, overview, run_family
from rtseg_jax.errors import UserError, failed_child
from rtseg_jax.files import check_folder, check_place
from rtseg_jax.latency.devices import check_device
from rtseg_jax.quiet import start_up_lines_left_out
from rtseg_jax.training.workdir import Workdir

ROOT = Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT / 'configs' / 'quickstart.py'}"


@dataclasses.dataclass(frozen=True)
class Wrong:
    """What each command is given wrongly, and words of its answer.

    Attributes:
      file: arguments of which one names a file or folder that is not there.
      value: arguments of which one has a value that cannot be.
    """

    file: tuple[list[str], str]
    value: tuple[list[str], str]


WRONG = {
    "search": Wrong(
        ([QUICKSTART, "--workdir=w", "--config.data.name=camvid", "--config.data.data_dir=gone"], "gone"),
        ([QUICKSTART, "--workdir=w", "--cpu_devices=0"], "--cpu_devices is '0': it must be a whole number, at least 1"),
    ),
    "pareto": Wrong(
        (["--config=gone.py", "--targets=3", "--output=o"], "--config=gone.py: no such file"),
        ([QUICKSTART, "--targets=3,x", "--output=o"], "--targets is 3,x: it must be milliseconds"),
    ),
    "show": Wrong(
        (["gone"], "gone: no such folder; name the workdir of a run"), (["a", "b"], "name one workdir: show WORKDIR")
    ),
    "zoo": Wrong(
        (["gone"], "there is no network 'gone'"), (["--size=0x5"], "--size is '0x5': it must be HEIGHTxWIDTH")
    ),
    "inspect_data": Wrong(
        (["--dataset=folder", "--data_dir=gone"], "gone"),
        (["--workers=-1", "--dataset=folder"], "--workers is '-1': it must be a whole number, at least 0"),
    ),
    "prepare_data": Wrong(
        (["--dataset=camvid", "--source=gone", "--output=o"], "gone"),
        (["--bad=keep", "--dataset=camvid", "--source=.", "--output=o"], "--bad is 'keep': it must be one of refuse, "),
    ),
    "evaluate": Wrong(
        (["--model=gone.tflite"], "gone.tflite: no such file"),
        (["--threads=-5", "--model=m"], "--threads is '-5': it must be a whole number, at least 1"),
    ),
    "predict": Wrong(
        (["--model=gone.tflite", "gone.png", "--output=o"], "gone.png: no such file or folder"),
        (
            ["--model=m", "--opacity=2", "--output=o"],
            "--opacity is '2': it must be a number, at least 0.0, at most 1.0",
        ),
    ),
    "convert": Wrong(
        (["--workdir=gone"], "architecture.json: no such file"),
        (["--workdir=.", "--quantize=int4"], "--quantize is 'int4': it must be one of none, fp16, dynamic, int8"),
    ),
    "benchmark": Wrong(
        (["gone.tflite"], "gone.tflite: no such file"),
        (["--device=pixel", "m.tflite"], "--device is 'pixel': it must be one of host_cpu"),
    ),
    "demo": Wrong(
        (["gone.tflite"], "gone.tflite: no such file"),
        (["m.tflite", "--port=70000"], "--port is '70000': it must be a whole number, at least 0, at most 65535"),
    ),
    "measure": Wrong(
        (["--adapt_from=gone", "--output=o"], "gone"),
        (["--width=wide", "--output=o"], "--width is 'wide': it must be a number"),
    ),
    "survey": Wrong(
        (["--workdir=gone", "--networks=enet", "--output=o"], "--workdir=gone: there is no architecture.json"),
        (["--sizes=512", "--output=o"], "--sizes is '512': give WIDTHxHEIGHT, several joined by commas"),
    ),
}

NAMES = [entry.names[0] for entry in ENTRIES]
WITH_CONFIG = [name for name in NAMES if entry_of(name).load().config]


def error_of(capfd, name, arguments, folder):
    """The line that a command answers with; it must be all that it prints, and leave nothing."""
    assert entry_of(name).load().execute(arguments, f"rtseg_jax {name}") == 2
    output, errors = capfd.readouterr()
    assert output == ""
    assert re.fullmatch(r"error: [^\n]+\n", errors), errors
    assert list(folder.iterdir()) == []
    return errors


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- every command


def test_every_command_has_a_row():
    assert set(WRONG) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_help(name, capfd):
    entry = entry_of(name)
    command = entry.load()
    assert command.execute(["--no_such_flag", "--help"], f"rtseg_jax {name}") == 0
    output, errors = capfd.readouterr()
    assert errors == ""
    assert output.startswith(f"usage: rtseg_jax {name} ")
    assert entry.line in output
    assert "Alias" not in output
    values = flags.FlagValues()
    command.define_flags(values)
    for flag in (*values, *([command_line.CONFIG] if command.config else [])):
        if flag != "out":
            assert re.search(rf"^  --(\[no\])?{flag}[ =\n]", output, re.MULTILINE), flag
    shown = "\n".join(line for line in output.splitlines() if not line.startswith("    "))
    assert max(len(line) for line in shown.splitlines()) <= 110
    assert command_line.family() == "python -m rtseg_jax"  # from where the tests are started
    lines = output.replace("\\\n", " ").splitlines()
    examples = [line.strip() for line in lines if line.startswith("    python -m rtseg_jax ")]
    assert examples
    for example in examples:
        _, _, _, given, *arguments = shlex.split(example.replace("--config=configs/", f"--config={ROOT}/configs/"))
        parsed(entry_of(given).load(), arguments)


def parsed(command, arguments):
    """Values of the flags of a command line that is right, and its words."""
    values = flags.FlagValues()
    command.define_flags(values)
    return values, command.parse(arguments, values)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_flag(name, capfd, folder):
    assert error_of(capfd, name, ["--no_such_flag=3"], folder).startswith("error: there is no flag --no_such_flag; ")
    values = flags.FlagValues()
    entry_of(name).load().define_flags(values)
    flag = next(iter(values))
    said = error_of(capfd, name, [f"--{flag}x=3"], folder)
    assert said == f"error: there is no flag --{flag}x; the nearest is --{flag}; --help lists the flags\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file(name, capfd, folder):
    arguments, words = WRONG[name].file
    assert words in error_of(capfd, name, arguments, folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_value(name, capfd, folder):
    arguments, words = WRONG[name].value
    assert words in error_of(capfd, name, arguments, folder)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_needed_or_stray_is_said(name, capfd, folder):
    command = entry_of(name).load()
    for missing in command.needed:
        given = [f"--{flag}=3" if flag != "config" else QUICKSTART for flag in command.needed if flag != missing]
        assert error_of(capfd, name, given, folder).startswith(f"error: --{missing} is missing: name ")
    if not command.words:
        assert "what is 'stray'?" in error_of(capfd, name, ["stray"], folder)


@pytest.mark.parametrize("name", WITH_CONFIG)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=gone.py"], "--config=gone.py: no such file"),
        (["--config", "gone.py"], "--config=gone.py: no such file"),
        (["--config"], "--config needs a value"),
        ([QUICKSTART, "--config.batchsize=4"], "no field --config.batchsize; the nearest is --config.batch_size"),
        (["--config.batch_size=many", QUICKSTART], "--config.batch_size is 'many': it must be a whole number"),
        ([QUICKSTART, "--config.data.flip=perhaps"], "--config.data.flip is 'perhaps': it must be true or false"),
    ],
)
def test_a_wrong_config(name, arguments, words, capfd, folder):
    assert words in error_of(capfd, name, arguments, folder)


# ---- the family


def test_the_list_is_quick_and_has_a_line_for_every_command():
    code = (
        "import sys; from rtseg_jax.commands import run_family; status = run_family(['--help']); "
        "assert not {'jax', 'numpy', 'ml_collections'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for entry in ENTRIES:
        (line,) = (line for line in lines if line.startswith(f"  {', '.join(entry.names)} "))
        assert line.endswith(f" {entry.line}")
        assert len(line) <= 100
    assert [line[:-1] for line in lines if line.endswith(":")] == list(dict.fromkeys(entry.task for entry in ENTRIES))
    assert overview() in done.stdout.replace("-c", command_line.family())


def test_names_are_unique_and_modules_are_understood():
    understood = [name for entry in ENTRIES for name in entry.understood]
    assert len(understood) == len(set(understood))
    assert entry_of("train") is entry_of("search")
    for name, module in (("convert_tflite", "convert"), ("measure_latency", "measure"), ("zoo", "zoo")):
        assert entry_of(name) is entry_of(module)
    assert all(entry.line == entry.load().text.partition("\n")[0] for entry in ENTRIES)


@pytest.mark.parametrize(
    ("arguments", "status", "output", "errors"),
    [
        (["--version"], 0, f"rtseg_jax {__version__}\n", ""),
        (
            ["predikt"],
            2,
            "",
            "error: there is no command 'predikt'; the nearest is predict; --help lists the commands\n",
        ),
        (["xyz"], 2, "", "error: there is no command 'xyz'; --help lists the commands\n"),
    ],
)
def test_the_family_answers(arguments, status, output, errors, capsys):
    assert run_family(arguments) == status
    assert capsys.readouterr() == (output, errors)


def test_flags_before_a_command_are_refused(capsys):
    assert run_family(["--config=x.py"]) == 2
    assert re.fullmatch(r"error: --config=x.py stands before any command: .*\n", capsys.readouterr().err)


def test_no_command_lists_them(capsys):
    assert run_family([]) == 0
    assert capsys.readouterr().out == overview() + "\n"


def test_a_command_gets_its_arguments_and_ends_the_process(monkeypatch, capsys):
    monkeypatch.setattr(app, "run", lambda function, argv: sys.exit(function(argv)))
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/rtseg_jax"])
    for arguments, status in ((["zoo", "--help"], 0), (["zoo", "--size=3"], 2)):
        with pytest.raises(SystemExit) as ended:
            run_family(arguments)
        assert ended.value.code == status
    output, errors = capsys.readouterr()
    assert output.startswith("usage: rtseg_jax zoo ")
    assert errors == "error: --size is '3': it must be HEIGHTxWIDTH, such as 512x1024\n"


def test_installed_programs_are_there():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {"rtseg_jax", "convert_tflite"} <= set(scripts)
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(import_module(module), function))
    assert import_module(scripts["rtseg_jax"].split(":")[0]).ENTRIES is commands.ENTRIES


# ---- what the commands share


def nothing(words, values):
    """Does nothing."""


def command_of(main, **fields):
    """A command with some flags."""

    def define(values):
        flags.DEFINE_integer("steps", 3, "NUMBER: steps to take.", 1, 9, flag_values=values)
        flags.DEFINE_bool("loud", True, "Speak up.", flag_values=values)
        flags.DEFINE_enum("kind", "a", ["a", "b"], "Which kind.", flag_values=values)
        command_line.output_flag(values, "DIR: where to write.")

    return Command("Does it.\n\nexamples:\n    rtseg_jax do --steps=4\n\nA note.", define, main, **fields)


def test_help_to_the_letter(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert command_of(nothing, needed={"output": "x"}, words="WORD").execute(["-h"], "do") == 0
    assert capsys.readouterr().out.splitlines() == [
        "usage: do --output=DIR [--FLAG=VALUE ...] WORD",
        "",
        "Does it.",
        "",
        "  --steps=NUMBER              Steps to take (default: 3).",
        "  --[no]loud                  Speak up (default: yes).",
        "  --kind=a|b                  Which kind (default: a).",
        "  --output=DIR                Where to write.",
        "  --help                      Show this and stop.",
        "",
        "examples:",
        "    python -m rtseg_jax do --steps=4",
        "",
        "A note.",
    ]


def test_a_table_wraps_its_right_column():
    assert table([("ab", "one two three"), ("abcdefg", "x")], width=12, column=5) == [
        "  ab one two",
        "     three",
        "  abcdefg",
        "     x",
    ]


def test_flags_and_words_may_be_mixed_and_out_is_output():
    values, words = parsed(command_of(nothing, words="WORD ..."), ["a", "--out=o", "--noloud", "b", "--", "--c"])
    assert (words, values.output, values.loud, values.steps) == (["a", "b", "--c"], "o", False, 3)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--steps=0", "--steps is '0': it must be a whole number, at least 1, at most 9"),
        ("--steps=many", "--steps is 'many': it must be a whole number, at least 1, at most 9"),
        ("--loud=maybe", "--loud is 'maybe': it must be true or false"),
        ("--kind=c=d", "--kind is 'c=d': it must be one of a, b"),
        ("--output", "--output needs a value, as --output=VALUE"),
        ("--stepps=3", "there is no flag --stepps; the nearest is --steps; --help lists the flags"),
        ("--config.x=3", "there is no flag --config.x; --help lists the flags"),
    ],
)
def test_wrong_values_are_told_in_our_words(argument, words):
    values = flags.FlagValues()
    command_of(nothing).define_flags(values)
    with pytest.raises(UserError, match=f"^{re.escape(words)}$"):
        parse_flags([argument], values)


def test_statuses_and_interruption(capsys):
    def interrupt(words, values):
        raise KeyboardInterrupt

    def complain(words, values):
        raise UserError("two\nlines")

    assert command_of(lambda words, values: None).execute([], "do") == 0
    assert command_of(lambda words, values: 1).execute([], "do") == 1
    assert command_of(interrupt, interrupted="interrupted: again").execute([], "do") == 130
    assert command_of(complain).execute([], "do") == 2
    assert capsys.readouterr() == ("", "interrupted: again\nerror: two lines\n")


def test_the_config_is_taken_out_of_the_arguments():
    assert config_file(["a", "--config=x.py", "-config", "y.py", "--config.z=3"]) == ("y.py", ["a", "--config.z=3"])
    assert config_file(["--", "--config=x.py"]) == (None, ["--", "--config=x.py"])


CONFIG = (
    "import ml_collections\ndef get_config(width='1'):\n    return ml_collections.ConfigDict({'width': int(width)})\n"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ndef get_config(:\n", "config.py, line 2: SyntaxError: "),
        ("def get_config():\n    return 1 // 0\n", "config.py, line 2: ZeroDivisionError: "),
        ("import no_such_module\n", "config.py, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n", "config.py: AttributeError: module 'config' has no attribute 'get_config'"),
        ("def get_config():\n    pass\n", "config.py: its get_config() must return a ConfigDict"),
    ],
)
def test_a_config_that_cannot_be_used_is_told_with_its_line(text, words, folder):
    Path("config.py").write_text(text)
    with pytest.raises(UserError, match=re.escape(words)):
        load_config("config.py")


def test_a_config_is_handed_what_follows_the_colon(folder):
    Path("config.py").write_text(CONFIG)
    assert (load_config("config.py").width, load_config("config.py:7").width) == (1, 7)
    values, _ = parsed(command_of(nothing, config="The recipe."), ["--config.width=5", "--config=config.py:7"])
    assert values.config.width == 5


def test_an_error_of_a_child_is_handed_on():
    assert str(failed_child("export", 2, "noise\nerror: no such file\n")) == "no such file"
    said = str(failed_child("export", -6, "\n".join(map(str, range(30)))))
    assert said == "export failed with exit status -6; its last words: " + " | ".join(map(str, range(15, 30)))


def test_places_are_tried_and_nothing_is_left(folder):
    check_place(Path("new/deep/file"), "--output")
    check_folder(Path("new/deep"), "--output")
    assert list(folder.iterdir()) == []
    Path("file").touch()
    Path("there").mkdir()
    for path, words in (("file/below/x", "Not a directory"), ("/proc/none/c.tflite", "No such file or directory")):
        with pytest.raises(UserError, match=rf"{path} cannot be written \({words}\); name another place with --output"):
            check_place(Path(path), "--output")
    with pytest.raises(UserError, match="there is a folder, and a file is to be written"):
        check_place(Path("there"), "--output")
    assert {path.name for path in folder.iterdir()} == {"file", "there"}


# ---- what is refused before any work


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.search_steps=-3", "config.train.search_steps is -3: it must be at least 0"),
        ("train.pretrain_steps=-1", "config.train.pretrain_steps is -1: it must be at least 0"),
        ("train.finetune_steps=-1", "config.train.finetune_steps is -1: it must be at least 0"),
        ("train.uniform_steps=-2", "config.train.uniform_steps is -2: it must be at least 0, or -1"),
        ("train.eval_every=-1", "config.train.eval_every is -1: it must be at least 0"),
        ("loss.class_weights=(1.0,2.0)", "has 2 weights, the data set has 11 classes (Sky, "),
        ("latency.device=pixel9", "config.latency.device is 'pixel9', which is unknown; a phone that is connected is"),
        ("latency.device=androids", "'androids', which is unknown; did you mean 'android'?"),
    ],
)
@pytest.mark.parametrize("phases", ["()", "('finetune',)"])
def test_a_description_refuses_what_a_run_would(setting, words, phases, capfd, folder):
    arguments = [QUICKSTART, "--describe", f"--config.{setting}", f"--config.phases={phases}"]
    assert words in error_of(capfd, "search", arguments, folder)


@pytest.mark.parametrize("block", ["detail_9_9", "stage16_1"])
def test_a_block_to_be_guided_is_there_whatever_the_search_decides(block, capfd, folder):
    arguments = [QUICKSTART, "--describe", "--config.loss.detail=1.0", f"--config.loss.detail_at={block}"]
    said = error_of(capfd, "search", arguments, folder)
    assert f"config.loss.detail_at is '{block}', no block of this network; there are detail_1_1," in said


def test_known_devices_are_none_of_them_refused():
    check_device("adreno660")
    with pytest.raises(UserError, match=r"^--device is 'jaxs', which is unknown; did you mean 'jax'\?"):
        check_device("jaxs", "--device")


@pytest.mark.parametrize(
    ("phases", "missing"),
    [("('evaluate',)", "'evaluate' could read; add 'finetune'"), ("('export',)", "'finetune' or 'uniform'"),
     ("('search',)", "'search' could read; add 'pretrain'"), ("('uniform','evaluate')", "'evaluate' could read")],
)  # fmt: skip
def test_phases_without_anything_trained_are_refused_at_once(phases, missing, capfd, folder):
    said = error_of(capfd, "search", [QUICKSTART, "--workdir=w", f"--config.phases={phases}"], folder)
    assert "nothing is trained in" in said
    assert missing in said


def test_only_a_searched_network_is_taken_from_another_run(capfd, folder, tmp_path_factory):
    other = Workdir(tmp_path_factory.mktemp("other"))
    other.finish("uniform", {})
    arguments = [QUICKSTART, "--workdir=w", f"--config.init_from={other.root}", "--config.phases=('export',)"]
    assert "nothing is trained in" in error_of(capfd, "search", arguments, folder)


def test_an_export_that_cannot_be_written_is_refused_at_once(capfd, folder):
    arguments = ["--workdir=w", "--output=/proc/none/c.tflite"]
    said = error_of(capfd, "convert", arguments, folder)
    assert "/proc/none/c.tflite cannot be written (No such file or directory); name another place with --output" in said


# ---- the end of a run


def test_a_run_ends_with_what_it_made_and_what_to_type_next(folder):
    root = Path("my run")
    assert list(main.made(root, {"phases": {"pretrain": {}}})) == ["figures: my run/results.json"]
    phases = {phase: {} for phase in ("finetune", "evaluate", "export")}
    lines = list(main.made(root, {"phases": phases, "choice": {}}))
    assert lines[:5] == [
        "figures: my run/results.json",
        "report:  my run/report/report.html",
        "model:   my run/model.tflite",
        "card:    my run/model.md",
        "next:",
    ]
    predict, convert = (shlex.split(line)[3:] for line in lines[5:])  # after python -m rtseg_jax
    values, words = parsed(entry_of(predict[0]).load(), predict[1:])
    assert (values.model, words) == ("my run/model.tflite", ["PICTURES"])
    values, _ = parsed(entry_of(convert[0]).load(), convert[1:])
    assert (values.workdir, values.quantize, values.output) == ("my run", "fp16", "my run/model_fp16.tflite")
    del phases["export"]
    assert "predict '--workdir=my run' " in list(main.made(root, {"phases": phases, "choice": {}}))[3]


# ---- what libraries print


def test_start_up_lines_are_left_out_and_all_else_passes(capfd):
    lines = [
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "I0000 00:00:1795292456.668965   32630 port.cc:153] oneDNN custom operations are on. You may see",
        "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
        "E0000 00:00:1795292456.668965   32630 file.cc:1] oneDNN failed",
        "ERROR: Encountered an unresolved custom op",
    ]

    @start_up_lines_left_out()
    def speak():
        os.write(2, "\n".join([*lines, "without an end"]).encode())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        speak()
    os.write(2, f"\n{lines[2]}\n".encode())
    assert capfd.readouterr().err.splitlines() == [*lines[3:], "without an end", lines[2]]


def test_a_crash_meanwhile_is_not_hidden():
    code = (
        "import os; from rtseg_jax.quiet import start_up_lines_left_out\n"
        "with start_up_lines_left_out():\n    os.write(2, b'F0000 last words\\n'); os.abort()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-6, "F0000 last words\n")


QUIET = """
import json, sys
from rtseg_jax.commands import entry_of
for name, arguments in json.loads(sys.argv[1]):
    assert entry_of(name).load().execute(arguments, name) == 0, name
import numpy as np, rtseg_jax
print(rtseg_jax.load("m.tflite")(np.zeros((9, 9, 3), np.uint8)).shape)
"""


def test_commands_print_nothing_of_their_libraries(folder):
    write_workdir(folder / "w", random_variables())
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save("a.png")
    steps = [
        ("convert", ["--workdir=w", "--pictures=0", "--output=m.tflite"]),
        ("convert", ["--workdir=w", "--pictures=0", "--quantize=int8", "--calibration=16", "--output=i.tflite"]),
        ("predict", ["--model=m.tflite", "a.png", "--output=o"]),
        ("predict", ["--workdir=w", "a.png", "--output=o"]),
        ("benchmark", ["m.tflite", "--runs=1"]),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    command = [sys.executable, "-c", QUIET, json.dumps(steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("(9, 9)\n")
