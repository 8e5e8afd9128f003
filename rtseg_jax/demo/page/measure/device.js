// What a browser tells of itself, for the card.

const MOST = 500 // characters

// The name of the GPU and its driver as WebGL tells it, which is more than WebGPU says on most devices.
function renderer() {
  const context = document.createElement("canvas").getContext("webgl")
  if (context === null) return ""
  const told = context.getExtension("WEBGL_debug_renderer_info")
  return String(context.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : context.RENDERER) ?? "")
}

// Name and version of the browser, the version's first number only: what it is in a name that lists several.
export function browserName(agent, brands) {
  const [brand] = (brands ?? []).filter(({ brand }) => !/not.a.brand|^chromium$/i.test(brand)).concat(
    (brands ?? []).filter(({ brand }) => brand === "Chromium"),
  )
  if (brand) return `${brand.brand} ${brand.version}`
  const found = ["Firefox", "Edg", "HeadlessChrome", "Chrome", "Version"]
    .map(name => [name, agent.match(new RegExp(`${name}/(\\d+)`))])
    .find(([, match]) => match)
  if (!found) return "unknown browser"
  return `${found[0] === "Version" ? "Safari" : found[0]} ${found[1][1]}`
}

// `runtime` is what the worker found: { build, threads, gpu }.
export async function describeBrowser({ build, threads, gpu }) {
  const agent = navigator.userAgent
  const data = navigator.userAgentData
  const more = data ? await data.getHighEntropyValues(["model", "platformVersion", "architecture"]).catch(() => ({})) : {}
  const parts = data ? [more.model, data.platform, more.platformVersion, more.architecture] : [navigator.platform]
  const texts = {
    agent,
    browser: browserName(agent, data?.brands),
    platform: parts.filter(Boolean).join(" "),
    renderer: renderer(),
    build,
  }
  const short = text => String(text ?? "").slice(0, MOST)
  return {
    ...Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, short(text)])),
    threads,
    processors: navigator.hardwareConcurrency ?? 1,
    gpu: gpu && {
      ...Object.fromEntries(
        ["vendor", "architecture", "device", "description", "driver"].map(name => [name, short(gpu[name])]),
      ),
      software: Boolean(gpu.software),
      fp16: gpu.fp16,
    },
  }
}
