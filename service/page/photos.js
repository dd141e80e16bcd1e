// The photo library of a model: a column per label, filled by drop, choice, paste or camera.

import {api, sentence} from "./api.js"
import {record} from "./camera.js"
import {chooseLabel, lookAt} from "./choose.js"
import {fill, grouped, h, icon} from "./dom.js"
import {fromDrop, fromInput, hasFiles, sorted} from "./files.js"
import {column, DRAGGED, FIRST} from "./photo_column.js"
import {labelText, OTHER, t} from "./text.js"
import {onUpload, state as uploading, isUploading, upload} from "./uploads.js"
import {button, dialog, filePicker, iconButton, nameForm, nothing, notice, toast} from "./widgets.js"

const FEW = 5  // photos that a label needs

export const show = async context => {
  const library = new Library(context)
  try {
    await library.load()
  } catch (error) {
    if (error.code !== "model_unknown") throw error
    await api.model(context.name, context.signal)  // raises if the model itself is not there
    return fill(context.place, nothing(t("photos.title"), "photos", t("photos.nolibrary"), t("photos.nolibrary.why")))
  }
  library.listen()
}

/** The screen: what is known of the library, and the columns that show it. */
class Library {
  constructor(context) {
    Object.assign(this, context)
    this.chosen = new Set()  // ids
    this.columns = new Map()  // label -> column
    this.onlyProblems = false
    this.head = h("div", {class: "head"})
    this.notice = h("div", {class: "notices", "aria-live": "polite"})
    this.board = h("div", {class: "board"})
    this.tray = h("div", {class: "tray", role: "region", "aria-label": t("photos.chosen"), hidden: true})
    fill(this.place, this.head, this.notice, this.board, this.tray)
  }

  async load() {
    const mine = this.latest = {}
    const body = await api.photos(this.name, {}, this.signal)
    const photos = grouped(body.photos, ({label}) => label)
    const lacking = body.labels.filter(({label, photos: count}) => (photos.get(label)?.length ?? 0) < Math.min(count, FIRST))
    await Promise.all(lacking.map(async ({label}) => photos.set(label, (await api.photos(this.name, {label, limit: FIRST}, this.signal)).photos)))
    if (this.latest !== mine) return  // something newer is shown or on its way
    this.photos = photos
    this.counts = new Map(body.labels.map(({label, photos: count}) => [label, count]))
    this.total = [...this.counts.values()].reduce((sum, each) => sum + each, 0)
    const known = new Set([...this.photos.values()].flat().map(({id}) => id))
    this.chosen = new Set([...this.chosen].filter(id => known.has(id)))
    this.draw()
  }

  get labels() {
    return [...this.counts.keys()].filter(label => label !== OTHER)
  }

  draw() {
    this.drawHead()
    const order = [...this.labels, ...this.total || this.counts.has(OTHER) ? [OTHER] : []]
    for (const label of this.columns.keys()) if (!order.includes(label)) this.columns.delete(label)
    for (const label of order) {
      if (!this.columns.has(label)) this.columns.set(label, column(label, this))
      this.columns.get(label).update(this.photos.get(label) ?? [], this.counts.get(label) ?? 0)
    }
    const wanted = this.labels.length ? [...this.labels.map(label => this.columns.get(label).element), this.further(order.includes(OTHER))] : [this.begin()]
    if (wanted.length !== this.board.children.length || wanted.some((each, index) => this.board.children[index] !== each)) {
      const focused = document.activeElement
      fill(this.board, wanted)
      if (this.board.contains(focused)) focused.focus({preventScroll: true})
    }
    this.drawTray()
  }

  drawHead() {
    const problems = [...this.photos.values()].flat().filter(({problems}) => problems.length).length
    if (!problems) this.onlyProblems = false
    const trainable = this.labels.filter(label => this.counts.get(label) >= FEW).length >= 1
    const counts = this.total ? t("photos.count", {n: this.total, labels: this.labels.length}) : ""
    fill(this.head, h("div", {}, h("h1", {}, t("photos.title")), h("p", {class: "quiet"}, counts)),
      h("div", {class: "actions"},
        problems > 0 && h("button", {type: "button", class: "chip warn", "aria-pressed": String(this.onlyProblems),
          onclick: () => { this.onlyProblems = !this.onlyProblems; this.draw() }}, icon("warn"), h("span", {}, t("photos.problems", {n: problems}))),
        this.labels.length > 0 && filePicker(t("photos.folders"), files => this.take(fromInput(files)), {folder: true, symbol: "folder"}),
        trainable && h("a", {class: "button primary", href: this.address(this.name, "train")}, icon("spark"), h("span", {}, t("photos.train")))))
  }

  begin() {
    this.beginning ??= h("section", {class: "drop-zone large"},
      h("span", {class: "empty-mark"}, icon("photos")), h("h2", {}, t("photos.begin")), h("p", {}, t("photos.begin.how")),
      h("div", {class: "actions"}, filePicker(t("photos.folders"), files => this.take(fromInput(files)), {folder: true, symbol: "folder", kind: "primary"})),
      h("div", {class: "or"}, h("span", {}, t("or"))),
      nameForm({label: t("photos.first.label"), action: t("photos.label.go"), placeholder: t("photos.label.example"), send: label => this.makeLabel(label)}))
    return this.beginning
  }

  /** Where a label is added, and the photos of none of them. */
  further(none) {
    this.adding ??= h("div", {class: "column-stack"}, h("section", {class: "column new", "aria-label": t("photos.label.new")},
      nameForm({label: t("photos.label.new"), action: t("photos.label.go"), placeholder: t("photos.label.example"), send: label => this.makeLabel(label)})))
    const element = none ? this.columns.get(OTHER).element : null
    if (element?.parentElement !== this.adding) {
      while (this.adding.children.length > 1) this.adding.lastChild.remove()
      if (element) this.adding.append(element)
    }
    return this.adding
  }

  async makeLabel(label) {
    const made = await api.addLabel(this.name, label)
    await this.load()
    this.columns.get(made.label)?.element.querySelector("button")?.focus()
  }

  /** Photos with their folders' names as labels; those that lie in none are asked about, or go to `label`. */
  async take({photos, left}, label) {
    if (left.length) this.tell("warn", t("photos.left", {n: left.length}), left.map(name => ({name})))
    const loose = photos.filter(({folder}) => label !== undefined || folder === null).map(({file}) => file)
    if (label === undefined) {
      for (const [folder, files] of grouped(photos.filter(({folder}) => folder !== null), ({folder}) => folder)) {
        upload(this.name, folder, files.map(({file}) => file))
      }
    }
    if (!loose.length) return
    const under = label ?? await chooseLabel(t("photos.which", {n: loose.length}), this.labels, {signal: this.signal})
    if (under) upload(this.name, under, loose)
  }

  listen() {
    const {signal} = this, on = (target, name, work) => target.addEventListener(name, work, {signal})
    on(window, "dragover", event => {
      const over = event.target.closest?.("[data-label]")
      const ours = event.dataTransfer.types.includes(DRAGGED)
      if (!ours && !hasFiles(event.dataTransfer)) return
      event.preventDefault()
      event.dataTransfer.dropEffect = ours ? "move" : "copy"
      this.mark(ours || over ? over : this.place)
    })
    on(window, "dragleave", event => { if (!event.relatedTarget) this.mark(null) })
    on(window, "drop", async event => {
      this.mark(null)
      const label = event.target.closest?.("[data-label]")?.dataset.label
      const dragged = event.dataTransfer.getData(DRAGGED)
      if (!dragged && !hasFiles(event.dataTransfer)) return
      event.preventDefault()
      if (dragged) return label !== undefined && this.move(JSON.parse(dragged), label)
      try {
        const found = await fromDrop(event.dataTransfer)
        await this.take(found, label)
      } catch (error) {
        toast(sentence(error), {bad: true})
      }
    })
    on(document, "paste", event => {
      const files = [...event.clipboardData?.files ?? []]
      if (!files.length || document.querySelector("dialog[open]")) return
      event.preventDefault()
      this.take(sorted(files.map(file => ({file, folder: null}))), document.activeElement?.closest?.("[data-label]")?.dataset.label)
    })
    on(document, "visibilitychange", () => { if (!document.hidden && !isUploading()) this.load().catch(() => {}) })
    onUpload((what, more) => this.uploaded(what, more), signal)
    if (isUploading()) this.uploaded("progress")
    if (this.rest) lookAt(this, this.rest).catch(() => {})
  }

  mark(element) {
    if (element === this.marked) return
    this.marked?.classList.remove("over")
    element?.classList.add("over")
    this.marked = element
  }

  uploaded(what, {name, label, result, state} = {}) {
    if (what === "part" && name === this.name) this.put(label, result.added)
    if (what === "end") {
      this.progress?.remove()
      this.progress = null
      if (state.names.has(this.name)) this.ended(state)
      return this.load().catch(() => {})
    }
    this.progress ??= this.notice.appendChild(h("div", {class: "notice"}, h("p", {}), h("div", {class: "bar", role: "progressbar", "aria-label": t("photos.adding.bar"), "aria-valuemin": "0", "aria-valuemax": "100"}, h("i"))))
    const {done, total} = uploading
    this.progress.firstChild.textContent = t("photos.adding", {done, total})
    this.progress.lastChild.setAttribute("aria-valuenow", Math.round(100 * done / total))
    this.progress.lastChild.firstChild.style.width = `${100 * done / total}%`
  }

  /** Shows photos that have just arrived, before the list is read again. */
  put(label, added) {
    if (!added.length) return
    const shown = added.map(({id, name}) => ({id, name, label, problems: []}))
    const ids = new Set(shown.map(({id}) => id))
    this.photos.set(label, [...shown, ...(this.photos.get(label) ?? []).filter(({id}) => !ids.has(id))])
    this.counts.set(label, (this.counts.get(label) ?? 0) + added.length)
    this.total += added.length
    this.draw()
  }

  ended({added, same, refused}) {
    if (added) toast(t("photos.added", {n: added}))
    const elsewhere = same.filter(({label, wanted}) => label !== wanted), here = same.length - elsewhere.length
    if (here) this.tell("info", t("photos.same", {n: here}))
    if (elsewhere.length) {
      const [{wanted}] = elsewhere
      const action = elsewhere.every(each => each.wanted === wanted) && (close => button(t("photos.moveto", {label: labelText(wanted)}),
        () => { close(); return this.move(elsewhere.map(({id}) => id), wanted) }))
      this.tell("warn", t("photos.elsewhere", {n: elsewhere.length}), elsewhere.map(({name, label}) => ({name, message: t("photos.under", {label: labelText(label)})})), action)
    }
    if (refused.length) this.tell("warn", t("photos.refused", {n: refused.length}), refused)
  }

  /** A message that stays until it is closed, with the files that it is about. */
  tell(kind, message, files = [], action) {
    this.notice.append(notice(kind, message, files, action))
  }

  /** Shows photos at once where they now are, or no longer, before the list is read again. */
  shift(ids, label) {
    this.latest = {}
    const moved = new Set(ids), found = []
    for (const [from, photos] of this.photos) {
      const leaving = photos.filter(({id}) => moved.has(id))
      if (!leaving.length) continue
      found.push(...leaving.map(photo => ({...photo, label, problems: []})))
      this.photos.set(from, photos.filter(({id}) => !moved.has(id)))
      this.counts.set(from, this.counts.get(from) - leaving.length)
    }
    this.total -= found.length
    if (label === undefined) return this.draw()
    this.counts.set(label, this.counts.get(label) ?? 0)
    this.put(label, found)
    this.draw()
  }

  /** Does what changes the library, says it with a way back, and reads the list again. */
  async change(work, message, shown) {
    try {
      const {undo} = await work()
      this.chosen.clear()
      if (shown) shown()
      else await this.load()
      toast(message, {undo, undone: () => this.load()})
      if (shown) this.load().catch(() => {})  // problems may have come or gone
    } catch (error) {
      toast(sentence(error), {bad: true})
      if (error.status === 404) await this.load().catch(() => {})
    }
  }

  move(ids, label) {
    const moving = ids.filter(id => !(this.photos.get(label) ?? []).some(photo => photo.id === id))
    if (!moving.length) return null
    return this.change(() => api.movePhotos(this.name, moving, label), t("photos.moved", {n: moving.length, label: labelText(label)}), () => this.shift(moving, label))
  }

  remove(ids) {
    return this.change(() => api.deletePhotos(this.name, ids), t("photos.deleted", {n: ids.length}), () => this.shift(ids))
  }

  async moveChosen(ids = [...this.chosen]) {
    const label = await chooseLabel(t("photos.moving", {n: ids.length}), [...this.labels, OTHER], {signal: this.signal})
    if (label) await this.move(ids, label)
  }

  drawTray() {
    const ids = [...this.chosen]
    this.tray.hidden = !ids.length
    for (const each of this.columns.values()) each.select(this.chosen)
    if (!ids.length) return
    fill(this.tray, h("b", {}, t("photos.chosen.n", {n: ids.length})),
      ids.length === 1 && button(t("photos.look"), () => lookAt(this, ids[0]), {symbol: "eye"}),
      button(t("photos.move"), () => this.moveChosen(), {symbol: "back", kind: "flip"}),
      button(t("delete"), () => this.remove(ids), {symbol: "trash"}),
      iconButton(t("photos.clear"), "close", () => { this.chosen.clear(); this.drawTray() }))
  }

  camera(label) {
    return record(label, file => upload(this.name, label, [file]), this.signal)
  }

  renameLabel(label) {
    return dialog(t("photos.rename", {label: labelText(label)}), close => nameForm({
      label: t("photos.label"), value: label, action: t("rename"), focus: true, hint: t("photos.rename.hint"), send: async to => {
        if (to !== label) {
          const {merged} = await api.renameLabel(this.name, label, to)
          if (merged) toast(t("photos.merged", {label: to}))
          await this.load()
        }
        close()
      },
    }), {signal: this.signal})
  }

  removeLabel(label) {
    return this.change(() => api.deleteLabel(this.name, label), t("photos.label.deleted", {label: labelText(label)}))
  }
}
