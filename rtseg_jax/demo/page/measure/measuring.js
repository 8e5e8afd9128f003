// In the worker: times files.

import { compile, load } from "../runner.js"
import { Neighbour } from "./neighbour.js"
import { noise } from "./noise.js"
import { sample } from "./sampling.js"

const MOST_KEPT = 8 // compiled networks

const networks = new Map()
let neighbour = null

async function fetched(file) {
  const response = await fetch(`measure/${file}`, { cache: "no-store" })
  if (!response.ok) throw new Error(`${file}: ${response.status} ${response.statusText}`)
  return new Uint8Array(await response.arrayBuffer())
}

function forget(names) {
  for (const name of names) {
    networks.get(name).delete()
    networks.delete(name)
  }
}

// The network of a task; others are forgotten where `keep` does not name them, or where there are too many.
async function networkOf({ model, file }, { accelerator, threads }, keep) {
  forget([...networks.keys()].filter(name => !keep.includes(name)))
  if (networks.has(model)) return networks.get(model)
  if (networks.size >= MOST_KEPT) forget([networks.keys().next().value])
  const bytes = await fetched(file)
  const compiled = () => compile(bytes, accelerator, accelerator === "wasm" ? threads : undefined)
  const network = await compiled().catch(error => {
    if (networks.size === 0) throw error
    forget([...networks.keys()]) // it may be for want of memory
    return compiled()
  })
  networks.set(model, network)
  return network
}

// How much slower the processor is than at its best; a GPU is another one.
function slowsOn(accelerator) {
  if (accelerator !== "wasm") return () => 0
  neighbour ??= new Neighbour()
  return () => neighbour.slows()
}

export const CALLS = {
  load,

  async measure({ task, job, keep }) {
    const network = await networkOf(task, job, keep)
    const arrays = network.inputs.map(({ type, shape }) => noise(type, shape.reduce((size, side) => size * side, 1)))
    if (task.copies) return sample(() => network.run(arrays), { ...task, warm: task.warm_ms, least: 0 })
    await network.hold(arrays)
    try {
      const options = { ...task, warm: task.warm_ms, least: task.least_ms }
      return await sample(times => network.repeat(times), options, slowsOn(job.accelerator))
    } finally {
      network.release()
    }
  },
}
