// Pictures that the service holds. A picture cannot send a key, so with one it is fetched and shown as a blob.

import {blob, key} from "./api.js"
import {h, icon} from "./dom.js"

const waiting = new WeakMap()
const AT_ONCE = 8
let running = 0
const queue = []

const next = async () => {
  if (running >= AT_ONCE || !queue.length) return
  running++
  const [image, place] = queue.shift()
  try {
    if (image.isConnected) {
      const url = URL.createObjectURL(await blob(place))
      image.addEventListener("load", () => URL.revokeObjectURL(url), {once: true})
      image.src = url
    }
  } catch {
    image.dispatchEvent(new Event("error"))
  } finally {
    running--
    next()
  }
}

const watcher = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (!isIntersecting) continue
    watcher.unobserve(target)
    queue.push([target, waiting.get(target)])
    next()
  }
}, {rootMargin: "300px"})

/** An image of the service; where there is none, a mark instead of a broken picture. */
export const picture = (place, alt = "") => {
  const image = h("img", {alt, loading: "lazy", decoding: "async", draggable: "false"})
  image.addEventListener("error", () => image.replaceWith(noPicture(alt)), {once: true})
  if (key.get()) {
    waiting.set(image, place)
    watcher.observe(image)
  } else {
    image.src = place
  }
  return image
}

export const noPicture = (alt = "") => h("span", {class: "no-picture", role: alt ? "img" : undefined, "aria-label": alt || undefined}, icon("photos"))

/** A file on this machine; what the browser cannot show (HEIC) is asked of `otherwise`, which gives a blob. */
export const filePicture = (file, alt, otherwise) => {
  const url = URL.createObjectURL(file)
  const image = h("img", {alt, decoding: "async", src: url})
  image.addEventListener("error", async () => {
    URL.revokeObjectURL(url)
    let small = null
    try {
      small = await otherwise?.()
    } catch { /* then there is no picture */ }
    if (!small) return image.replaceWith(noPicture(alt))
    const other = URL.createObjectURL(small)
    image.addEventListener("error", () => image.replaceWith(noPicture(alt)), {once: true})
    image.src = other
  }, {once: true})
  image.release = () => URL.revokeObjectURL(url)
  return image
}
