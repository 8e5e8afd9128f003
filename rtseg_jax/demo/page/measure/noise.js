// What networks are timed on.

const TYPES = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array }

// Numbers of a type that look like noise, the same every time: floats of mean 0 and variance 1, integers up to 255.
export function noise(type, length) {
  if (!(type in TYPES)) throw new Error(`a tensor is ${type}, which LiteRT.js does not take`)
  const result = new TYPES[type](length)
  let state = 1
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    result[i] = type === "float32" ? (state / 2 ** 31 - 1) * Math.sqrt(3) : state >>> 24
  }
  return result
}
