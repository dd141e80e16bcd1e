// Photos are asked about: each answer belongs to its own card, so that none can end up under another photo.

import {api, sentence} from "./api.js"
import {open, snap} from "./camera.js"
import {csvOf} from "./csv.js"
import {fill, h, icon} from "./dom.js"
import {hasFiles, onDrop, pickers, sorted} from "./files.js"
import {save} from "./report.js"
import {answerCard, bars} from "./try_card.js"
import {allLabels, labelText, t} from "./text.js"
import {button, filters, say, toast, untrained} from "./widgets.js"

const AT_ONCE = 4
const LIVE_MS = 250

export const show = async context => {
  const {place, name, signal, address} = context
  const model = await api.model(name, signal)
  if (!model.champion) {
    return fill(place, context.access.may_change ? untrained("try", "untrained.how", address(name, "train")) : untrained("try", "first.waiting"))
  }
  const library = context.access.may_change ? await api.photos(name, {limit: 1}, signal).catch(() => null) : null
  const access = {...context.access, may_change: library !== null}  // a model without a library learns nothing
  new Trial({...context, access, model, labels: allLabels(model, library)}).draw()
}

class Trial {
  constructor(context) {
    Object.assign(this, context)
    this.items = []  // {file, batch, answer, error, card}
    this.batch = 0
    this.running = 0
    this.only = "all"
    this.corrected = 0
    this.drop = h("section", {class: "drop-zone"})
    this.live = h("div")
    this.bar = h("div", {class: "head"})
    this.notice = h("div", {"aria-live": "polite"})
    this.grid = h("ul", {class: "answers", role: "list", "aria-label": t("try.answers")})
    fill(this.place, h("h1", {}, t("try.title", {name: this.name})), this.drop, this.live, this.notice, this.bar, this.grid)
    this.listen()
  }

  draw() {
    fill(this.drop, h("span", {class: "empty-mark"}, icon("eye")), h("p", {class: "lead"}, t("try.drop")), h("div", {class: "actions"},
      pickers(found => this.take(found)),
      button(t("try.camera"), () => this.camera(), {symbol: "camera"})))
    this.update()
  }

  listen() {
    const {signal} = this, on = (target, name, work) => target.addEventListener(name, work, {signal})
    on(window, "dragover", event => { if (hasFiles(event.dataTransfer)) this.drop.classList.add("over") })
    on(window, "dragleave", event => { if (!event.relatedTarget) this.drop.classList.remove("over") })
    on(window, "drop", () => this.drop.classList.remove("over"))
    onDrop(signal, found => this.take(found))
    on(document, "paste", event => {
      const files = [...event.clipboardData?.files ?? []]
      if (files.length) this.take(sorted(files.map(file => ({file, folder: null}))))
    })
    signal.addEventListener("abort", () => {
      for (const {card} of this.items) card?.release()
      this.stopCamera?.()
    })
  }

  take({photos, left}) {
    if (left.length) toast(t("photos.left", {n: left.length}))
    if (!photos.length) return
    this.batch++
    this.only = "all"
    const added = photos.map(({file, folder}) => ({file, batch: this.batch, path: file.webkitRelativePath || (folder ? `${folder}/${file.name}` : file.name)}))
    for (const item of added) item.card = answerCard(item, this)
    this.items.push(...added)
    this.pending = [...this.pending ?? [], ...added]
    this.place.classList.toggle("has-answers", true)
    this.update()
    if (matchMedia("(max-width: 46rem)").matches) this.grid.scrollIntoView({block: "nearest"})
    for (let free = AT_ONCE - this.running; free > 0; free--) this.next()
  }

  async next() {
    const item = this.pending?.shift()
    if (!item) return
    this.running++
    try {
      item.answer = await api.predict(this.name, item.file, this.signal)
    } catch (error) {
      if (error.name === "AbortError") return
      item.error = sentence(error)
    }
    this.running--
    if (this.items.includes(item)) item.card.show()
    if (this.pending.length) {
      this.count()
      return this.next()
    }
    if (!this.running) this.ended()
  }

  ended() {
    this.update()
    const {items} = this
    if (items.length === 1) say(items[0].card.sentence())
    else if (items.length) say(t("try.done", {n: items.length}))
  }

  /** The newest first, and of those the least sure. */
  order() {
    const surety = ({answer, error}) => error !== undefined ? -2 : answer === undefined ? 2 : answer.unknown ? -1 : answer.confidence
    return [...this.items].sort((a, b) => b.batch - a.batch || surety(a) - surety(b))
  }

  count() {
    const done = this.items.length - this.pending.length - this.running
    if (this.counted) this.counted.textContent = t("try.asking", {done, total: this.items.length})
  }

  update() {
    const {items} = this, asking = this.running > 0 || this.pending?.length > 0
    this.grid.classList.toggle("one", items.length === 1)
    const kindOf = ({answer, error}) => error !== undefined ? "error" : answer === undefined ? "waiting" : answer.unknown ? "unknown" : `label ${answer.label}`
    const kinds = new Map()
    for (const item of items) kinds.set(kindOf(item), (kinds.get(kindOf(item)) ?? 0) + 1)
    const names = {error: t("try.error"), unknown: t("unknown.short"), waiting: t("try.waiting")}
    const choices = [["all", t("all"), items.length], ...[...kinds].filter(([kind]) => kind !== "waiting").sort().map(([kind, n]) => [kind, names[kind] ?? labelText(kind.slice(6)), n])]
    this.counted = h("p", {class: "quiet"})
    fill(this.bar, items.length > 0 && [
      asking ? this.counted : items.length > 1 ? filters(t("try.filter"), choices, this.only, value => { this.only = value; this.update() }) : h("span"),
      h("div", {class: "actions"}, !asking && items.length > 1 && button(t("try.csv"), () => this.csv(), {symbol: "download"}),
        button(t("try.clear"), () => this.clear(), {symbol: "close"}))])
    if (asking) this.count()
    const focused = document.activeElement
    fill(this.grid, this.order().filter(item => this.only === "all" || kindOf(item) === this.only).map(({card}) => card.element))
    if (focused !== document.body && this.grid.contains(focused)) focused.focus({preventScroll: true})
    fill(this.notice, this.corrected > 0 && h("p", {class: "notice"}, icon("check"), h("span", {}, t("try.corrected", {n: this.corrected})),
      h("a", {class: "button", href: this.address(this.name, "improve")}, t("try.improve"))))
    this.drop.classList.toggle("small", items.length > 0)
  }

  clear() {
    for (const {card} of this.items) card.release()
    Object.assign(this, {items: [], pending: [], only: "all"})
    this.place.classList.remove("has-answers")
    this.update()
    this.drop.querySelector("button").focus()
  }

  csv() {
    save(new Blob([csvOf(this.order(), this.model.labels)], {type: "text/csv;charset=utf-8"}), `${this.name}.csv`)
  }

  /** The camera, asked again and again; each answer belongs to the picture that it was asked about. */
  async camera() {
    if (this.stopCamera) return this.stopCamera()
    const answer = h("div", {class: "live-answer"}), place = h("div", {class: "camera"}, h("p", {}, t("camera.starting")))
    let camera = null, on = true
    this.stopCamera = () => {
      on = false
      camera?.stop()
      this.stopCamera = null
      fill(this.live)
    }
    fill(this.live, h("section", {class: "card live"}, place, answer, h("div", {class: "actions"}, button(t("try.keep"), async () => {
      const file = camera && await snap(camera.video, `camera-${Date.now()}.jpg`)
      if (file) this.take({photos: [{file, folder: null}], left: []})
    }, {symbol: "camera"}), button(t("try.stop"), () => this.stopCamera?.(), {symbol: "close"}))))
    try {
      camera = await open()
      if (!on) return camera.stop()
      fill(place, camera.video)
      while (on && !this.signal.aborted) {
        const file = await snap(camera.video, "camera.jpg")
        if (file && on) fill(answer, bars(await api.predict(this.name, file, this.signal)))
        await new Promise(resolve => setTimeout(resolve, LIVE_MS))
      }
    } catch (error) {
      if (error.name === "AbortError") return
      camera?.stop()
      this.stopCamera = null
      fill(this.live, h("p", {class: "notice warn", role: "alert"}, icon("warn"), h("span", {}, sentence(error))))
    }
  }
}
