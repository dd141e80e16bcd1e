// Files from a drop, a paste or a choice: which of them may be photos, and the folder that each lies in.

import {sentence} from "./api.js"
import {t} from "./text.js"
import {filePicker, toast} from "./widgets.js"

const ENDINGS = /\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|hei[cf]|avif)$/i
const HIDDEN = /^\.|^(thumbs\.db|desktop\.ini)$/i

const mayBePhoto = file => file.type.startsWith("image/") && file.type !== "image/svg+xml" || ENDINGS.test(file.name)

/** {photos: [{file, folder}], left: [names that are no photos]}; `folder` is null where a file came alone. */
export const sorted = found => {
  const seen = found.filter(({file}) => !HIDDEN.test(file.name))
  return {
    photos: seen.filter(({file}) => mayBePhoto(file)),
    left: seen.filter(({file}) => !mayBePhoto(file)).map(({file}) => file.name),
  }
}

export const fromInput = files => sorted(files.map(file => {
  const parts = (file.webkitRelativePath || "").split("/")
  return {file, folder: parts.at(-2) ?? null}
}))

/** Buttons for photos and for a folder of them. */
export const pickers = take => [["choose", {kind: "primary"}], ["folder", {folder: true, symbol: "folder"}]].map(([name, how]) =>
  filePicker(t(`try.${name}`), files => take(fromInput(files)), how))

const entries = reader => new Promise((resolve, reject) => reader.readEntries(resolve, reject))
const fileOf = entry => new Promise((resolve, reject) => entry.file(resolve, reject))

const walk = async (entry, folder, found) => {
  if (entry.isFile) return found.push({file: await fileOf(entry), folder})
  if (HIDDEN.test(entry.name)) return
  const reader = entry.createReader()
  for (let some = await entries(reader); some.length; some = await entries(reader)) {
    for (const each of some) await walk(each, entry.name, found)
  }
}

/** What was dropped, folders with all that is in them. Must be called before the event ends. */
export const fromDrop = async transfer => {
  const items = [...transfer.items].filter(item => item.kind === "file")
  const roots = items.map(item => item.webkitGetAsEntry?.()).filter(Boolean)
  if (!roots.length) return sorted([...transfer.files].map(file => ({file, folder: null})))
  const found = []
  for (const root of roots) await walk(root, null, found)
  return sorted(found)
}

export const hasFiles = transfer => [...transfer?.types ?? []].includes("Files")

/** Calls back with what is dropped anywhere on the page. */
export const onDrop = (signal, take) => {
  const on = (name, work) => window.addEventListener(name, event => {
    if (!hasFiles(event.dataTransfer)) return
    event.preventDefault()
    work(event)
  }, {signal})
  on("dragover", () => {})
  on("drop", async event => {
    try {
      take(await fromDrop(event.dataTransfer))
    } catch (error) {
      toast(sentence(error), {bad: true})
    }
  })
}
