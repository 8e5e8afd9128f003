// Labels as colours over the frame.

function rgbaWords(palette) {
  const words = new Uint32Array(256)
  const bytes = new Uint8Array(words.buffer)
  palette.forEach(([red, green, blue], label) => bytes.set([red, green, blue, 255], 4 * label))
  return words
}

// A canvas with a frame and the classes over it.
export class Overlay {
  constructor(canvas, palette) {
    this.context = canvas.getContext("2d", { alpha: false })
    this.words = rgbaWords(palette)
    this.colours = document.createElement("canvas").getContext("2d")
    this.frame = document.createElement("canvas").getContext("2d", { alpha: false })
    this.labels = null
  }

  // Keeps a frame and its labels, of the given (height, width).
  take(frame, labels, [height, width]) {
    Object.assign(this.frame.canvas, { height: frame.height, width: frame.width })
    this.frame.putImageData(frame, 0, 0)
    Object.assign(this.colours.canvas, { height, width })
    const pixels = new Uint32Array(labels.length)
    for (let i = 0; i < labels.length; i++) pixels[i] = this.words[labels[i]]
    this.colours.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0)
    Object.assign(this, { labels, size: [height, width] })
  }

  // Shows what was kept; `opacity` of the colours, 0 to 1.
  draw(opacity) {
    if (this.labels === null) return
    const { canvas } = this.context
    const { width, height } = this.frame.canvas
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height })
    this.context.globalAlpha = 1
    this.context.drawImage(this.frame.canvas, 0, 0)
    this.context.globalAlpha = opacity
    this.context.imageSmoothingEnabled = false // classes have no values between them
    this.context.drawImage(this.colours.canvas, 0, 0, width, height)
  }
}
