// The camera: held to record photos of a label, or live to ask the model.

import {h} from "./dom.js"
import {labelText, t} from "./text.js"
import {dialog, say} from "./widgets.js"

const EVERY_MS = 250  // while the button is held
const QUALITY = 0.92

/** A running camera, or an Error with a sentence. */
export const open = async () => {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error(t("camera.insecure"))
  let stream
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 1280}, facingMode: {ideal: "environment"}}, audio: false})
  } catch (error) {
    throw new Error(t(error.name === "NotFoundError" ? "camera.none" : error.name === "NotAllowedError" ? "camera.refused" : "camera.busy"))
  }
  const video = h("video", {playsinline: true, "aria-label": t("camera.live")})
  video.muted = true
  video.srcObject = stream
  await video.play()
  return {video, stop: () => { for (const track of stream.getTracks()) track.stop() }}
}

/** What the camera sees now, as a JPEG. */
export const snap = (video, name) => new Promise(resolve => {
  const canvas = h("canvas", {width: video.videoWidth, height: video.videoHeight})
  canvas.getContext("2d").drawImage(video, 0, 0)
  canvas.toBlob(blob => resolve(blob && new File([blob], name, {type: "image/jpeg"})), "image/jpeg", QUALITY)
})

const stamp = () => new Date().toISOString().replace(/[-:T]/g, "").slice(0, 17).replace(".", "-")

/** A dialog with the camera; each photo goes to `taken`. */
export const record = async (label, taken, signal) => {
  let camera = null, holding = false, count = 0
  await dialog(t("camera.title", {label: labelText(label)}), close => {
    const place = h("div", {class: "camera"}, h("p", {}, t("camera.starting")))
    const counted = h("p", {class: "quiet", role: "status"}, t("camera.hint"))
    const take = async () => {
      const file = camera && await snap(camera.video, `camera-${stamp()}.jpg`)
      if (!file) return
      count++
      counted.textContent = t("camera.count", {n: count})
      taken(file)
    }
    const hold = async () => {
      if (holding || !camera) return
      holding = true
      hand.classList.add("held")
      while (holding) {
        await take()
        await new Promise(resolve => setTimeout(resolve, EVERY_MS))
      }
    }
    const release = () => {
      if (holding) say(t("camera.count", {n: count}))
      holding = false
      hand.classList.remove("held")
    }
    const hand = h("button", {type: "button", class: "button primary shutter", disabled: true,
      onpointerdown: event => { event.currentTarget.setPointerCapture(event.pointerId); hold() },
      onpointerup: release, onpointercancel: release, onblur: release,
      onkeydown: event => { if ([" ", "Enter"].includes(event.key)) { event.preventDefault(); hold() } },
      onkeyup: release, oncontextmenu: event => event.preventDefault()}, h("span", {}, t("camera.hold")))
    open().then(opened => {
      if (!place.isConnected) return opened.stop()
      camera = opened
      place.replaceChildren(camera.video)
      hand.disabled = false
      hand.focus()
    }, error => place.replaceChildren(h("p", {class: "notice warn", role: "alert"}, error.message)))
    return h("div", {class: "record"}, place, h("div", {class: "actions"}, hand, h("button", {type: "button", class: "button", onclick: () => close()}, t("done"))), counted)
  }, {wide: true, signal})
  holding = false
  camera?.stop()
}
