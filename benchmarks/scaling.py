"""What a search step costs on many devices, read off the compiled program; nothing of it is run.

    python -m benchmarks.scaling --mesh 8,1,1 [--config configs/search.py] [--batch 64] [--json scaling.json]
    python -m benchmarks.scaling --table scaling.json [--device h100] [--derive 1:8 64:64 64:512 256:2048]

The first compiles the step by worth for a mesh (data, fsdp, spatial) of simulated CPU devices, and counts in XLA's
optimized program of one device: floating-point operations and bytes as XLA's cost analysis has them, and every
collective with its bytes. The second predicts times on a device from its published numbers, see docs/scaling.md; with
`--derive` also for other numbers of devices and pictures, `devices:pictures`, that divide the batch alone.
"""

import argparse
import dataclasses
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
INSTRUCTION = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-start)?\(")
IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{((?:\{[\d,]+\},?)+)\}")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between devices.

    Attributes:
      kind: one of `COLLECTIVES`.
      size: of its result on one device, bytes.
      groups: numbers of the devices that exchange with each other; of a permute, pairs.
    """

    kind: str
    size: int
    groups: tuple[tuple[int, ...], ...]

    @property
    def sent(self) -> float:
        """Bytes that a device sends where its group is a ring."""
        n = len(self.groups[0])
        share = (n - 1) / n
        return {
            "all-reduce": 2 * share * self.size,
            "all-gather": share * self.size,
            "reduce-scatter": (n - 1) * self.size,
            "all-to-all": share * self.size,
            "collective-permute": float(self.size),
        }[self.kind]

    def inside(self, node: int) -> bool:
        """Whether no group reaches beyond a node of so many devices."""
        return all(len({device // node for device in group}) == 1 for group in self.groups)


@dataclasses.dataclass(frozen=True)
class Device:
    """Published numbers of an accelerator.

    Attributes:
      flops: operations per second of float32 convolutions as XLA runs them by default.
      memory: bytes per second of its own memory.
      near: bytes per second that it can send to the devices of its node.
      far: the same beyond.
      node: devices of a node.
      delay: seconds that a collective takes however short it is; an assumption, not published.
    """

    flops: float
    memory: float
    near: float
    far: float
    node: int
    delay: float = 10e-6


DEVICES = {
    # NVIDIA H100 Tensor Core GPU data sheet, SXM: TF32 989 TFLOPS with sparsity, half of it without; 3.35 TB/s;
    # NVLink 900 GB/s in both directions together. DGX H100: one 400 Gb/s adapter for each GPU.
    "h100": Device(494.5e12, 3.35e12, 450e9, 50e9, 8),
    # Cloud TPU v5e documentation: 197 TFLOPS in bfloat16, in which XLA multiplies float32 by default; 819 GB/s;
    # 1,600 Gb/s between chips, all links of one together; a pod has 256 chips.
    "v5e": Device(197e12, 819e9, 200e9, 200e9, 256),
}


def collectives(program: str) -> Iterator[Collective]:
    """Every exchange in the text of a compiled program."""
    for line in program.splitlines():
        if (found := INSTRUCTION.search(line)) is not None:
            groups = device_groups(line)
            if len(groups[0]) > 1:
                yield Collective(found[2], sum(array_bytes(found[1])), groups)


def array_bytes(text: str) -> list[int]:
    """Sizes of the arrays of a type, `f32[2,3]{1,0}` or a tuple of such."""
    return [
        BYTES[kind] * math.prod(int(length) for length in shape.split(",") if length)
        for kind, shape in ARRAY.findall(text)
    ]


def device_groups(line: str) -> tuple[tuple[int, ...], ...]:
    """The groups of a collective, which are listed or `[groups,size]<=[shape]T(order)` of all numbers."""
    if (iota := IOTA.search(line)) is not None:
        shape = [int(length) for length in iota[3].split(",")]
        order = [int(axis) for axis in iota[4].split(",")] if iota[4] else range(len(shape))
        numbers = np.arange(math.prod(shape)).reshape(shape).transpose(order).reshape(int(iota[1]), int(iota[2]))
        return tuple(tuple(group) for group in numbers.tolist())
    listed = LISTED.search(line)
    if listed is None:
        raise ValueError(f"a collective without groups: {line[:200]}")
    return tuple(tuple(map(int, group.split(","))) for group in re.findall(r"\{([\d,]+)\}", listed[1]))


def search_setup(spec: Any, placement: Any, dtype: str = "float32") -> Any:
    """The step of the search by worth of a `RunSpec`."""
    from rtseg_jax.architecture import declare
    from rtseg_jax.models import SegmentationNetwork
    from rtseg_jax.search.budget import Budget
    from rtseg_jax.search.cost import Target
    from rtseg_jax.training.optimizers import weight_optimizer
    from rtseg_jax.training.step import StepSetup
    from rtseg_jax.training.worth_search import WorthSearch

    network, size = declare(spec.network), spec.data.train_size
    model = SegmentationNetwork(
        network, dtype, rematerialize=spec.train.rematerialize, division=placement.division
    )  # the operators of accelerators, which a CPU would be told to express otherwise
    cost = Budget.parse("gmacs:1").of_network(network, size)  # it is only logged, and costs next to nothing
    optimizer = weight_optimizer(spec.train, "search")
    loss = dataclasses.replace(spec.loss, lam=0.0)  # no teacher
    return StepSetup(model, optimizer, loss, 0, WorthSearch(cost, Target(1.0, "GMACs")))


def compiled_step(config: str, mesh: Sequence[int], batch: int) -> dict[str, Any]:
    """Counts of one step on one device of a mesh."""
    import jax
    import jax.numpy as jnp

    from rtseg_jax.command_line import load_config
    from rtseg_jax.config import run_spec
    from rtseg_jax.models import variable_shapes
    from rtseg_jax.search.worth_params import initial_worth
    from rtseg_jax.training.loop import compile_step
    from rtseg_jax.training.placement import make_placement
    from rtseg_jax.training.specs import MeshSpec
    from rtseg_jax.training.state import TrainState

    settings = load_config(config)
    settings.batch_size = batch
    spec = run_spec(settings)
    size, placement = spec.data.train_size, make_placement(MeshSpec(*mesh))
    setup = search_setup(spec, placement)

    def fresh(variables: Any) -> TrainState:
        params = variables["params"]
        opt_state, worth = setup.optimizer.init(params), initial_worth(setup.model.network, spec.search.samples)
        return TrainState(jnp.int32(0), params, variables["batch_stats"], opt_state, worth)

    state = jax.eval_shape(fresh, variable_shapes(setup.model))
    pictures = {
        "image": jax.ShapeDtypeStruct((batch, *size, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch, *size), jnp.uint8),
    }
    shapes = _placed(state, placement.of_state(state)), _placed(pictures, placement.of_batch(pictures))
    began = time.monotonic()
    compiled = compile_step(setup, state, placement).lower(*shapes, None).compile()
    costs, memory = compiled.cost_analysis(), compiled.memory_analysis()
    exchanges = [dataclasses.asdict(collective) for collective in collectives(compiled.as_text())]
    return {
        "mesh": list(mesh),
        "batch": batch,
        "size": list(size),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "flops": costs["flops"],
        "bytes": costs["bytes accessed"],
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "collectives": summed(exchanges),
        "compile_seconds": time.monotonic() - began,
    }


def _placed(shapes: Any, shardings: Any) -> Any:
    import jax

    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )


def summed(exchanges: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Collectives of one kind and with the same groups as one row: how many, how large."""
    rows: dict[Any, dict[str, Any]] = {}
    for exchange in exchanges:
        key = exchange["kind"], exchange["groups"]
        row = rows.setdefault(key, {"kind": key[0], "groups": key[1], "count": 0, "size": 0})
        row["count"] += 1
        row["size"] += exchange["size"]
    return list(rows.values())


def derived(row: Mapping[str, Any], devices: int, batch: int) -> dict[str, Any]:
    """What a compiled step along `data` would be on other devices with other pictures, without compiling it.

    Arithmetic and bytes follow the pictures of a device; what does not, reading and moving weights, is a few per cent
    at one picture. Devices exchange sums of weights' and channels' size, however many pictures there are.
    """
    if row["mesh"][1:] != [1, 1]:
        raise ValueError(f"a step on the mesh {row['mesh']} exchanges more than sums; compile the other mesh")
    ratio = batch / devices / (row["batch"] / row["mesh"][0])
    groups = [list(range(devices))]
    return {
        "mesh": [devices, 1, 1],
        "batch": batch,
        "flops": row["flops"] * ratio,
        "bytes": row["bytes"] * ratio,
        "collectives": [{**entry, "groups": groups} for entry in row["collectives"]] if devices > 1 else [],
    }


def predicted(counts: Mapping[str, Any], device: Device) -> dict[str, float]:
    """Seconds of a step: of arithmetic or memory, whichever is longer, and of what devices exchange."""
    computing = max(counts["flops"] / device.flops, counts["bytes"] / device.memory)
    exchanging = 0.0
    for row in counts["collectives"]:
        collective = Collective(row["kind"], row["size"], tuple(tuple(group) for group in row["groups"]))
        speed = device.near if collective.inside(device.node) else device.far
        exchanging += collective.sent / speed + row["count"] * device.delay
    return {"computing": computing, "exchanging": exchanging}


def table(rows: Sequence[Mapping[str, Any]], device: Device) -> str:
    """Counts and predictions of every mesh; efficiencies are to the row with one device."""
    lines = [
        "| mesh data×fsdp×spatial | pictures | TFLOP | GB moved | collectives | GB exchanged | ms computing | "
        "ms exchanging | efficiency | utilization |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    one = next((row for row in rows if math.prod(row["mesh"]) == 1), None)
    for row in rows:
        times = predicted(row, device)
        slow, fast = sum(times.values()), max(times.values())
        cells = [
            "×".join(map(str, row["mesh"])),
            f"{row['batch']}",
            f"{row['flops'] / 1e12:.2f}",
            f"{row['bytes'] / 1e9:.1f}",
            f"{sum(entry['count'] for entry in row['collectives'])}",
            f"{sum(entry['size'] for entry in row['collectives']) / 1e9:.3f}",
            *(f"{1e3 * times[name]:.1f}" for name in ("computing", "exchanging")),
            "–" if one is None else " to ".join(efficiency(one, row, device, t) for t in (slow, fast)),
            f"{100 * row['flops'] / device.flops / slow:.0f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def efficiency(one: Mapping[str, Any], row: Mapping[str, Any], device: Device, seconds: float) -> str:
    """Pictures per second and device, over those of one device."""
    alone = one["batch"] / sum(predicted(one, device).values())
    return f"{100 * row['batch'] / seconds / math.prod(row['mesh']) / alone:.0f} %"


def main() -> None:
    """Compiles one mesh, or prints the table of those that were."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mesh", help="data,fsdp,spatial")
    parser.add_argument("--config", default="configs/search.py")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--json", type=Path, help="add the counts to this file")
    parser.add_argument("--table", type=Path, help="a file of counts")
    parser.add_argument("--derive", nargs="*", default=(), help="devices:pictures, as 64:512")
    parser.add_argument("--device", choices=sorted(DEVICES), default="h100")
    arguments = parser.parse_args()
    if arguments.table:
        rows = json.loads(arguments.table.read_text())
        along_data = next((row for row in rows if row["mesh"][0] > 1 and row["mesh"][1:] == [1, 1]), None)
        if arguments.derive and along_data is None:
            parser.error("--derive needs a compiled mesh such as 8,1,1")
        wanted = [tuple(map(int, text.split(":"))) for text in arguments.derive]
        rows += [derived(along_data, devices, batch) for devices, batch in wanted if along_data is not None]
        print(table(sorted(rows, key=lambda row: math.prod(row["mesh"])), DEVICES[arguments.device]))
        return
    if not arguments.mesh:
        parser.error("name a --mesh to compile for, or a --table to print")
    mesh = [int(size) for size in arguments.mesh.split(",")]
    os.environ["JAX_PLATFORMS"] = "cpu"
    # The program of the CPU's vector units is thrown away: it need not be good.
    flags = f"--xla_force_host_platform_device_count={math.prod(mesh)} --xla_backend_optimization_level=0"
    os.environ["XLA_FLAGS"] = f"{flags} --xla_llvm_disable_expensive_passes=true"
    counts = compiled_step(arguments.config, mesh, arguments.batch)
    print(json.dumps({name: value for name, value in counts.items() if name != "collectives"}))
    if arguments.json:
        known = json.loads(arguments.json.read_text()) if arguments.json.exists() else []
        others = [row for row in known if (row["mesh"], row["batch"]) != (counts["mesh"], counts["batch"])]
        arguments.json.write_text(json.dumps([*others, counts], indent=1) + "\n")


if __name__ == "__main__":
    main()
