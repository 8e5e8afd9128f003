// How long it will take: by what was done since the page was opened, pauses aside.

function about(seconds) {
  const minutes = Math.round(seconds / 60)
  if (seconds < 50) return "less than a minute"
  if (minutes < 90) return `about ${minutes} ${minutes === 1 ? "minute" : "minutes"}`
  const hours = Math.round(minutes / 60)
  return `about ${hours} ${hours === 1 ? "hour" : "hours"}`
}

export class Pace {
  constructor() {
    this.first = null
    this.ms = 0
  }

  // Adds milliseconds of work.
  add(ms) {
    this.ms += ms
  }

  // What is left of `total` units of which so many are done; empty before anything is known.
  words(done, total) {
    if (this.first === null || done < this.first) [this.first, this.ms] = [done, 0]
    const since = done - this.first
    if (total === 0 || since === 0) return ""
    return `${about((this.ms / since / 1000) * (total - done))} to go`
  }
}
