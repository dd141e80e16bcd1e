// A job that runs: how far it is, how long it still takes, and a way to stop it.

import {api, events, Failure} from "./api.js"
import {fill, h} from "./dom.js"
import {hasText, t, timeLeft} from "./text.js"
import {busy, button, say} from "./widgets.js"

const POLL_SECONDS = 1.5
const UNREACHABLE = 20  // polls without an answer
const pause = seconds => new Promise(resolve => setTimeout(resolve, 1000 * seconds))

/** Calls back with each step, and ends with the job. Where events do not come through, it asks again and again. */
const follow = async (id, progress, signal) => {
  try {
    return await events(id, progress, signal)
  } catch (error) {
    if (signal.aborted || !(error instanceof Failure || error instanceof TypeError)) throw error
  }
  for (let failed = 0; ;) {
    try {
      const job = await api.job(id, signal)
      failed = 0
      if (job.finished_at) return job
      progress({state: job.state, ...job.progress})
    } catch (error) {
      if (signal.aborted || error.status || ++failed > UNREACHABLE) throw error
    }
    await pause(POLL_SECONDS)
    if (signal.aborted) throw new DOMException("", "AbortError")
  }
}

const stageText = ({state, stage}) => {
  if (state === "queued") return t("job.queued")
  if (!stage) return t("job.starting")
  return hasText(`stage.${stage}`) ? t(`stage.${stage}`) : stage
}

/** Shows a job in a place until it ends; gives the job. */
export const showJob = async (place, job, signal) => {
  const stage = h("p", {class: "stage"}), left = h("p", {class: "quiet"})
  const bar = h("div", {class: "bar", role: "progressbar", "aria-label": t(`job.${job.kind}`), "aria-valuemin": "0", "aria-valuemax": "100"}, h("i"))
  const stop = button(t("job.stop"), busy(() => api.cancel(job.job)))
  fill(place, h("section", {class: "job card"}, h("h2", {}, t(`job.${job.kind}`)), stage, bar, left, h("div", {class: "actions"}, stop)))
  let said = ""
  const show = progress => {
    const text = stageText(progress), counted = progress.total > 0 && progress.state === "running"
    stage.textContent = counted && progress.done ? t("job.count", {stage: text, done: progress.done, total: progress.total}) : text
    left.textContent = timeLeft(progress.seconds_left)
    bar.classList.toggle("unknown", !counted)
    const share = counted ? Math.min(100, Math.round(100 * progress.done / progress.total)) : 0
    bar.firstChild.style.width = counted ? `${share}%` : ""
    if (counted) bar.setAttribute("aria-valuenow", share)
    else bar.removeAttribute("aria-valuenow")
    if (text !== said) say(said = text)
  }
  show({state: job.state, ...job.progress})
  const ended = await follow(job.job, show, signal)
  fill(place)
  return ended
}

/** The job of a model that has not ended, or undefined. */
export const running = async (name, signal) => {
  const {jobs} = await api.jobs(name, signal)
  return jobs.find(job => !job.finished_at)
}

/** Why a job brought nothing, as a sentence; null if it did. */
export const whyNot = job => {
  if (job.state === "done") return null
  if (job.state === "cancelled") return t("job.cancelled")
  return job.error?.message ?? t("job.failed")
}
