// Pictures as the networks take them: with the same bits as rtseg_jax/resizing.py and rtseg_jax/inference.py.

const ONE = 256 // weights have eight fractional bits

function rounded(value) {
  // to the nearest, of two equally near ones the even
  const low = Math.floor(value)
  const rest = value - low
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low
}

// Of each of `after` pixels along a side of `before`: its neighbours, and the weight of the second in 256ths.
export function exactTaps(before, after) {
  const low = new Int32Array(after)
  const high = new Int32Array(after)
  const weight = new Int32Array(after)
  for (let i = 0; i < after; i++) {
    const centre = (i + 0.5) * (before / after) - 0.5
    const floor = Math.floor(centre)
    low[i] = Math.min(Math.max(floor, 0), before - 1)
    high[i] = Math.min(Math.max(floor + 1, 0), before - 1)
    weight[i] = floor < 0 || floor >= before - 1 ? 0 : rounded((centre - floor) * ONE)
  }
  return { low, high, weight }
}

// RGBA bytes [height width 4] to RGB bytes [toHeight toWidth 3]: bilinear, half-pixel centres, no low-pass filter.
export function resizeRgb(rgba, [height, width], [toHeight, toWidth]) {
  const result = new Uint8Array(toHeight * toWidth * 3)
  if (height === toHeight && width === toWidth) {
    for (let from = 0, to = 0; to < result.length; from += 4, to += 3) {
      result[to] = rgba[from]
      result[to + 1] = rgba[from + 1]
      result[to + 2] = rgba[from + 2]
    }
    return result
  }
  const rows = exactTaps(height, toHeight)
  const columns = exactTaps(width, toWidth)
  const line = (row, into) => {
    const start = row * width * 4
    for (let x = 0, to = 0; x < toWidth; x++) {
      const low = start + columns.low[x] * 4
      const high = start + columns.high[x] * 4
      const weight = columns.weight[x]
      for (let channel = 0; channel < 3; channel++, to++) {
        into[to] = rgba[low + channel] * (ONE - weight) + rgba[high + channel] * weight
      }
    }
    return into
  }
  let above = new Int32Array(toWidth * 3)
  let below = new Int32Array(toWidth * 3)
  let inAbove = -1
  let inBelow = -1
  for (let y = 0, to = 0; y < toHeight; y++) {
    if (inBelow === rows.low[y]) {
      ;[above, below, inAbove, inBelow] = [below, above, inBelow, inAbove]
    }
    if (inAbove !== rows.low[y]) line((inAbove = rows.low[y]), above)
    if (inBelow !== rows.high[y]) line((inBelow = rows.high[y]), below)
    const weight = rows.weight[y]
    for (let i = 0; i < above.length; i++, to++) {
      result[to] = (above[i] * (ONE - weight) + below[i] * weight + 0x8000) >> 16
    }
  }
  return result
}

// RGB bytes as the tensor of a model; a model that takes several pictures gets this one as often.
// `tensor` is its description: shape, type, and step and zero point of its numbers.
export function asTensor(rgb, { shape, type, scale, zero }) {
  const copies = shape[0]
  const result = new { float32: Float32Array, uint8: Uint8Array, int32: Int32Array }[type](copies * rgb.length)
  const one = result.subarray(0, rgb.length)
  if (scale === 0) {
    one.set(rgb)
  } else {
    const numbers = Int32Array.from({ length: 256 }, (_, value) => rounded(value / scale) + zero)
    const [least, most] = type === "uint8" ? [0, 255] : [-(2 ** 31), 2 ** 31 - 1]
    for (let i = 0; i < rgb.length; i++) one[i] = Math.min(Math.max(numbers[rgb[i]], least), most)
  }
  for (let copy = 1; copy < copies; copy++) result.set(one, copy * rgb.length)
  return result
}
