// From what a network answers to the class of every pixel, as rtseg_jax/evaluation/upsampling.py does it.

function taps(before, after) {
  const low = new Int32Array(after)
  const high = new Int32Array(after)
  const weight = new Float32Array(after)
  for (let i = 0; i < after; i++) {
    const centre = Math.min(Math.max(((i + 0.5) * before) / after - 0.5, 0), before - 1)
    low[i] = Math.floor(centre)
    weight[i] = centre - low[i]
    high[i] = low[i] + (weight[i] > 0 ? 1 : 0)
  }
  return { low, high, weight }
}

// The answer of a model as an array [height width classes] of its first picture, in values.
export function asValues(answer, { shape, scale, zero }) {
  const first = answer.subarray(0, answer.length / shape[0])
  return scale === 0 ? first : Float32Array.from(first, number => scale * (number - zero))
}

// Labels [toHeight toWidth] of logits [height width classes]: enlarged bilinearly, then the first of the largest.
export function labelMap(logits, [height, width, classes], [toHeight, toWidth]) {
  const labels = new Uint8Array(toHeight * toWidth)
  const rows = taps(height, toHeight)
  const columns = taps(width, toWidth)
  const length = width * classes
  const mixed = new Float32Array(length)
  for (let y = 0, to = 0; y < toHeight; y++) {
    const low = rows.low[y] * length
    const high = rows.high[y] * length
    const down = rows.weight[y]
    for (let i = 0; i < length; i++) mixed[i] = logits[low + i] + down * (logits[high + i] - logits[low + i])
    for (let x = 0; x < toWidth; x++, to++) {
      const left = columns.low[x] * classes
      const right = columns.high[x] * classes
      const across = columns.weight[x]
      let best = -Infinity
      let label = 0
      for (let k = 0; k < classes; k++) {
        const value = mixed[left + k] + across * (mixed[right + k] - mixed[left + k])
        if (value > best) {
          best = value
          label = k
        }
      }
      labels[to] = label
    }
  }
  return labels
}

// Labels [toHeight toWidth] of a map of class numbers: of each pixel the one in which its centre lies.
export function nearestLabels(numbers, [height, width], [toHeight, toWidth]) {
  const labels = new Uint8Array(toHeight * toWidth)
  for (let y = 0, to = 0; y < toHeight; y++) {
    const start = Math.floor(((2 * y + 1) * height) / (2 * toHeight)) * width
    for (let x = 0; x < toWidth; x++, to++) {
      labels[to] = Math.round(numbers[start + Math.floor(((2 * x + 1) * width) / (2 * toWidth))])
    }
  }
  return labels
}

// Either of both, by what the model ends in.
export function labelsOf(answer, model, size) {
  const values = asValues(answer, model.output)
  const shape = model.output.shape.slice(1)
  return model.head === "class_map" ? nearestLabels(values, shape, size) : labelMap(values, shape, size)
}

// How many pixels each class has.
export function counts(labels, classes) {
  const found = new Array(classes).fill(0)
  for (const label of labels) found[label]++
  return found
}
