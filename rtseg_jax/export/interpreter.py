"""LiteRT on the host."""

from typing import Any


def load_interpreter(model: bytes, threads: int = 1) -> Any:
    """A LiteRT interpreter, ready to run."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter
