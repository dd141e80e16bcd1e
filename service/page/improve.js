// What waits to be learned, and every version that was learned before.

import {api, path} from "./api.js"
import {fill, h, icon} from "./dom.js"
import {running, showJob, whyNot} from "./jobs.js"
import {outcome} from "./outcome.js"
import {picture} from "./pictures.js"
import {reportLink} from "./report.js"
import {accuracyText, ago, day, labelText, OTHER, t} from "./text.js"
import {busy, button, served, toast, untrained, verdictMark} from "./widgets.js"

const SHOWN = 40
const FEW = 5  // photos that a label needs

export const show = async context => {
  const screen = new Improving(context)
  await screen.load()
  const job = await running(context.name, context.signal).catch(() => undefined)
  if (job) screen.follow(job)
}

class Improving {
  constructor(context) {
    Object.assign(this, context)
    this.work = h("div", {"aria-live": "polite"})
    this.body = h("div", {class: "stack"})
    fill(this.place, this.work, this.body)
  }

  async load() {
    const {name, signal} = this
    this.model = await api.model(name, signal)
    this.waiting = this.model.champion ? await api.corrections(name, signal).catch(() => null) : null
    this.labels = this.waiting?.waiting ? (await api.photos(name, {limit: 1}, signal)).labels : []
    if (!this.model.champion) {
      return fill(this.body, untrained("improve", "untrained.how", this.address(name, "train")))
    }
    fill(this.body, h("h1", {}, t("improve.title")), this.waiting && this.queue(), this.history())
  }

  queue() {
    const {waiting, photos} = this.waiting
    if (!waiting) {
      return h("section", {class: "card"}, h("h2", {}, t("improve.nothing")), h("p", {class: "quiet"}, t("improve.nothing.how")),
        h("div", {class: "actions"}, h("a", {class: "button", href: this.address(this.name, "try")}, icon("eye"), h("span", {}, t("improve.try"))),
          h("a", {class: "button", href: this.address(this.name, "photos")}, icon("photos"), h("span", {}, t("photos.add")))))
    }
    const few = this.labels.filter(({label, photos: count}) => count && count < FEW && label !== OTHER && !this.model.labels.includes(label))
    const small = new Set(few.map(({label}) => label)), nothing = photos.every(({label}) => small.has(label))
    return h("section", {class: "card"}, h("h2", {}, t("improve.waiting", {n: waiting})), h("p", {class: "quiet"}, t("improve.waiting.what")),
      h("ul", {class: "waiting", role: "list"}, photos.slice(0, SHOWN).map(photo => h("li", {}, picture(path.thumbnail(this.name, photo.id), photo.name), h("span", {}, labelText(photo.label)))),
        waiting > Math.min(SHOWN, photos.length) && h("li", {class: "rest"}, t("improve.rest", {n: waiting - Math.min(SHOWN, photos.length)}))),
      few.map(({label, photos: n}) => h("p", {class: "notice warn"}, icon("warn"), h("span", {}, t("improve.few", {label, n, few: FEW})))),
      !nothing && h("div", {class: "actions"}, button(t("improve.learn", {n: waiting}), busy(async () => this.follow(await api.retrain(this.name))), {kind: "primary", symbol: "spark"})))
  }

  async follow(job) {
    this.body.inert = true
    this.place.classList.add("working")
    try {
      scrollTo({top: 0})
      const ended = await showJob(this.work, job, this.signal), why = whyNot(ended)
      if (why) toast(why, {bad: ended.state !== "cancelled"})
      await this.load()
      if (why) return
      const card = outcome(ended, this.model, {...this, changed: async () => { fill(this.work); await this.load() }})
      fill(this.work, card, card && ended.kind === "retrain" && this.overrule(ended))
      card?.focus()
    } catch (error) {
      if (error.name === "AbortError") return
      fill(this.work)
      toast(error.message, {bad: true})
    } finally {
      this.body.inert = false
      this.place.classList.remove("working")
    }
  }

  /** Corrections that the model doubts are held back; a person may insist. */
  overrule(job) {
    const held = job.result?.corrections?.held_back?.length
    if (!held) return null
    return h("p", {class: "notice warn"}, icon("warn"), h("div", {}, h("p", {}, t("improve.held", {n: held})),
      button(t("improve.insist"), busy(async () => this.follow(await api.retrain(this.name, "always"))))))
  }

  history() {
    const {versions} = this.model
    const inUse = versions.findIndex(({champion}) => champion)
    return h("section", {class: "card"}, h("div", {class: "head"}, h("h2", {}, t("versions")),
      versions.length > 1 && inUse < versions.length - 1 && button(t("versions.back"), busy(async () => {
        this.model = await api.rollback(this.name)
        await this.load()
        toast(t("versions.used", {version: this.model.champion}))
      }), {symbol: "undo", title: t("versions.back.why")})),
      h("ol", {class: "timeline", role: "list"}, versions.map(version => this.version(version))))
  }

  version(version) {
    return h("li", {class: version.champion ? "in-use" : ""},
      h("div", {class: "version-head"}, h("h3", {}, t("version", {version: version.version})), version.champion && h("span", {class: "tag strong"}, icon("check"), t("versions.inuse")),
        version.created_at && h("time", {datetime: version.created_at, title: day(version.created_at), class: "quiet"}, ago(version.created_at))),
      version.broken ? h("p", {class: "notice warn"}, served(version.broken)) : [
        h("p", {}, accuracyText(version), " ", verdictMark(version.verdict)),
        h("p", {class: "quiet"}, t("versions.learned", {n: version.images, labels: version.labels.map(labelText).join(", ")})),
        version.gate && h("p", {class: "quiet"}, served(version.gate.reason)),
        h("div", {class: "actions"}, !version.champion && button(t("versions.use", {version: version.version}), busy(async () => {
          this.model = await api.promote(this.name, version.version)
          await this.load()
          toast(t("versions.used", {version: version.version}))
        })), version.report && reportLink(path.report(this.name, version.version)))])
  }
}
