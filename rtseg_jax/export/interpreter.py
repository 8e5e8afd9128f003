"""LiteRT on the host."""

from typing import Any


def load_interpreter(model: bytes, threads: int = 1) -> Any:
    """A LiteRT interpreter, ready to run."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  (takes a second that most users never need)

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter
