// Whether the page is in front, and that it stays there: figures of a hidden page are not worth having.

export class Attention {
  // `paused` is called when the page begins to wait.
  constructor(paused) {
    this.paused = paused
    this.losses = 0 // how often the page was hidden or stopped
    this.stopped = false
    this.waited = 0 // milliseconds
    this.warnings = []
    this.lock = null
    this.waiters = []
  }

  // Keeps the screen awake from now on; `button` pauses and goes on.
  async start(button) {
    button.addEventListener("click", () => {
      this.stopped = !this.stopped
      button.textContent = this.stopped ? "Go on" : "Pause"
      this.changed()
    })
    document.addEventListener("visibilitychange", () => this.changed())
    await this.keepAwake()
  }

  get here() {
    return !document.hidden && !this.stopped
  }

  changed() {
    if (this.here) {
      this.keepAwake() // the browser gave the lock back when the page was hidden
      for (const resolve of this.waiters.splice(0)) resolve()
    } else {
      this.losses++
    }
  }

  async keepAwake() {
    try {
      this.lock = await navigator.wakeLock.request("screen")
      this.warnings = []
    } catch {
      this.warnings = ["This browser does not let the page keep the screen awake: do it yourself."]
    }
  }

  // Resolves when the page is in front.
  async given() {
    if (this.here) return
    const began = performance.now()
    this.paused()
    while (!this.here) await new Promise(resolve => this.waiters.push(resolve))
    this.waited += performance.now() - began
  }

  // Milliseconds that were waited for the page since this was asked last.
  spent() {
    const waited = this.waited
    this.waited = 0
    return waited
  }

  end() {
    this.lock?.release()
  }
}
