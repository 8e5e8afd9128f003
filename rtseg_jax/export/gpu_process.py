"""Runs files on LiteRT's GPU accelerator; a process of its own, started by `gpu`.

For each file N.tflite of a folder it writes N.log, what the runtime logged; N_outputs.npz; and N.json, last.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIGNATURE = "<placeholder signature>"  # the runtime's name for the only function of a file without named ones


def main(folder: Path) -> None:
    """Runs every job of a folder."""
    for number, settings in enumerate(json.loads((folder / "jobs.json").read_text())):
        # What the runtime says goes to the error stream, beneath Python.
        log = os.open(folder / f"{number}.log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, sys.stderr.fileno())
        os.close(log)
        result = run(folder, number, **settings)
        (folder / f"{number}.json").write_text(json.dumps(result))


def run(folder: Path, number: int, repeats: int, full_precision: bool) -> dict[str, Any]:
    """Compiles one file and runs it on its inputs."""
    try:
        model = compile_model(folder / f"{number}.tflite", full_precision)
    except RuntimeError as error:
        return {"error": str(error).splitlines()[-1], "milliseconds": []}
    with np.load(folder / f"{number}_inputs.npz") as pictures:
        runs = [[picture] for picture in pictures.values()] or [random_inputs(model)]
    (returned,) = model.create_output_buffers(0)
    shape, dtype = details(model.get_output_tensor_details)[0]
    given = [model.create_input_buffer_by_name(SIGNATURE, name) for name in model.get_input_tensor_details(SIGNATURE)]
    outputs, milliseconds = [], []
    for values in runs:
        for _ in range(repeats):
            start = time.perf_counter()
            for buffer, value in zip(given, values, strict=True):
                buffer.write(value)
            model.run_by_index(0, given, [returned])
            output = returned.read(int(np.prod(shape)), dtype)
            milliseconds.append(1e3 * (time.perf_counter() - start))
        outputs.append(output.reshape(shape))
    np.savez(folder / f"{number}_outputs.npz", *outputs)
    return {"error": None, "milliseconds": milliseconds}


def compile_model(path: Path, full_precision: bool) -> Any:
    """A file on the GPU alone; operators that it refuses are an error."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import GpuOptions, Options

    options = Options(HardwareAccelerator.GPU, gpu_options=GpuOptions(enforce_f32=full_precision))
    return CompiledModel.from_file(str(path), options=options)


def details(of: Callable[[str], Any]) -> list[tuple[tuple[int, ...], np.dtype]]:
    """Shapes and types of a file's inputs or outputs."""
    return [(tuple(tensor["shape"]), np.dtype(tensor["dtype"])) for tensor in of(SIGNATURE).values()]


def random_inputs(model: Any) -> list[np.ndarray]:
    """A value for every input: standard normal, or any pixel."""
    generator = np.random.default_rng(0)
    values = []
    for shape, dtype in details(model.get_input_tensor_details):
        drawn = generator.integers(0, 128, shape) if dtype.kind in "iu" else generator.standard_normal(shape)
        values.append(drawn.astype(dtype))
    return values


if __name__ == "__main__":
    main(Path(sys.argv[1]))
