"""LiteRT on the host."""

import contextlib
from typing import Any

from rtseg_jax.quiet import start_up_lines_left_out

_GREETING = iter((start_up_lines_left_out,))  # LiteRT greets once in a process


def load_interpreter(model: bytes, threads: int = 1, *, keep_every_tensor: bool = False) -> Any:
    """A LiteRT interpreter, ready to run.

    Where it keeps every tensor, no two share memory, so that each can be read after a run, and no delegate runs.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep_every_tensor else OpResolverType.AUTO
    settings = {"experimental_preserve_all_tensors": keep_every_tensor, "experimental_op_resolver_type": kind}
    with next(_GREETING, contextlib.nullcontext)():
        interpreter = Interpreter(model_content=model, num_threads=threads, **settings)
        interpreter.allocate_tensors()
    return interpreter


def inputs_in_order(interpreter: Any) -> list[dict[str, Any]]:
    """What is known of a file's inputs, in the order in which the exported function took them."""
    if interpreter.get_signature_list():
        return list(interpreter.get_signature_runner().get_input_details().values())
    return sorted(interpreter.get_input_details(), key=_position)


def _position(detail: dict[str, Any]) -> tuple[int, str]:
    """By the number that the name ends with: the tenth input after the ninth."""
    return len(detail["name"]), detail["name"]
