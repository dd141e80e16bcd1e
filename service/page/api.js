// Every call to the service, in one place. What fails is a Failure with one sentence for a person.

import {t, hasText} from "./text.js"

const KEY = "handful.key"
const RETRIES = 6
const listeners = new Set()

/** Why a call did not succeed. `missing`: the service has no such call. */
export class Failure extends Error {
  constructor(status, code, message) {
    super(message)
    this.status = status
    this.code = code
    this.missing = (status === 404 && code === "not_found") || status === 405
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: value => value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY),
}

/** Calls back when the service asks for a key, or for another one. */
export const onSignIn = listener => listeners.add(listener)

const headersWith = more => key.get() ? {...more, Authorization: `Bearer ${key.get()}`} : {...more}

const failureOf = async response => {
  let error = {}
  try {
    error = (await response.json()).error ?? {}
  } catch { /* not ours: a proxy's page, or nothing */ }
  const code = error.code ?? "unknown"
  const own = hasText(`error.${code}`) ? t(`error.${code}`) : error.message
  return new Failure(response.status, code, own ?? t("error.status", {status: response.status}))
}

/** A file that was moved or deleted meanwhile looks like a service that does not answer. */
const checkFile = async file => {
  try {
    await file.slice(0, 1).arrayBuffer()
  } catch {
    throw new Failure(0, "file_gone", t("error.file_gone"))
  }
}

const sending = async (path, how, ...files) => {
  try {
    return await ask(path, how)
  } catch (error) {
    if (error.code === "unreachable") for (const file of files) await checkFile(file)
    throw error
  }
}

const wait = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, 1000 * seconds)
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("", "AbortError")) })
})

/** The response, if its status is good. A service that is full is asked again a few times. */
const ask = async (path, {method = "GET", body, json, signal, patient = true} = {}) => {
  const headers = headersWith(json === undefined ? {} : {"Content-Type": "application/json"})
  for (let tries = 0; ; tries++) {
    let response
    try {
      response = await fetch(path, {method, headers, signal, body: json === undefined ? body : JSON.stringify(json)})
    } catch (error) {
      if (error.name === "AbortError") throw error
      throw new Failure(0, "unreachable", t("error.unreachable"))
    }
    if (response.ok) return response
    const failure = await failureOf(response)
    if (patient && failure.code === "overloaded" && tries < RETRIES) {
      await wait(Number(response.headers.get("retry-after")) || 1, signal)
      continue
    }
    if (failure.status === 401) for (const listener of listeners) listener(failure)
    throw failure
  }
}

const read = async (path, how) => (await ask(path, how)).json()
const at = (name, rest = "") => `models/${encodeURIComponent(name)}${rest}`
const form = (fields, files = []) => {
  const body = new FormData()
  for (const [name, value] of Object.entries(fields)) body.append(name, value)
  for (const [name, file] of files) body.append(name, file, file.name || "photo.jpg")
  return body
}
const change = (method, path, json, signal) => read(path, {method, json, signal})

export const api = {
  access: () => read("access"),
  models: signal => read("models", {signal}),
  model: (name, signal) => read(at(name), {signal}),
  create: name => change("POST", "models", {name}),
  rename: (name, to) => change("PATCH", at(name), {name: to}),
  remove: name => read(at(name), {method: "DELETE"}),
  undo: token => read(`undo/${encodeURIComponent(token)}`, {method: "POST"}),
  promote: (name, version) => change("POST", at(name, "/promote"), {version}),
  rollback: name => read(at(name, "/rollback"), {method: "POST"}),

  pool: async (name, signal) => (await read(at(name, "/pool"), {signal})).photos.map(({id, name: path}) => ({id, name: path.split("/").at(-1)})),
  predict: async (name, file, signal) => file.id ? read(at(name, `/pool/${file.id}/predict`), {method: "POST", signal}) :
    (await sending(at(name, "/predict"), {method: "POST", body: form({}, [["image", file]]), signal}, file)).json(),
  explain: async (name, file, signal) =>
    (await ask(at(name, "/explain"), {method: "POST", body: form({}, [["image", file]]), signal})).blob(),
  small: async (file, signal) =>
    (await ask("thumbnail", {method: "POST", body: form({}, [["image", file]]), signal})).blob(),
  correct: (name, file, label) =>
    read(at(name, "/feedback"), {method: "POST", body: form({label, new: "true"}, [["image", file]])}),

  photos: (name, {label, offset = 0, limit = 1000} = {}, signal) => {
    const query = new URLSearchParams({offset, limit, ...label === undefined ? {} : {label}})
    return read(at(name, `/photos?${query}`), {signal})
  },
  addPhotos: async (name, label, files, signal) => files[0].id ? change("POST", at(name, "/pool/label"), {label, ids: files.map(({id}) => id)}, signal) : (await sending(at(name, `/photos?${new URLSearchParams({label})}`),
    {method: "POST", body: form({}, files.map(file => ["photos", file])), signal}, ...files)).json(),
  movePhotos: (name, ids, label) => change("POST", at(name, "/photos/move"), {ids, label}),
  deletePhotos: (name, ids) => change("POST", at(name, "/photos/delete"), {ids}),
  addLabel: (name, label) => change("POST", at(name, "/labels"), {label}),
  renameLabel: (name, label, to) => change("PATCH", at(name, `/labels/${encodeURIComponent(label)}`), {label: to}),
  deleteLabel: (name, label) => read(at(name, `/labels/${encodeURIComponent(label)}`), {method: "DELETE"}),
  corrections: (name, signal) => read(at(name, "/corrections"), {signal}),

  train: name => change("POST", at(name, "/train"), {}),
  retrain: (name, promote = "auto") => change("POST", at(name, "/retrain"), {from: "library", promote}),
  export: name => change("POST", at(name, "/export"), {}),
  ticket: page => read(`${page}/ticket`, {method: "POST"}),
  jobs: (name, signal) => read(`jobs?${new URLSearchParams({model: name})}`, {signal}),
  job: (id, signal) => read(`jobs/${encodeURIComponent(id)}`, {signal}),
  cancel: id => read(`jobs/${encodeURIComponent(id)}`, {method: "DELETE"}),

  findings: (name, version, signal) => read(at(name, `/versions/${encodeURIComponent(version)}/findings`), {signal}),
  pictures: (name, version, limit, signal) =>
    read(at(name, `/versions/${encodeURIComponent(version)}/thumbnails?limit=${limit}`), {signal}),
}

/** Paths of pictures and pages; they are fetched with the key where there is one. */
export const path = {
  pooled: (name, id) => at(name, `/pool/${id}/thumbnail`),
  thumbnail: (name, id) => at(name, `/photos/${id}/thumbnail`),
  original: (name, id) => at(name, `/photos/${id}`),
  file: job => `jobs/${encodeURIComponent(job)}/file`,
  report: (name, version) => at(name, `/versions/${encodeURIComponent(version)}/report`),
}

export const blob = async (place, signal) => (await ask(place, {signal})).blob()

/** Reads a job's events and calls back with each; ends with the job's end, and raises where the stream breaks. */
export const events = async (id, progress, signal) => {
  const response = await ask(`jobs/${encodeURIComponent(id)}/events`, {signal})
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  for (;;) {
    const {value, done} = await reader.read()
    if (done) throw new Failure(0, "unreachable", t("error.unreachable"))
    const parts = (rest + value).split("\n\n")
    rest = parts.pop()
    for (const part of parts) {
      const fields = Object.fromEntries(part.split("\n").map(line => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 1).trim()]))
      if (!fields.data) continue
      const data = JSON.parse(fields.data)
      if (fields.event === "end") return data
      progress(data)
    }
  }
}

/** What to say of any error. */
export const sentence = error => error instanceof Failure ? error.message : t("error.bug", {error: String(error?.message ?? error)})
