// Where frames come from: the camera, a video file, a picture file. Each has `live`, `size()`, `draw(context)`, `stop()`.

const WIDEST = 1280 // of frames, in pixels: larger pictures are made smaller first

function fitted(width, height) {
  const scale = Math.min(1, WIDEST / Math.max(width, height))
  return [Math.max(1, Math.round(height * scale)), Math.max(1, Math.round(width * scale))]
}

class Still {
  constructor(bitmap) {
    this.bitmap = bitmap
    this.live = false
  }

  size() {
    return fitted(this.bitmap.width, this.bitmap.height)
  }

  draw(context) {
    context.drawImage(this.bitmap, 0, 0, context.canvas.width, context.canvas.height)
  }

  stop() {
    this.bitmap.close()
  }
}

class Moving {
  constructor(video, stop) {
    this.video = video
    this.stop = stop
    this.live = true
  }

  size() {
    return fitted(this.video.videoWidth, this.video.videoHeight)
  }

  draw(context) {
    context.drawImage(this.video, 0, 0, context.canvas.width, context.canvas.height)
  }
}

function newVideo() {
  const video = document.createElement("video")
  video.muted = true
  video.playsInline = true
  return video
}

// The camera; `facing` is "environment" (away from the user) or "user".
export async function openCamera(facing) {
  if (!navigator.mediaDevices) throw new Error("browsers give the camera to HTTPS pages and to localhost only")
  const wanted = { facingMode: { ideal: facing }, width: { ideal: WIDEST }, height: { ideal: 720 } }
  const stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false })
  const video = newVideo()
  video.srcObject = stream
  await video.play()
  return new Moving(video, () => stream.getTracks().forEach(track => track.stop()))
}

// A picture or a video file.
export async function openFile(file) {
  if (!file.type.startsWith("video/")) {
    const bitmap = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no picture that this browser can read`)
    })
    return new Still(bitmap)
  }
  const video = newVideo()
  const url = URL.createObjectURL(file)
  video.loop = true
  video.src = url
  const stop = () => {
    video.pause()
    video.removeAttribute("src")
    URL.revokeObjectURL(url)
  }
  await video.play().catch(() => {
    stop()
    throw new Error(`${file.name} is no video that this browser can play`)
  })
  return new Moving(video, stop)
}

// The pixels of a source now: { data, height, width }, RGBA bytes.
export function grab(source, context) {
  const [height, width] = source.size()
  Object.assign(context.canvas, { height, width })
  source.draw(context)
  return context.getImageData(0, 0, width, height)
}
