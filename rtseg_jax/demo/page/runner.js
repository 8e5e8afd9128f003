// Networks on LiteRT.js: loads it, compiles files, runs them on arrays. It knows nothing of pictures.

import * as litert from "./litert/index.js"

const PLACE = new URL("./litert/", import.meta.url).href

// What a network can run on, the usual ones first.
export const ACCELERATORS = {
  wasm: { accelerator: "wasm" },
  webgpu: { accelerator: "webgpu", gpuOptions: { precision: "fp32" } },
  webgpu_fp16: { accelerator: "webgpu", gpuOptions: { precision: "fp16" } },
}

// Loads the build that fits this browser; to be called once, in a worker. Says what there is:
// { build, threads, gpu }, `gpu` null or what the adapter says of itself.
export async function load() {
  const simd = await litert.supportsFeature("relaxedSimd")
  const threaded = simd && self.crossOriginIsolated && (await litert.supportsFeature("threads"))
  const build = `litert_wasm_${threaded ? "threaded_" : simd ? "" : "compat_"}internal`
  // In a worker the loader takes the worker's own address for that of its script.
  self.Module = { locateFile: name => PLACE + name, mainScriptUrlOrBlob: `${PLACE}${build}.js`, printErr }
  const runtime = await litert.loadLiteRt(PLACE, { threads: threaded })
  const adapter = litert.getWebGpuDevice() ? await navigator.gpu.requestAdapter() : null
  const gpu = adapter && describeAdapter(adapter)
  return { build, threads: threaded ? runtime.liteRtWasm.getThreadCount() : 1, gpu }
}

// LiteRT writes everything to its error stream; what it only mentions is no error of the page.
function printErr(text) {
  if (/^(VERBOSE|INFO|WARNING):/.test(text)) console.debug(text)
  else console.error(text)
}

function describeAdapter({ info, features }) {
  const { vendor, architecture, device, description, isFallbackAdapter: software } = info
  return { vendor, architecture, device, description, driver: info.driver ?? "", software, fp16: features.has("shader-f16") }
}

// A file, compiled for one of ACCELERATORS; `threads` of the CPU, as many as there are where it is left out. A GPU that
// does not take all of it is refused: the parts would be computed elsewhere, and no time would be the GPU's.
export async function compile(bytes, on, threads) {
  const cpu = threads === undefined ? {} : { cpuOptions: { numThreads: threads } }
  const compiled = await litert.loadAndCompile(bytes, { ...ACCELERATORS[on], ...cpu })
  if (compiled.options.accelerator !== ACCELERATORS[on].accelerator || (on !== "wasm" && !compiled.isFullyAccelerated)) {
    compiled.delete()
    throw new Error("the GPU does not take every operator of this file")
  }
  return new Network(compiled, on !== "wasm")
}

class Network {
  constructor(compiled, onGpu) {
    this.compiled = compiled
    this.onGpu = onGpu
    this.held = []
    this.inputs = compiled.getInputDetails().map(plain)
    this.outputs = compiled.getOutputDetails().map(plain)
  }

  // Arrays in, arrays out, in the order of `inputs` and `outputs`; copies to and from the accelerator included.
  async run(arrays) {
    const taken = arrays.map((array, i) => new litert.Tensor(array, this.inputs[i].shape))
    let given = []
    try {
      given = await this.compiled.run(taken)
      return await Promise.all(given.map(tensor => tensor.data()))
    } finally {
      for (const tensor of [...taken, ...given]) tensor.delete()
    }
  }

  // Puts arrays where the accelerator reads them, for `repeat`.
  async hold(arrays) {
    this.release()
    for (const [i, array] of arrays.entries()) {
      const tensor = new litert.Tensor(array, this.inputs[i].shape)
      this.held.push(this.onGpu ? await tensor.moveTo("webgpu") : tensor)
    }
  }

  // Runs so many times in a row on what it holds, until the last answer is computed; nothing is copied.
  async repeat(times) {
    for (let i = 0; i < times; i++) {
      const given = await this.compiled.run(this.held)
      for (const tensor of given) tensor.delete()
    }
    if (this.onGpu) await litert.getWebGpuDevice().queue.onSubmittedWorkDone()
  }

  release() {
    for (const tensor of this.held) tensor.delete()
    this.held = []
  }

  delete() {
    this.release()
    this.compiled.delete()
  }
}

function plain({ name, dtype, shape }) {
  return { name, type: dtype, shape: [...shape] }
}
