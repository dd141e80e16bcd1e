// Learning: one button, how far it is, and then what came of it.

import {api, path} from "./api.js"
import {fill, h, icon, ring} from "./dom.js"
import {findings} from "./findings.js"
import {running, showJob, whyNot} from "./jobs.js"
import {outcome} from "./outcome.js"
import {reportLink} from "./report.js"
import {accuracyText, ago, labelText, OTHER, percent, t} from "./text.js"
import {busy, button, nothing, served, toast, verdictMark} from "./widgets.js"

const FEW = 5, GOOD = 20  // photos of a label: that it needs, and that are a good start

export const show = async context => {
  const {place, name, signal} = context
  const [model, library, job] = await Promise.all([
    api.model(name, signal), api.photos(name, {limit: 1}, signal).catch(() => ({total: 0, labels: []})), running(name, signal).catch(() => undefined)])
  const waiting = model.champion && library.total ? (await api.corrections(name, signal).catch(() => ({waiting: 0}))).waiting : 0
  const screen = new Training({...context, model, library, waiting})
  screen.draw()
  if (job) screen.follow(job)
}

class Training {
  constructor(context) {
    Object.assign(this, context)
    this.work = h("div", {"aria-live": "polite"})
    this.body = h("div", {class: "stack"})
    fill(this.place, this.work, this.body)
  }

  draw() {
    const {model, library, address, name} = this
    if (!model.champion && !library.total) {
      return fill(this.body, nothing(t("step.train"), "photos", t("train.nothing"), t("train.nothing.how"),
        h("a", {class: "button primary", href: address(name, "photos")}, t("photos.add"))))
    }
    fill(this.body, model.champion ? this.learned() : this.before())
  }

  before() {
    const {labels} = this.library, enough = this.enough()
    return h("section", {class: "card train-start"}, h("h1", {}, t("train.title")), h("p", {class: "lead"}, t("train.sentence", {n: this.library.total})),
      this.bars(labels), !enough && h("p", {id: "too-few", class: "notice warn"}, icon("warn"), h("span", {}, t("train.few", {n: FEW}))),
      h("div", {class: "actions"}, this.button(t("train.go"), () => api.train(this.name), {kind: "primary big", symbol: "spark", disabled: !enough, describedby: enough ? undefined : "too-few"})))
  }

  enough() {
    const usable = this.library.labels.filter(({label, photos}) => label !== OTHER && photos >= FEW).length
    return usable >= Math.min(2, Math.max(1, this.library.labels.filter(({label, photos}) => label !== OTHER && photos).length))
  }

  bars(labels) {
    const most = Math.max(GOOD, ...labels.map(({photos}) => photos))
    return h("ul", {class: "label-bars", role: "list"}, labels.map(({label, photos}) => {
      const bar = h("i")
      bar.style.width = `${100 * photos / most}%`
      return h("li", {}, h("span", {}, labelText(label)), h("span", {class: "bar", "aria-hidden": "true"}, bar), h("b", {}, t("photos.n", {n: photos})))
    }))
  }

  button(label, begin, how) {
    return button(label, busy(async () => this.follow(await begin())), how)
  }

  async follow(job) {
    this.body.inert = true
    this.body.hidden = !this.model.champion
    this.place.classList.add("working")
    try {
      scrollTo({top: 0})
      const ended = await showJob(this.work, job, this.signal)
      const why = whyNot(ended)
      if (why) toast(why, {bad: ended.state !== "cancelled"})
      Object.assign(this, {model: await api.model(this.name, this.signal), library: await api.photos(this.name, {limit: 1}, this.signal)})
      this.waiting = (await api.corrections(this.name, this.signal).catch(() => ({waiting: 0}))).waiting
      fill(this.work)
      if (!why) fill(this.work, outcome(ended, this.model, {...this, changed: () => this.reload()}))
      this.draw()
      this.place.querySelector("h1, h2")?.focus?.()
    } catch (error) {
      if (error.name === "AbortError") return
      fill(this.work)
      throw error
    } finally {
      this.body.inert = this.body.hidden = false
      this.place.classList.remove("working")
    }
  }

  learned() {
    const detail = h("div", {class: "stack"})
    this.details(detail, this.model.versions.find(({champion}) => champion))
    return [this.result(), detail]
  }

  result() {
    const {model, name} = this, version = model.versions.find(({champion}) => champion)
    return h("section", {class: "card result"},
      h("div", {class: "result-head"}, this.score(model), h("div", {},
        h("p", {}, verdictMark(model.verdict)), h("h1", {}, accuracyText(model)),
        model.verdict && h("p", {}, served(model.verdict.sentence)),
        h("p", {class: "quiet"}, t("train.version", {version: model.champion, n: model.images, when: model.changed_at ? ago(model.changed_at) : ""})))),
      h("div", {class: "actions"},
        this.waiting > 0 && this.button(t("train.learn", {n: this.waiting}), () => api.retrain(name), {kind: "primary", symbol: "spark"}),
        h("a", {class: this.waiting ? "button" : "button primary", href: this.address(name, "try")}, icon("eye"), h("span", {}, t("train.try"))),
        this.library.total > 0 && this.button(t("train.again"), () => api.train(name), {symbol: "spark", disabled: !this.enough(), title: t("train.again.why")}),
        version?.report && reportLink(path.report(name, version.version))),
      this.library.total === 0 && h("p", {class: "quiet"}, t("train.elsewhere")))
  }

  score({accuracy}) {
    if (accuracy === null) return null
    return h("div", {class: "score", "aria-hidden": "true"}, ring(accuracy), h("b", {}, percent(accuracy)))
  }

  async details(place, version) {
    if (!version) return
    try {
      const found = await api.findings(this.name, version.version, this.signal)
      const {photos} = this.library.total ? await api.photos(this.name, {}, this.signal) : {photos: []}
      fill(place, findings(found, new Map(photos.map(({id, label}) => [id, label])), this))
    } catch (error) {
      if (error.name === "AbortError") return
      fill(place)  // a version of an earlier release, or files that cannot be read: the rest stands without it
    }
  }

  /** After a label was put right on this screen. */
  async corrected() {
    this.waiting = (await api.corrections(this.name, this.signal).catch(() => ({waiting: this.waiting}))).waiting
    this.body.querySelector(".result")?.replaceWith(this.result())
  }
}
