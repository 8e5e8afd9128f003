// The page's side of the worker: calls that answer later.

export class Client {
  // `module` has the CALLS that the worker answers.
  constructor(module) {
    this.waiting = new Map()
    this.number = 0
    this.worker = new Worker(new URL(`worker.js#${module}`, import.meta.url))
    this.worker.addEventListener("message", ({ data }) => {
      const { resolve, reject } = this.waiting.get(data.number)
      this.waiting.delete(data.number)
      if (data.error === undefined) resolve(data.result)
      else reject(new Error(data.error))
    })
    this.worker.addEventListener("error", event => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message || "the worker could not start"))
      this.waiting.clear()
    })
  }

  // The answer of one of the worker's calls.
  ask(call, argument) {
    const number = this.number++
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve, reject })
      this.worker.postMessage({ number, call, argument })
    })
  }
}
