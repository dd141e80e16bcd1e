// One label's photos: a list in which photos are chosen by mouse or keys, dragged, and moved.

import {api, path, sentence} from "./api.js"
import {lookAt} from "./choose.js"
import {fill, h, icon, unique} from "./dom.js"
import {fromInput} from "./files.js"
import {picture} from "./pictures.js"
import {labelText, OTHER, t} from "./text.js"
import {button, filePicker, iconButton, menu, toast} from "./widgets.js"

export const DRAGGED = "application/x-handful-photos"
export const FIRST = 60  // photos shown at once
const MORE = 240
const GOOD = 20  // photos of a label that are a good start

export const column = (label, library) => {
  const title = unique("label"), items = new Map()  // id -> its element
  let photos = [], count = 0, shown = FIRST, anchor = null
  const heading = h("h2", {id: title}), hint = h("p", {class: "quiet"})
  const list = h("div", {class: "thumbs", role: "listbox", "aria-multiselectable": "true", "aria-labelledby": title})
  const more = button("", () => showMore(), {kind: "wide"})
  const blank = h("p", {class: "blank"}, t(label === OTHER ? "photos.blank.other" : "photos.blank"))
  const element = h("section", {class: label === OTHER ? "column none" : "column", "data-label": label, "aria-labelledby": title},
    h("div", {class: "column-head"}, h("div", {}, heading, hint),
      menu(t("photos.more", {label: labelText(label)}), [
        label !== OTHER && {label: t("rename"), symbol: "pen", run: () => library.renameLabel(label)},
        {label: t("photos.all"), symbol: "check", run: () => choose(photos.map(({id}) => id))},
        {label: t("delete"), symbol: "trash", run: () => library.removeLabel(label)},
      ])),
    h("div", {class: "column-add"},
      filePicker(t("photos.add"), files => library.take(fromInput(files), label), {symbol: "add"}),
      iconButton(t("photos.camera", {label: labelText(label)}), "camera", () => library.camera(label))),
    blank, list, more)

  const choose = ids => {
    for (const id of ids) library.chosen.add(id)
    library.drawTray()
  }
  const toggle = (id, range) => {
    const ids = photos.map(each => each.id)
    if (range && anchor) {
      const [from, to] = [ids.indexOf(anchor), ids.indexOf(id)].sort((a, b) => a - b)
      if (from >= 0) return choose(ids.slice(from, to + 1))
    }
    anchor = id
    if (!library.chosen.delete(id)) library.chosen.add(id)
    library.drawTray()
  }
  const focus = item => {
    for (const each of list.children) each.tabIndex = -1
    item.tabIndex = 0
    item.focus()
  }
  const chosenOr = id => library.chosen.has(id) ? [...library.chosen] : [id]
  const stepOf = key => {
    const across = Math.max(1, getComputedStyle(list).gridTemplateColumns.split(" ").length)
    return {ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across}[key]
  }
  const onkeydown = event => {
    const item = event.target.closest("[role=option]"), id = item?.dataset.id
    if (!id || event.ctrlKey && event.key !== "a" || event.altKey || event.metaKey) return
    const step = stepOf(event.key), all = [...list.children]
    const target = library.labels[Number(event.key) - 1]
    if (step) {
      const next = all[all.indexOf(item) + step]
      if (next) focus(next)
    } else if (event.key === "Home" || event.key === "End") focus(all.at(event.key === "Home" ? 0 : -1))
    else if (event.key === " ") toggle(id, event.shiftKey)
    else if (event.key === "Enter") lookAt(library, id)
    else if (event.key === "Delete" || event.key === "Backspace") after(all, item, () => library.remove(chosenOr(id)))
    else if (event.key === "m") library.moveChosen(chosenOr(id))
    else if (event.key === "a" && event.ctrlKey) choose(photos.map(each => each.id))
    else if (event.key === "Escape") { library.chosen.clear(); library.drawTray() }
    else if (target && target !== label) after(all, item, () => library.move(chosenOr(id), target))
    else return
    event.preventDefault()
  }
  /** After a change the focus stays where it was, on the photo that came next. */
  const after = async (all, item, work) => {
    const index = all.indexOf(item)
    await work()
    const next = list.children[Math.min(index, list.children.length - 1)]
    if (next && (document.activeElement === document.body || !document.activeElement)) focus(next)
  }
  list.addEventListener("keydown", onkeydown)
  list.addEventListener("click", event => {
    const item = event.target.closest("[role=option]")
    if (!item) return
    focus(item)
    toggle(item.dataset.id, event.shiftKey)
  })
  list.addEventListener("dblclick", event => {
    const item = event.target.closest("[role=option]")
    if (item) lookAt(library, item.dataset.id)
  })
  list.addEventListener("dragstart", event => {
    const id = event.target.closest("[role=option]")?.dataset.id
    if (!id) return
    event.dataTransfer.setData(DRAGGED, JSON.stringify(chosenOr(id)))
    event.dataTransfer.effectAllowed = "move"
  })

  const describe = photo => [photo.name, ...photo.problems.map(({kind}) => problemText(kind))].join(", ")
  const itemOf = photo => {
    let item = items.get(photo.id)
    if (!item) {
      item = h("div", {class: "thumb", role: "option", "aria-selected": "false", tabindex: "-1", "data-id": photo.id, draggable: "true"}, picture(path.thumbnail(library.name, photo.id)))
      items.set(photo.id, item)
    }
    const names = describe(photo)
    if (item.getAttribute("aria-label") !== names) {
      item.setAttribute("aria-label", names)
      item.title = [photo.name, ...photo.problems.map(({detail}) => detail)].join("\n")
      item.querySelector(".problem")?.remove()
      if (photo.problems.length) item.append(h("span", {class: "problem"}, icon("warn"), h("span", {}, problemText(photo.problems[0].kind))))
    }
    return item
  }

  const draw = () => {
    const wanted = (library.onlyProblems ? photos.filter(({problems}) => problems.length) : photos).slice(0, shown)
    const focused = list.contains(document.activeElement) ? document.activeElement : null
    const ordered = wanted.map(itemOf)
    if (ordered.length !== list.children.length || ordered.some((each, index) => list.children[index] !== each)) {
      fill(list, ordered)
      if (focused?.isConnected) focused.focus({preventScroll: true})
    }
    if (ordered.length && !ordered.some(each => each.tabIndex === 0)) ordered[0].tabIndex = 0
    const hidden = library.onlyProblems ? 0 : count - ordered.length
    more.hidden = hidden <= 0
    more.lastChild.textContent = t("photos.showmore", {n: hidden})
    list.hidden = !ordered.length
    blank.hidden = count > 0
  }

  const showMore = async () => {
    shown += MORE
    if (photos.length < Math.min(shown, count)) {
      try {
        const {photos: read} = await api.photos(library.name, {label, limit: Math.min(1000, shown)}, library.signal)
        photos = read
        library.photos.set(label, read)
      } catch (error) {
        toast(sentence(error), {bad: true})
      }
    }
    draw()
  }

  return {
    element,
    update(now, total) {
      photos = now
      count = total
      heading.textContent = labelText(label)
      hint.textContent = label === OTHER ? t("photos.other.hint", {n: count}) : count < GOOD && count ? t("photos.few", {n: count}) : t("photos.n", {n: count})
      draw()
    },
    select(chosen) {
      for (const [id, item] of items) item.setAttribute("aria-selected", String(chosen.has(id)))
    },
  }
}

export const problemText = kind => {
  const name = `problem.${kind}`, text = t(name)
  return text === name ? t("problem") : text
}
