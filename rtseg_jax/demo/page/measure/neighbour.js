// Tells how much slower than at its best this processor is, by a loop of fixed length; see latency/neighbour.py.

const LOOKS = 1000
const SOME = 0.05 // of the looks, which are believed to be quiet

// A loop that keeps all units of a core busy, as networks do: one that waited for its own results would not notice who
// shares the core.
function loop(steps) {
  let [a, b, c, d, e, f, g, h] = [1, 2, 3, 4, 5, 6, 7, 8]
  for (let i = 0; i < steps; i++) {
    a = (a + (i ^ 1)) | 0
    b = (b ^ (i + 2)) | 0
    c = (c + (i ^ 3)) | 0
    d = (d ^ (i + 4)) | 0
    e = (e + (i ^ 5)) | 0
    f = (f ^ (i + 6)) | 0
    g = (g + (i ^ 7)) | 0
    h = (h ^ (i + 8)) | 0
  }
  return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h
}

export class Neighbour {
  // `steps` of the loop should take about a fifth of a millisecond; `now` tells milliseconds.
  constructor({ steps, now = () => performance.now() } = {}) {
    this.now = now
    this.steps = steps ?? this.stepsFor(0.2)
    this.best = this.low(Array.from({ length: LOOKS }, () => this.took(this.steps)))
    this.recent = []
  }

  // Relative slow-down against the quietest time that was seen, 0 or more.
  slows() {
    const ms = this.took(this.steps)
    this.recent.push(ms)
    if (this.recent.length === LOOKS) {
      this.best = Math.min(this.best, this.low(this.recent))
      this.recent = []
    }
    return Math.max(0, ms / this.best - 1)
  }

  took(steps) {
    const began = this.now()
    this.sink = loop(steps) // kept, or it would not be computed at all
    return this.now() - began
  }

  low(ms) {
    return ms.toSorted((a, b) => a - b)[Math.floor(SOME * ms.length)]
  }

  // Steps that take so many milliseconds, once the browser has compiled the loop well.
  stepsFor(ms) {
    const many = 100_000
    return Math.ceil((many * ms) / Math.max(this.low(Array.from({ length: 200 }, () => this.took(many))), 1e-3))
  }
}
