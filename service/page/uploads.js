// Photos on their way into the library, some at a time; they go on while the person looks at another screen.

import {api, sentence} from "./api.js"

const MOST_FILES = 16
const MOST_BYTES = 24e6
const AT_ONCE = 2
const listeners = new Set()
const queue = []
let running = 0
/** Of this run of uploads: how many there are, are done, and what became of each that was not added. */
export let state = {total: 0, done: 0, added: 0, same: [], refused: [], names: new Set()}

export const onUpload = (listener, signal) => {
  listeners.add(listener)
  signal.addEventListener("abort", () => listeners.delete(listener))
}
const tell = (what, more = {}) => { for (const listener of listeners) listener(what, more) }

export const isUploading = () => running > 0 || queue.length > 0
addEventListener("beforeunload", event => { if (isUploading()) event.preventDefault() })

const parts = files => {
  const all = [[]]
  let bytes = 0
  for (const file of files) {
    if (all.at(-1).length >= MOST_FILES || (bytes + file.size > MOST_BYTES && all.at(-1).length)) {
      all.push([])
      bytes = 0
    }
    all.at(-1).push(file)
    bytes += file.size
  }
  return all
}

/** Adds files to a label of a model. */
export const upload = (name, label, files) => {
  if (!files.length) return
  if (!isUploading()) state = {total: 0, done: 0, added: 0, same: [], refused: [], names: new Set()}
  state.total += files.length
  state.names.add(name)
  for (const part of parts(files)) queue.push({name, label, files: part})
  tell("progress")
  for (let free = AT_ONCE - running; free > 0; free--) next()
}

const next = async () => {
  const work = queue.shift()
  if (!work) return
  running++
  const {name, label, files} = work
  let result = {added: [], same: [], refused: []}
  try {
    result = await api.addPhotos(name, label, files)
  } catch (error) {
    result.refused = files.map(file => ({name: file.name, code: error.code, message: sentence(error)}))
  }
  running--
  state.done += files.length
  state.added += result.added.length
  state.same.push(...result.same.map(each => ({...each, wanted: label})))
  state.refused.push(...result.refused)
  tell("part", {name, label, result})
  if (queue.length) next()
  else if (!running) tell("end", {state})
}
