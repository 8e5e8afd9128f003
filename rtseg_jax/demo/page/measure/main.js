// The page that measures: asks for work, lets the worker do it, posts what came of it.

import { Client } from "../client.js"
import { describeBrowser } from "./device.js"
import { Pace } from "./pace.js"
import { Attention } from "./attention.js"

const IDLE_MS = 300 // between two looks at the job while there is nothing to do
const GONE_MS = 3000 // while the command does not answer

const client = new Client("measure/measuring.js")
const element = Object.fromEntries([...document.querySelectorAll("[id]")].map(found => [found.id, found]))
const attention = new Attention(() => tell("Paused while the page is hidden."))
const pace = new Pace()

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

function tell(text, wrong = false) {
  element.status.textContent = text
  element.status.classList.toggle("wrong", wrong)
}

// An answer of the command: its values, or null where it cannot be reached. What it refuses is an error.
async function answer(path, options = {}) {
  let response
  try {
    response = await fetch(path, { cache: "no-store", ...options })
  } catch {
    return null
  }
  if (!response.ok) throw new Error((await response.text()).trim())
  return response.json()
}

function post(path, values) {
  return answer(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values) })
}

// The same, again and again until the command answers.
async function insist(ask) {
  for (;;) {
    const values = await ask()
    if (values !== null) return values
    tell("The command does not answer. Run it again: it goes on where it was, by a new link.", true)
    await sleep(GONE_MS)
  }
}

function show(job) {
  const { done, total, text, warnings } = job
  const share = total > 0 ? done / total : 0
  element.bar.value = share
  element.share.textContent = total > 0 ? `${Math.floor(100 * share)} %` : ""
  element.left.textContent = job.ended !== "" ? "" : pace.words(done, total)
  element.now.textContent = text
  const shown = [...warnings, ...attention.warnings]
  element.warnings.hidden = shown.length === 0
  element.warnings.replaceChildren(
    ...shown.map(warning => Object.assign(document.createElement("li"), { textContent: warning })),
  )
  element.pause.hidden = job.ended !== ""
}

// One task, again where the page was hidden meanwhile: its times would not count.
async function measure(job, task) {
  for (;;) {
    await attention.given()
    tell(`Measuring on the ${job.accelerator === "wasm" ? "CPU" : "GPU"}…`)
    const seen = attention.losses
    const found = await client.ask("measure", { task, job, keep: job.tasks.map(({ model }) => model) }).then(
      result => ({ ...result, failed: null }),
      error => ({ failed: error.message.slice(0, 500) }),
    )
    if (seen === attention.losses) return found
  }
}

function described({ agent, browser, platform, renderer, build, threads, processors, gpu }) {
  const { vendor, architecture, device, description, driver, software, fp16 } = gpu ?? {}
  const adapter = [vendor, architecture, device, description, driver].filter(Boolean).join(" ") || "of unknown make"
  const webgpu = gpu ? `${adapter}${software ? ", in software" : ""}${fp16 ? ", with float16" : ", without float16"}` : "none"
  const facts = [browser, platform, `WebGPU: ${webgpu}`, renderer, build, `${threads} threads`, `${processors} processors`]
  return [...facts, agent].filter(Boolean).join(" · ")
}

async function work() {
  const device = await describeBrowser(await client.ask("load"))
  element.device.textContent = described(device)
  const { session } = await insist(() => post("device", device))
  await attention.start(element.pause)
  for (;;) {
    const began = performance.now()
    const job = await insist(() => answer("job.json"))
    show(job)
    if (job.ended !== "") {
      attention.end()
      tell(job.ended)
      return
    }
    if (job.session !== session) throw new Error("Another tab measures now; reload this one to go on here.")
    const [task] = job.tasks
    if (task === undefined) {
      await attention.given()
      tell("Waiting for the next networks…")
      await sleep(IDLE_MS)
    } else {
      const { model, number } = task
      const result = await measure(job, task)
      await insist(() => post("results", { session, number, model, ...result }))
    }
    pace.add(performance.now() - began - attention.spent())
  }
}

work().catch(error => {
  attention.end()
  tell(error.message, true)
})
