// What was found while learning: labels that look wrong, mistakes as pictures, and the table of both.

import {api, sentence} from "./api.js"
import {chooseLabel} from "./choose.js"
import {fill, h} from "./dom.js"
import {noPicture, picture} from "./pictures.js"
import {labelText, OTHER, percent, t} from "./text.js"
import {button, filters, served, toast} from "./widgets.js"

const FIRST = 24
const REMEMBERED = 2000

const remembered = name => {
  const place = `handful.right.${name}`
  let ids
  try {
    ids = new Set(JSON.parse(localStorage.getItem(place) ?? "[]"))
  } catch {
    ids = new Set()
  }
  return {has: id => ids.has(id), add: id => {
    ids.add(id)
    localStorage.setItem(place, JSON.stringify([...ids].slice(-REMEMBERED)))
  }}
}

/** `labelOf`: id -> label, as the library is now. */
export const findings = (found, labelOf, screen) => {
  const right = remembered(screen.name), context = {...screen, labelOf, right, name: screen.name, corrected: () => screen.corrected()}
  const keyOf = ({photo, name}) => photo ?? name
  const open = found.suspects.filter(each => !right.has(keyOf(each)))
  const suspected = new Set(found.suspects.map(keyOf))
  const mistakes = found.mistakes.filter(each => !suspected.has(keyOf(each)))
  return [
    found.forecast && h("section", {class: "card forecast"}, h("h2", {}, t("forecast")), h("p", {}, served(found.forecast))),
    open.length > 0 && gallery(t("suspects", {n: open.length}), t("suspects.what"), open, context),
    table(found, context),
    mistakes.length > 0 && gallery(t("mistakes", {n: mistakes.length}), t("mistakes.what"), mistakes, context),
    found.listed && !found.mistake_count && h("section", {class: "card"}, h("h2", {}, t("mistakes.none")), h("p", {}, t("mistakes.none.what"))),
  ]
}

const gallery = (title, what, photos, context) => {
  const grid = h("ul", {class: "found", role: "list"}), head = h("div", {class: "head"}, h("h2", {}, title))
  const more = button("", () => draw(shown + FIRST), {kind: "wide"}), chips = h("div")
  let shown = FIRST, only = "all"
  const cards = photos.map(photo => [photo, null])
  const draw = count => {
    shown = count
    const wanted = cards.filter(([photo]) => only === "all" || only === pair(photo))
    fill(grid, wanted.slice(0, shown).map(entry => entry[1] ??= card(entry[0], context)))
    more.hidden = wanted.length <= shown
    more.lastChild.textContent = t("photos.showmore", {n: wanted.length - shown})
    const pairs = [...new Set(photos.map(pair))]
    if (pairs.length > 1) {
      fill(chips, filters(title, [["all", t("all"), photos.length], ...pairs.map(each => {
        const first = photos.find(photo => pair(photo) === each)
        return [each, t("pair", {label: labelText(first.label), answer: answerText(first.answer)}), photos.filter(photo => pair(photo) === each).length]
      })], only, value => { only = value; draw(FIRST) }))
    }
  }
  draw(FIRST)
  const element = h("section", {class: "card gallery"}, head, h("p", {class: "quiet"}, what), chips, grid, more)
  element.addEventListener("pair", ({detail}) => {
    if (!photos.some(photo => pair(photo) === detail)) return
    only = detail
    draw(FIRST)
    element.scrollIntoView()
    element.querySelector("[aria-pressed=true]")?.focus()
  })
  return element
}

const pair = ({label, answer}) => JSON.stringify([label, answer])
const answerText = answer => answer === null ? t("unknown.short") : labelText(answer)

const card = (photo, context) => {
  const {labelOf, right, name} = context
  const done = h("p", {class: "quiet", role: "status"}), actions = h("div", {class: "actions"})
  const now = photo.photo && labelOf.get(photo.photo)
  const element = h("li", {},
    h("div", {class: "found-picture"}, photo.thumbnail ? picture(photo.thumbnail.replace(/^\//, ""), photo.name) : noPicture(photo.name)),
    h("p", {}, t("found.label"), " ", h("b", {}, labelText(photo.label))),
    h("p", {}, t("found.answer"), " ", h("b", {}, answerText(photo.answer)), photo.confidence !== null && h("span", {class: "quiet"}, ` ${t("sure", {percent: percent(photo.confidence)})}`)),
    actions, done)
  const settle = message => {
    element.classList.add("settled")
    fill(actions)
    done.textContent = message
  }
  const move = async label => {
    try {
      const {undo} = await api.movePhotos(name, [photo.photo], label)
      labelOf.set(photo.photo, label)
      settle(t("found.moved", {label: labelText(label)}))
      toast(t("photos.moved", {n: 1, label: labelText(label)}), {undo, undone: () => { labelOf.set(photo.photo, photo.label); offer(); context.corrected() }})
      await context.corrected()
    } catch (error) {
      toast(sentence(error), {bad: true})
    }
  }
  const offer = () => {
    element.classList.remove("settled")
    done.textContent = ""
    const likely = photo.answer !== null && photo.answer !== photo.label && photo.answer
    const others = [...context.model.labels, OTHER].filter(label => label !== photo.label)
    fill(actions,
      likely && button(t("photos.moveto", {label: labelText(likely)}), () => move(likely), {kind: "primary"}),
      (others.length > 1 || !likely) && button(t("found.other"), async () => {
        const label = await chooseLabel(t("photos.moving", {n: 1}), others, {signal: context.signal})
        if (label) move(label)
      }),
      button(t("found.right"), () => { right.add(photo.photo ?? photo.name); settle(t("found.kept")) }))
  }
  if (right.has(photo.photo ?? photo.name)) settle(t("found.kept"))
  else if (!photo.photo) done.textContent = t("found.away")
  else if (now !== undefined && now !== photo.label) settle(t("found.moved", {label: labelText(now)}))
  else offer()
  return element
}

const table = ({confusion: {labels, counts}, per_label: each, mistakes}) => {
  if (!labels.length) return null
  const pairs = new Set(mistakes.map(pair))
  const cell = (count, row, column) => {
    const name = JSON.stringify([labels[row], labels[column]])
    if (row === column) return h("td", {class: "right"}, String(count))
    if (!count) return h("td", {class: "nothing"}, "0")
    const what = t("table.cell", {n: count, label: labelText(labels[row]), answer: labelText(labels[column])})
    return h("td", {class: "wrong"}, pairs.has(name)
      ? h("button", {type: "button", "aria-label": what, title: what, onclick: () => document.querySelectorAll(".gallery").forEach(each => each.dispatchEvent(new CustomEvent("pair", {detail: name})))}, String(count))
      : h("span", {title: what}, String(count)))
  }
  return h("section", {class: "card"}, h("h2", {}, t("table")), h("p", {class: "quiet"}, t("table.what")),
    h("ul", {class: "label-bars", role: "list"}, labels.filter(label => each[label]).map(label => {
      const {photos, right} = each[label], bar = h("i")
      bar.style.width = `${100 * right / Math.max(1, photos)}%`
      return h("li", {}, h("span", {}, labelText(label)), h("span", {class: "bar", "aria-hidden": "true"}, bar), h("b", {}, t("table.right", {right, n: photos})))
    })),
    h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": t("table")}, h("table", {class: "confusion"},
      h("thead", {}, h("tr", {}, h("td", {class: "corner"}, t("table.corner")), labels.map(label => h("th", {scope: "col"}, labelText(label))))),
      h("tbody", {}, labels.map((label, row) => h("tr", {}, h("th", {scope: "row"}, labelText(label)), counts[row].map((count, column) => cell(count, row, column))))))))
}
