// What the page shows of one model: its picture, its times, its classes.

import { Overlay } from "./drawing.js"
import { counts } from "./labels.js"
import { Recent } from "./statistics.js"

const TEXT_EVERY = 400 // milliseconds: text that changes faster cannot be read

function ms(value) {
  return Number.isNaN(value) ? "–" : value.toFixed(value < 10 ? 1 : 0)
}

export class Panel {
  constructor(model) {
    this.model = model
    this.recent = new Recent()
    this.element = document.getElementById("panel").content.firstElementChild.cloneNode(true)
    this.find = selector => this.element.querySelector(selector)
    this.overlay = new Overlay(this.find("canvas"), model.palette)
    this.find("h2").textContent = model.name
    this.shares = model.labels.map((name, label) => this.legendRow(name, model.palette[label]))
    this.told = -Infinity
    this.running("")
  }

  legendRow(name, colour) {
    const row = document.createElement("li")
    const parts = ["swatch", "name", "share"].map(part => {
      const element = row.appendChild(document.createElement("span"))
      element.className = part
      return element
    })
    parts[0].style.background = `rgb(${colour})`
    parts[1].textContent = name
    this.find(".legend").append(row)
    return parts[2]
  }

  // On what it runs, in words.
  running(where) {
    const [, height, width] = this.model.input.shape
    const size = `${(this.model.bytes / 1e6).toFixed(2)} MB`
    this.find(".facts").textContent = [`${height}×${width}`, this.model.numbers, size, where].filter(Boolean).join(" · ")
  }

  // Forgets the times of before: of another source or accelerator.
  restart() {
    this.recent.clear()
    this.told = -Infinity
  }

  // A frame with its labels [size]; `times` of what was done before, in milliseconds.
  take(frame, labels, size, times, opacity) {
    const began = performance.now()
    this.overlay.take(frame, labels, size)
    this.overlay.draw(opacity)
    const now = performance.now()
    this.recent.add({ ...times, drawing: times.drawing + now - began }, now)
    this.find("canvas").hidden = this.find("table").hidden = false
    this.find(".empty").hidden = true
    if (now - this.told >= TEXT_EVERY) this.tell(now)
  }

  // Writes times and shares.
  tell(now = performance.now()) {
    if (this.overlay.labels === null) return
    this.told = now
    const fps = this.recent.fps()
    this.find(".rate").hidden = Number.isNaN(fps)
    this.find(".rate strong").textContent = ms(fps)
    for (const [stage, { p50, p90 }] of Object.entries(this.recent.percentiles())) {
      const cells = this.find(`[data-stage=${stage}]`).querySelectorAll("td")
      cells[0].textContent = ms(p50)
      cells[1].textContent = ms(p90)
    }
    const number = this.recent.number
    this.find("caption").textContent = number === 1 ? "one run, the first" : `the last ${number} runs`
    const { labels } = this.overlay
    const found = counts(labels, this.model.labels.length)
    this.shares.forEach((element, label) => {
      const share = (100 * found[label]) / labels.length
      element.textContent = share === 0 ? "" : share < 0.1 ? "<0.1 %" : `${share.toFixed(1)} %`
    })
    const largest = found.indexOf(Math.max(...found))
    this.find("canvas").ariaLabel = `the picture with its classes; most of it is ${this.model.labels[largest]}`
  }
}
