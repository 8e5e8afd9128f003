// Answers from the server where it can be reached, so that nothing is ever out of date, and else from what was kept.

const KEPT = `rtseg_jax ${self.registration.scope}`

async function keep(files) {
  const cache = await caches.open(KEPT)
  await cache.addAll(files)
}

async function answer(request) {
  const cache = await caches.open(KEPT)
  try {
    const response = await fetch(request)
    if (response.ok) await cache.put(request, response.clone())
    return response
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true })
    if (kept) return kept
    throw error
  }
}

self.addEventListener("install", event => {
  self.skipWaiting()
  event.waitUntil(fetch("contents.json").then(response => response.json()).then(keep))
})

self.addEventListener("activate", event => event.waitUntil(self.clients.claim()))

self.addEventListener("fetch", event => {
  const { method, url, cache } = event.request
  if (method === "GET" && cache !== "no-store" && url.startsWith(self.registration.scope)) event.respondWith(answer(event.request))
})

self.addEventListener("message", event => {
  const [port] = event.ports
  event.waitUntil(
    keep(event.data).then(
      () => port.postMessage(true),
      () => port.postMessage(false),
    ),
  )
})
