// Keeps the page for times without the server.

// Keeps what the page has, and the files that are named; says in words what came of it.
export async function keepOffline(files) {
  if (!("serviceWorker" in navigator)) return "This browser does not keep the page for offline use."
  try {
    await navigator.serviceWorker.register("service_worker.js")
  } catch {
    return "It is not kept for offline use: the browser does not vouch for its certificate."
  }
  const { active } = await navigator.serviceWorker.ready
  const { port1, port2 } = new MessageChannel()
  const kept = new Promise(resolve => port1.addEventListener("message", ({ data }) => resolve(data), { once: true }))
  port1.start()
  active.postMessage(files, [port2])
  return (await kept) ? "The page works offline from now on." : "It could not be kept for offline use."
}
