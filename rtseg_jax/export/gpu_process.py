"""Runs files on LiteRT's GPU accelerator; a process of its own, started by `gpu`.

For each file N.tflite of a folder it writes N.log, what the runtime logged; N_outputs.npz; and N.json, last.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


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
    shape, dtype = output_details(model)
    given, returned = model.create_input_buffers(0), model.create_output_buffers(0)
    outputs, milliseconds = [], []
    with np.load(folder / f"{number}_inputs.npz") as inputs:
        for value in inputs.values():
            for _ in range(repeats):
                start = time.perf_counter()
                given[0].write(value)
                model.run_by_index(0, given, returned)
                output = returned[0].read(int(np.prod(shape)), dtype)
                milliseconds.append(1e3 * (time.perf_counter() - start))
            outputs.append(output.reshape(shape))
    np.savez(folder / f"{number}_outputs.npz", *outputs)
    return {"error": None, "milliseconds": milliseconds}


def compile_model(path: Path, full_precision: bool) -> Any:
    """A file on the GPU alone; operators that it refuses are an error."""
    from ai_edge_litert.compiled_model import CompiledModel  # noqa: PLC0415
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator  # noqa: PLC0415
    from ai_edge_litert.options import GpuOptions, Options  # noqa: PLC0415

    options = Options(HardwareAccelerator.GPU, gpu_options=GpuOptions(enforce_f32=full_precision))
    return CompiledModel.from_file(str(path), options=options)


def output_details(model: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the only output."""
    signature = next(iter(model.get_signature_list()))
    (details,) = model.get_output_tensor_details(signature).values()
    return tuple(details["shape"]), np.dtype(details["dtype"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
