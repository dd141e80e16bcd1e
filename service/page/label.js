// Unlabelled photos become labelled ones, a row of alike answers at a time; the model learns them beside it.

import {api, path, sentence} from "./api.js"
import {chooseLabel} from "./choose.js"
import {fill, h, icon} from "./dom.js"
import {onDrop, pickers} from "./files.js"
import {running, showJob, whyNot} from "./jobs.js"
import {filePicture, picture} from "./pictures.js"
import {accuracyText, allLabels, labelText, OTHER, percent, t} from "./text.js"
import {busy, button, say, toast, untrained} from "./widgets.js"

const AT_ONCE = 4
const ROW = 12
const LEARN_AFTER = 24  // labels given
const DOUBT = 0.8  // a confidence below it is a doubt
const NONE = {predictions: [], unknown: true}  // the answer while there is no model
const DONE = 0.01  // share of answers that a learning still changed, below which more labels are hardly worth it

export const show = async context => {
  const {place, name, signal, address} = context
  const [model, library, files] = await Promise.all([api.model(name, signal), api.photos(name, {limit: 1}, signal).catch(() => null), api.pool(name, signal).catch(() => [])])
  if (!model.champion && !files.length) return fill(place, untrained("label", "label.first", address(name, "photos"), "photos.add"))
  const screen = new Labelling({...context, model, labels: allLabels(model, library)})
  screen.draw()
  setTimeout(() => screen.take({photos: files.map(file => ({file})), left: []}))  // once it is shown
}

/** A 95 % interval of a share, after Wilson. */
const interval = (right, all) => {
  const z = 1.96, p = right / all, low = 1 + z * z / all, half = z * Math.sqrt(p * (1 - p) / all + z * z / (4 * all * all))
  return [(p + z * z / (2 * all) - half) / low, (p + z * z / (2 * all) + half) / low]
}

class Labelling {
  constructor(context) {
    Object.assign(this, context)
    Object.assign(this, {pool: [], row: [], asking: [], busyAsking: 0, done: [], since: 0, seen: 0, blind: 0, right: 0, changed: null, learning: false})
    this.drop = h("section", {class: "drop-zone"})
    this.state = h("div", {class: "label-state quiet", "aria-live": "polite"})
    this.work = h("div")
    this.head = h("div", {class: "head"})
    this.grid = h("ul", {class: "label-row", role: "listbox", "aria-multiselectable": "true", "aria-label": t("label.row")})
    this.keys = h("div", {class: "actions"})
    fill(this.place, h("h1", {}, t("label.title")), this.drop, this.state, this.head, this.grid, this.keys, this.work)
    this.grid.addEventListener("keydown", event => this.key(event))
    onDrop(this.signal, found => this.take(found))
    this.signal.addEventListener("abort", () => this.release())
  }

  draw() {
    fill(this.drop, h("span", {class: "empty-mark"}, icon("photos")), h("p", {class: "lead"}, t("label.drop")), h("div", {class: "actions"},
      pickers(found => this.take(found))))
    this.update()
  }

  take({photos, left}) {
    if (left.length) toast(t("photos.left", {n: left.length}))
    const added = photos.map(({file}) => ({file, answer: null, not: new Set()}))
    this.pool.push(...added)
    this.ask(added)
  }

  /** Answers are asked for a few at a time; what is asked again keeps its old answer until the new one comes. */
  ask(items) {
    if (this.model.champion) this.asking.push(...items)
    else for (const item of items) item.answer = NONE
    if (!this.asking.length && !this.row.length) return this.deal()
    this.update()
    while (this.busyAsking < AT_ONCE && this.asking.length) this.next()
  }

  async next() {
    this.busyAsking++
    while (this.asking.length && !this.signal.aborted) {
      const item = this.asking.shift()
      try {
        const answer = await api.predict(this.name, item.file, this.signal)
        if (item.again && item.answer) {
          this.asked++
          if (item.answer.label !== answer.label) this.differ++
        }
        Object.assign(item, {answer, again: false})
      } catch (error) {
        if (error.name === "AbortError") return
        this.pool = this.pool.filter(each => each !== item)
        toast(`${item.file.name}: ${sentence(error)}`, {bad: true})
      }
      if (!this.row.length && this.pool.filter(each => each.answer).length >= ROW) this.deal()
      else this.update()
    }
    this.busyAsking--
    if (this.busyAsking) return
    if (this.asked) this.changed = this.differ / this.asked
    if (this.row.length) this.update()
    else this.deal()
  }

  /** The likeliest label that was not refused. */
  guess({answer, not}) {
    return answer === NONE ? null : answer.predictions.map(({label}) => label).find(label => !not.has(label)) ?? OTHER
  }

  surety({answer, not}) {
    return not.size ? DOUBT : answer.unknown ? 0 : answer.confidence  // what was refused waits until the doubts are asked
  }

  /** A dozen photos of one answer: that of the greatest doubt, and those least sure of the same answer. */
  deal() {
    const ready = this.pool.filter(each => each.answer).sort((a, b) => this.surety(a) - this.surety(b))
    this.release()
    this.label = ready.length ? this.guess(ready[0]) : null
    this.row = ready.filter(each => this.guess(each) === this.label).slice(0, ROW)
    for (const item of this.row) item.out = false
    this.grid.classList.toggle("cold", !this.label)
    fill(this.grid, this.row.map((item, index) => this.tile(item, index)))
    this.update()
    if (this.row.length) this.grid.firstChild.focus({preventScroll: true})
  }

  tile(item, index) {
    const {file} = item
    item.image = file.id ? picture(path.pooled(this.name, file.id), file.name) : filePicture(file, file.name, () => api.small(file, this.signal))
    item.tile = h("li", {role: "option", tabindex: index ? "-1" : "0", "aria-selected": String(!!this.label), "aria-label": file.name, onclick: () => this.toggle(item)}, item.image)
    return item.tile
  }

  toggle(item) {
    item.out = !item.out
    item.tile.setAttribute("aria-selected", String(item.out !== !!this.label))
    this.focus(item.tile)
    this.update()
  }

  focus(tile) {
    for (const each of this.grid.children) each.tabIndex = each === tile ? 0 : -1
    tile?.focus({preventScroll: true})
  }

  release() {
    for (const {image} of this.row) image?.release?.()
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.row.length) return
    const index = this.row.findIndex(({tile}) => tile === document.activeElement)
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key]
    const label = event.key === "0" ? OTHER : this.labels[Number(event.key) - 1]
    if (step) this.focus(this.row[Math.max(0, Math.min(this.row.length - 1, index + step))].tile)
    else if (event.key === " ") this.toggle(this.row[Math.max(0, index)])
    else if (event.key === "Enter" && this.label) this.run(() => this.accept())
    else if (event.key === "e") this.run(() => this.somethingElse())
    else if (event.key === "u") this.run(() => this.takeBack())
    else if (label !== undefined) this.run(() => this.assign(label))
    else return
    event.preventDefault()
  }

  /** One change at a time: a key that is held does not label the next row. */
  async run(work) {
    if (this.changing) return
    this.changing = true
    try {
      await work()
    } catch (error) {
      if (error.name !== "AbortError") toast(sentence(error), {bad: true})
    } finally {
      this.changing = false
    }
  }

  /** All but those that were clicked; these come again under their next likely label. */
  async accept() {
    const out = this.row.filter(item => item.out), kept = this.row.filter(item => !item.out)
    if (kept.length) await this.give(kept, this.label)
    for (const item of out) item.not.add(this.label)
    this.deal()
  }

  /** What was clicked, else the photo that has the focus. */
  meant() {
    const out = this.row.filter(item => item.out)
    return out.length ? out : this.row.filter(({tile}) => tile.tabIndex === 0)
  }

  async assign(label) {
    const items = this.meant(), gone = new Set(items)
    await this.give(items, label)
    this.row = this.row.filter(item => !gone.has(item))
    for (const {tile, image} of items) {
      tile.remove()
      image.release?.()
    }
    if (!this.row.length) return this.deal()
    this.focus(this.row[0].tile)
    this.update()
  }

  async somethingElse() {
    const label = await chooseLabel(t("try.which"), this.labels, {signal: this.signal})
    if (!label) return this.focus(this.row[0]?.tile)
    await this.assign(label)
    if (label !== OTHER && !this.labels.includes(label)) this.labels.push(label)
    this.update()
  }

  /** Into the library, under the label; a photo that is there under another one moves. */
  async give(items, label) {
    const {added, same, refused} = await api.addPhotos(this.name, label, items.map(({file}) => file), this.signal)
    const moved = same.filter(photo => photo.label !== label)
    if (moved.length) await api.movePhotos(this.name, moved.map(({id}) => id), label)
    if (refused.length) toast(`${refused[0].name}: ${refused[0].message}`, {bad: true})
    const failed = new Set(refused.map(({name}) => name)), known = new Set(items)
    items = items.filter(({file}) => !failed.has(file.name))
    const right = items.filter(({answer}) => !answer.unknown && answer.label === label).length
    this.pool = this.pool.filter(item => !known.has(item))
    this.done.push({items, right, added: added.map(({id}) => id), moved})
    this.seen += items.length
    if (!this.label) this.blind += items.length
    this.right += right
    this.since += items.length
    say(t("label.given", {n: items.length, label: labelText(label)}))
    if (this.since >= LEARN_AFTER) this.learn()
  }

  async takeBack() {
    const last = this.done.pop()
    if (!last) return
    if (last.added.length) await api.deletePhotos(this.name, last.added)
    for (const {id, label} of last.moved) await api.movePhotos(this.name, [id], label)
    this.pool.push(...last.items)
    this.seen -= last.items.length
    this.right -= last.right
    this.since = Math.max(0, this.since - last.items.length)
    this.deal()
    say(t("undone"))
  }

  /** In the background, through the gate; a new version is then asked about all that is left. */
  async learn() {
    if (this.learning || !this.since) return
    this.learning = true
    this.since = 0
    this.update()
    try {
      const before = this.model.champion, job = await running(this.name, this.signal) ?? await api[before ? "retrain" : "train"](this.name)
      const why = whyNot(await showJob(this.work, job, this.signal))
      if (why) toast(why, {bad: true})
      this.model = await api.model(this.name, this.signal)
      if (this.model.champion !== before) {
        Object.assign(this, {asked: 0, differ: 0})
        this.asking = []
        for (const item of this.pool) before ? item.again = true : item.answer = null
        if (!before) {
          this.release()
          fill(this.grid)
          this.row = []
        }
        this.ask([...this.pool])
      }
    } catch (error) {
      if (error.name === "AbortError") return
      fill(this.work)
      toast(sentence(error), {bad: true})
    } finally {
      this.learning = false
      this.update()
    }
  }

  /** How good the answers are, how many more labels are worth it, and when to stop. */
  words() {
    const {right, pool, changed} = this, seen = this.seen - this.blind, doubtful = pool.filter(each => each.answer && this.surety(each) <= DOUBT).length
    const [low, high] = seen ? interval(right, seen) : []
    return [
      h("p", {}, t("label.left", {n: pool.length, seen: this.seen})),
      h("p", {}, accuracyText(this.model)),
      seen > 0 && h("p", {}, t("label.right", {right, seen, low: percent(low), high: percent(high)})),
      pool.length > 0 && this.model.champion && h("p", {}, changed !== null && changed < DONE ? t("label.stop", {share: percent(changed)})
        : changed !== null ? t("label.goon", {share: percent(changed), n: doubtful}) : t("label.doubt", {n: doubtful})),
    ]
  }

  update() {
    const {row, pool} = this, waiting = this.asking.length + this.busyAsking, out = row.filter(item => item.out).length
    this.drop.classList.toggle("small", pool.length > 0 || this.seen > 0)
    fill(this.state, (pool.length > 0 || this.seen > 0) && this.words())
    fill(this.head, row.length ? h("h2", {}, this.label ? t("label.these", {label: labelText(this.label)}) : t("label.cold")) : waiting > 0 && h("p", {class: "quiet"}, t("label.asking", {n: waiting})))
    fill(this.keys, row.length > 0 && [
      this.label && button(t("label.accept", {n: row.length - out}), () => this.run(() => this.accept()), {kind: "primary", symbol: "check", "aria-keyshortcuts": "Enter"}),
      [...this.labels, OTHER].map((label, index) => {
        const shown = label === OTHER ? "0" : index < 9 ? String(index + 1) : undefined
        return h("button", {type: "button", class: "button", "aria-keyshortcuts": shown, onclick: () => this.run(() => this.assign(label))}, h("span", {}, labelText(label)), shown && h("kbd", {"aria-hidden": "true"}, shown))
      }),
      button(t("try.else"), () => this.run(() => this.somethingElse()), {"aria-keyshortcuts": "e"})],
    this.done.length > 0 && button(t("undo"), () => this.run(() => this.takeBack()), {symbol: "undo", "aria-keyshortcuts": "u"}),
    this.since > 0 && !this.learning && button(t("label.learn", {n: this.since}), busy(() => this.learn()), {symbol: "spark"}))
  }
}
