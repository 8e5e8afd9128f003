"""TFLite files as objects of their schema; importing this module is cheap."""

from typing import Any


def unpacked(model: bytes) -> Any:
    """The `ModelT` of a file."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(model, 0)


def packed(file: Any) -> bytes:
    """The file of a `ModelT`."""
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(file.Pack(builder), b"TFL3")
    return bytes(builder.Output())
