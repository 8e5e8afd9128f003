"""The networks once more, in NumPy and float64: what a declaration computes in evaluation mode, written out."""

import numpy as np

from rtseg_jax.architecture import graph

EPSILON = 1e-5


def run(network, variables, images):
    """Logits and auxiliary logits of a network without mixed blocks."""
    values = {network.image: np.asarray(images, np.float64)}
    heads = []
    for block in (*network.blocks, *network.auxiliary):
        inner = dict(values)
        for op in block.ops:
            leaves = {}
            for collection in ("params", "batch_stats"):
                leaves |= _float64(variables[collection].get(block.name, {}).get(op.name, {}), leaves)
            inner[op.output] = OPS[type(op)](op, [inner[tensor] for tensor in op.inputs], leaves)
        values[block.output] = inner[block.output]
        if block in network.auxiliary:
            heads.append(inner[block.output])
    return values[network.blocks[-1].output], heads


def _float64(tree, known):
    result = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            result[name] = {**known.get(name, {}), **_float64(value, {})}
        else:
            result[name] = np.asarray(value, np.float64)
    return result


def _normalize(x, leaves):
    return (x - leaves["mean"]) / np.sqrt(leaves["var"] + EPSILON) * leaves["scale"] + leaves["bias"]


def _activate(x, activation):
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "gelu":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x


def _windows(x, kernel, stride, fill=0.0):
    """The picture as each tap sees it: `SAME` padding, what is uneven goes behind."""
    padding, sizes = [(0, 0)], []
    for size in x.shape[1:3]:
        out = -(-size // stride)
        total = max(0, (out - 1) * stride + kernel - size)
        padding.append((total // 2, total - total // 2))
        sizes.append(out)
    x = np.pad(x, (*padding, (0, 0)), constant_values=fill)
    for i in range(kernel):
        for j in range(kernel):
            yield i, j, x[:, i : i + (sizes[0] - 1) * stride + 1 : stride, j : j + (sizes[1] - 1) * stride + 1 : stride]


def _conv(op, inputs, leaves):
    (x,), kernel = inputs, leaves["kernel"]
    if op.depthwise:
        x = np.repeat(x, kernel.shape[-1] // x.shape[-1], axis=-1)
        y = sum(tap * kernel[i, j, 0] for i, j, tap in _windows(x, op.kernel, op.stride))
    else:
        y = sum(tap @ kernel[i, j] for i, j, tap in _windows(x, op.kernel, op.stride))
    if op.bias:
        y = y + leaves["bias"]
    if op.norm:
        y = _normalize(y, leaves["norm"])
    return _activate(y, op.activation)


def _conv_transpose(op, inputs, leaves):
    x, like = inputs
    p, kernel = op.stride, leaves["kernel"]
    y = np.zeros((x.shape[0], x.shape[1] * p, x.shape[2] * p, kernel.shape[-1]))
    for i in range(p):
        for j in range(p):
            y[:, i::p, j::p] = x @ kernel[p - 1 - i, p - 1 - j]  # placed turned round
    return _normalize(y[:, : like.shape[1], : like.shape[2]], leaves["norm"])


def _layer_norm(op, inputs, leaves):
    (x,) = inputs
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
    return x * leaves["scale"] + leaves["bias"]


def _attention(op, inputs, leaves):
    b, h, w, _ = inputs[0].shape
    width = op.output.groups[0].unit
    outputs = []
    for head in range(op.output.groups[0].size):
        q, k, v = (x[..., head * width : (head + 1) * width].reshape(b, h * w, width) for x in inputs)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(width)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        outputs.append(((weights / weights.sum(-1, keepdims=True)) @ v).reshape(b, h, w, width))
    return np.concatenate(outputs, -1)


def _pool(op, inputs, leaves):
    (x,) = inputs
    if op.kind == "max":
        return np.max([tap for _, _, tap in _windows(x, 3, 2, -np.inf)], axis=0)
    return sum(tap for _, _, tap in _windows(x, 3, 2)) / 9


def _resize(op, inputs, leaves):
    x, like = inputs
    for axis in (1, 2):
        old, new = x.shape[axis], like.shape[axis]
        position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (position - low).reshape([-1 if n == axis else 1 for n in range(4)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


OPS = {
    graph.Conv: _conv,
    graph.ConvTranspose: _conv_transpose,
    graph.BatchNorm: lambda op, inputs, leaves: _normalize(inputs[0], leaves),
    graph.LayerNorm: _layer_norm,
    graph.Attention: _attention,
    graph.Add: lambda op, inputs, leaves: _activate(sum(inputs), op.activation),
    graph.Gate: lambda op, inputs, leaves: inputs[0] / (1 + np.exp(-inputs[1])),
    graph.Concat: lambda op, inputs, leaves: np.concatenate(inputs, -1),
    graph.Resize: _resize,
    graph.Pool: _pool,
    graph.GlobalMean: lambda op, inputs, leaves: inputs[0].mean((1, 2), keepdims=True),
    graph.Dropout: lambda op, inputs, leaves: inputs[0],
}
