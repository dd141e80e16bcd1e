// One photo and its answer: how sure, what else, where the model looked, and the right label where it is wrong.

import {api, sentence} from "./api.js"
import {chooseLabel} from "./choose.js"
import {fill, h, icon} from "./dom.js"
import {filePicture} from "./pictures.js"
import {labelText, OTHER, percent, t} from "./text.js"
import {busy, button, dialog, iconButton, toast} from "./widgets.js"

const MOST_BARS = 5

/** The answer in words. */
const words = answer => answer.unknown ? t("unknown") : labelText(answer.label)
const more = answer => answer.unknown
  ? answer.predictions.length > 1 && t("unknown.closest", {label: labelText(answer.predictions[0].label)})
  : t("sure", {percent: percent(answer.confidence)})

/** Every label with a bar. Of something unknown there is none: the shares say only which label is closest. */
export const bars = answer => [h("p", {class: answer.unknown ? "answer unknown" : "answer"}, words(answer)), h("p", {class: "quiet"}, more(answer)),
  !answer.unknown && answer.predictions.length > 1 && h("ul", {class: "label-bars", role: "list"}, answer.predictions.slice(0, MOST_BARS).map(({label, probability}) => {
    const bar = h("i")
    bar.style.width = `${100 * probability}%`
    return h("li", {}, h("span", {}, labelText(label)), h("span", {class: "bar", "aria-hidden": "true"}, bar), h("b", {}, percent(probability)))
  }))].filter(Boolean)

export const answerCard = (item, trial) => {
  const {file} = item, {name, labels, access, signal} = trial
  let small
  const heic = () => small ??= api.small(file, signal)
  const image = filePicture(file, file.name, heic)
  const place = h("div", {class: "answer-picture"}, image)
  const body = h("div", {class: "answer-body", "aria-busy": "true"}, h("p", {class: "quiet"}, t("try.waiting")))
  const element = h("li", {class: "answer-card", tabindex: "-1", "aria-label": file.name}, place, body)

  const card = {
    element,
    release: () => image.release(),
    sentence: () => item.error ?? (item.answer ? [words(item.answer), more(item.answer)].filter(Boolean).join(". ") : ""),
    show() {
      body.removeAttribute("aria-busy")
      element.tabIndex = 0
      const {answer, error} = item
      if (error !== undefined) {
        element.classList.add("failed")
        return fill(body, h("p", {class: "answer"}, t("try.error")), h("p", {}, error), fileName())
      }
      element.classList.toggle("unsure", answer.unknown)
      fill(body, trial.items.length === 1 ? bars(answer) : [h("p", {class: answer.unknown ? "answer unknown" : "answer"}, words(answer)), h("p", {class: "quiet"}, more(answer))],
        fileName(), actions(answer))
    },
  }

  const fileName = () => h("p", {class: "file-name", title: item.path}, item.path)
  const actions = answer => h("div", {class: "answer-actions"},
    access.may_change && (item.right === undefined ? wrong(answer) : kept()),
    iconButton(t("try.closer", {name: file.name}), "eye", () => closer(), {class: "icon-button closer"}))

  /** The likeliest correction stands ready; of what resembles no label that is "none of these". */
  const likely = answer => answer.unknown ? OTHER : answer.predictions.find(({label}) => label !== answer.label)?.label ?? OTHER
  const wrong = answer => {
    const shown = [likely(answer)]
    return h("div", {class: "wrong", role: "group", "aria-label": t("try.wrong", {name: file.name})}, h("span", {class: "quiet"}, t(answer.unknown ? "try.itis" : "try.wrong.short")),
      shown.map(label => button(labelText(label), busy(() => correct(label)), {kind: "small"})),
      button(t("try.else"), () => somethingElse(), {kind: "small ghost"}))
  }
  const kept = () => h("div", {class: "wrong"}, h("span", {class: "kept"}, icon("check"), t("try.kept", {label: labelText(item.right)})), button(t("undo"), busy(takeBack), {kind: "small ghost"}))

  const somethingElse = async () => {
    const label = await chooseLabel(t("try.which"), labels, {signal})
    if (label) await correct(label).catch(error => toast(sentence(error), {bad: true}))
  }
  const correct = async label => {
    const {id, previous} = await api.correct(name, file, label)
    Object.assign(item, {right: label, id, previous})
    if (label !== OTHER && !labels.includes(label)) labels.push(label)
    trial.corrected++
    settle()
  }
  const takeBack = async () => {
    if (item.previous) await api.movePhotos(name, [item.id], item.previous)
    else await api.deletePhotos(name, [item.id])
    item.right = undefined
    trial.corrected--
    settle()
  }
  const settle = () => {
    const inside = element.contains(document.activeElement)
    card.show()
    trial.update()
    if (inside) element.focus({preventScroll: true})
  }

  const closer = () => dialog(file.name, () => {
    const view = h("div", {class: "look-picture"}, filePicture(file, file.name, heic))
    const heat = button(t("try.heat"), busy(async () => {
      const url = URL.createObjectURL(await api.explain(name, file, signal))
      const shown = h("img", {alt: t("try.heat.alt", {name: file.name}), src: url, class: "explained"})
      shown.addEventListener("load", () => URL.revokeObjectURL(url), {once: true})
      fill(view, shown)
      view.classList.add("explained")
      beside.remove()
    }), {symbol: "heat"})
    const beside = h("div", {}, bars(item.answer), h("div", {class: "actions"}, heat))
    return h("div", {class: "look"}, view, beside)
  }, {wide: true, signal})

  element.addEventListener("keydown", event => {
    if (event.target !== element || !item.answer || event.ctrlKey || event.altKey || event.metaKey) return
    const cards = [...element.parentElement.children], step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key]
    const label = event.key === "0" ? OTHER : labels[Number(event.key) - 1]
    if (step) cards[cards.indexOf(element) + step]?.focus()
    else if (event.key === "Enter") closer()
    else if (!access.may_change || item.right !== undefined) return
    else if (event.key === "e") somethingElse()
    else if (label !== undefined && label !== item.answer.label) correct(label).catch(error => toast(sentence(error), {bad: true}))
    else return
    event.preventDefault()
  })
  place.addEventListener("click", () => { if (item.answer) closer() })
  return card
}
