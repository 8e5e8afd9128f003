// In the worker: frames to labels, for each model of the page.

import { labelsOf } from "./labels.js"
import { asTensor, resizeRgb } from "./preprocessing.js"
import { compile, load } from "./runner.js"

const files = new Map()
const networks = new Map()

async function fileOf(model) {
  if (!files.has(model.file)) {
    const response = await fetch(model.file)
    if (!response.ok) throw new Error(`${model.file}: ${response.status} ${response.statusText}`)
    files.set(model.file, new Uint8Array(await response.arrayBuffer()))
  }
  return files.get(model.file)
}

export const CALLS = {
  load,

  // Compiles a model for an accelerator in the place of what it had before.
  async use({ model, on }) {
    const network = await compile(await fileOf(model), on)
    networks.get(model.file)?.delete()
    networks.set(model.file, network)
  },

  // A frame { data, height, width } to { labels, times }; `size` is the (height, width) of the labels.
  async segment({ model, frame, size }) {
    const began = performance.now()
    const rgb = resizeRgb(frame.data, [frame.height, frame.width], model.input.shape.slice(1, 3))
    const tensor = asTensor(rgb, model.input)
    const prepared = performance.now()
    const [answer] = await networks.get(model.file).run([tensor])
    const computed = performance.now()
    const labels = labelsOf(answer, model, size)
    const ended = performance.now()
    const times = { preprocessing: prepared - began, network: computed - prepared, drawing: ended - computed }
    return { labels, times }
  },
}
