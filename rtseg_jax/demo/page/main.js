// The page: its controls, and the loop from frames to pictures.

import { Client } from "./client.js"
import { keepOffline } from "./offline.js"
import { Panel } from "./panel.js"
import { grab, openCamera, openFile } from "./sources.js"

const REPEATS = 30
const client = new Client("segmenting.js")
const canvas = document.createElement("canvas")
const frames = canvas.getContext("2d", { willReadFrequently: true, alpha: false })
const element = Object.fromEntries([...document.querySelectorAll("[id]")].map(found => [found.id, found]))

let panels = []
let source = null
let facing = "environment"
let running = Promise.resolve() // the loop or run of now; the next one waits for its end
let turn = 0 // goes up whenever what runs is to end

// What is shown, for tests and for the curious: of each model the labels, their (height, width), and its times.
export function results() {
  return panels.map(({ model, overlay, recent }) => ({
    name: model.name,
    labels: overlay.labels,
    size: overlay.size,
    runs: recent.number,
    fps: recent.fps(),
    percentiles: recent.percentiles(),
  }))
}

function say(text, wrong = false) {
  element.status.textContent = text
  element.status.classList.toggle("wrong", wrong)
}

function opacity() {
  return element.opacity.valueAsNumber / 100
}

// One frame through every model. Labels of pictures have the picture's size; of moving ones the network's, which is
// quicker and looks the same.
async function segment(current) {
  const began = performance.now()
  const frame = grab(current, frames)
  const grabbed = performance.now() - began
  const { data, height, width } = frame
  for (const panel of panels) {
    const size = current.live ? panel.model.input.shape.slice(1, 3) : [height, width]
    const asked = { model: panel.model, frame: { data, height, width }, size }
    const { labels, times } = await client.ask("segment", asked)
    panel.take(frame, labels, size, { ...times, preprocessing: times.preprocessing + grabbed }, opacity())
  }
}

async function loop(mine, current, most) {
  for (let i = 0; i < most && mine === turn; i++) {
    await segment(current)
    if (current.live) await new Promise(requestAnimationFrame) // sleeps while the page is hidden
  }
  panels.forEach(panel => panel.tell())
}

// Ends what runs and lets `work` follow, unless something else was asked for meanwhile.
function next(work) {
  const mine = ++turn
  running = running.then(async () => {
    if (mine !== turn) return
    try {
      await work(mine)
    } catch (error) {
      say(error.message, true)
    }
  })
  return running
}

function buttons() {
  element.stop.hidden = element.turn.hidden = !source?.live
  if (source?.live) element.turn.hidden = !source.video.srcObject
  element.measure.hidden = !source || source.live
}

function take(open) {
  return next(async mine => {
    source?.stop()
    source = null
    buttons()
    source = await open()
    panels.forEach(panel => panel.restart())
    buttons()
    say(source.live ? "" : "The first run also warms up; more of them tell what it takes.")
    await loop(mine, source, source.live ? Infinity : 1)
  })
}

function stop() {
  return next(async () => {
    source?.stop()
    source = null
    buttons()
    say("Stopped.")
  })
}

function words(on, { threads }) {
  if (on !== "wasm") return on === "webgpu" ? "GPU, float32" : "GPU, float16"
  return `CPU, ${threads} ${threads === 1 ? "thread" : "threads"}`
}

// Compiles every model for an accelerator; what the GPU does not take goes to the CPU, and the page says so.
function useAccelerator(on, device) {
  return next(async mine => {
    for (const panel of panels) {
      say(`Compiling ${panel.model.name}…`)
      const used = await client.ask("use", { model: panel.model, on }).then(
        () => on,
        async error => {
          if (on === "wasm") throw error
          await client.ask("use", { model: panel.model, on: "wasm" })
          return "wasm"
        },
      )
      const instead = used === on ? "" : " (the GPU cannot run it)"
      panel.running(words(used, device) + instead)
      panel.restart()
    }
    say(source ? "" : "Ready.")
    if (source) await loop(mine, source, source.live ? Infinity : 1)
  })
}

function describe({ gpu, threads }) {
  const name = gpu && [gpu.vendor, gpu.architecture, gpu.description].filter(Boolean).join(" ")
  const said = gpu ? `GPU: ${name || "of unknown make"}${gpu.software ? ", in software" : ""}.` : "No GPU for pages (WebGPU)."
  element.device.textContent = `${said} CPU: ${threads} ${threads === 1 ? "thread" : "threads"}.`
}

function connect(device) {
  element.camera.addEventListener("click", () => take(() => openCamera(facing)))
  element.turn.addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user"
    take(() => openCamera(facing))
  })
  element.choose.addEventListener("click", () => element.file.click())
  element.file.addEventListener("change", () => {
    const [file] = element.file.files
    if (file) take(() => openFile(file))
    element.file.value = "" // so that the same one can be chosen again
  })
  element.stop.addEventListener("click", stop)
  element.measure.addEventListener("click", () =>
    next(async mine => {
      panels.forEach(panel => panel.restart())
      say(`Running it ${REPEATS} times…`)
      await loop(mine, source, REPEATS)
      say("")
    }),
  )
  element.on.addEventListener("change", () => useAccelerator(element.on.value, device))
  element.opacity.addEventListener("input", () => {
    element.shown_opacity.textContent = `${element.opacity.value} %`
    panels.forEach(panel => panel.overlay.draw(opacity()))
  })
  for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    addEventListener(name, event => {
      event.preventDefault()
      document.body.classList.toggle("dropping", over)
    })
  }
  addEventListener("drop", event => {
    const [file] = event.dataTransfer.files
    if (file) take(() => openFile(file))
  })
}

async function start() {
  const models = await (await fetch("models.json")).json()
  panels = models.map(model => new Panel(model))
  element.panels.replaceChildren(...panels.map(panel => panel.element))
  document.title = models.map(model => model.name).join(" | ")
  const device = await client.ask("load")
  describe(device)
  const on = device.gpu && !device.gpu.software ? "webgpu" : "wasm"
  for (const option of element.on.options) {
    option.disabled = (option.value !== "wasm" && !device.gpu) || (option.value === "webgpu_fp16" && !device.gpu.fp16)
  }
  element.on.value = on
  connect(device)
  await useAccelerator(on, device)
  for (const control of [element.camera, element.choose, element.on]) control.disabled = false
  element.offline.textContent = await keepOffline([`litert/${device.build}.js`, `litert/${device.build}.wasm`])
}

start().catch(error => say(error.message, true))
