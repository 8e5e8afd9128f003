// The worker, in which networks run so that the page stays quick. LiteRT.js loads its builds with importScripts, which
// a module has not: so this is a plain script, and everything else are modules that it imports. The one with the CALLS is
// named behind the # of its address.

const ready = import(`./${self.location.hash.slice(1)}`)
let last = Promise.resolve()

async function answer({ number, call, argument }) {
  try {
    const { CALLS } = await ready
    self.postMessage({ number, result: await CALLS[call](argument) })
  } catch (error) {
    self.postMessage({ number, error: String(error?.message ?? error) })
  }
}

// One call after the other: two networks at once would slow each other down.
self.addEventListener("message", event => {
  last = last.then(() => answer(event.data))
})
