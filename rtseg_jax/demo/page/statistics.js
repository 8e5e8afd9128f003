// What a frame takes, over the last frames.

export const STAGES = ["preprocessing", "network", "drawing"]

// Of values in any order, between the two nearest ones where it falls between them; NaN for none.
export function percentile(values, percent) {
  if (values.length === 0) return NaN
  const sorted = Float64Array.from(values).sort()
  const place = ((sorted.length - 1) * percent) / 100
  const low = Math.floor(place)
  const next = sorted[Math.min(low + 1, sorted.length - 1)]
  return sorted[low] + (place - low) * (next - sorted[low])
}

// Milliseconds of each stage of the last frames, and when these were shown.
export class Recent {
  constructor(most = 120) {
    this.most = most
    this.clear()
  }

  clear() {
    this.frames = []
  }

  // `times` has milliseconds by stage, `now` is when the frame was shown, in milliseconds.
  add(times, now) {
    const total = STAGES.reduce((sum, stage) => sum + times[stage], 0)
    this.frames.push({ ...times, total, now })
    if (this.frames.length > this.most) this.frames.shift()
  }

  get number() {
    return this.frames.length
  }

  // p50 and p90 by stage, and of all together.
  percentiles() {
    const of = stage => this.frames.map(frame => frame[stage])
    const row = stage => [stage, { p50: percentile(of(stage), 50), p90: percentile(of(stage), 90) }]
    return Object.fromEntries([...STAGES, "total"].map(row))
  }

  // Frames shown a second; NaN for fewer than two.
  fps() {
    if (this.frames.length < 2) return NaN
    const span = this.frames.at(-1).now - this.frames[0].now
    return (1000 * (this.frames.length - 1)) / span
  }
}
