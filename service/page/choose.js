// Two questions about photos: under which label do they belong, and what does this one show?

import {key, path} from "./api.js"
import {h} from "./dom.js"
import {picture} from "./pictures.js"
import {labelText, OTHER, t} from "./text.js"
import {button, dialog, nameForm} from "./widgets.js"

/** Asks for a label, known or new; null if the person does not say. Keys 1 to 9 choose, too. */
export const chooseLabel = (title, labels, {signal, none = true} = {}) => dialog(title, close => {
  const known = [...labels.filter(label => label !== OTHER), ...none || labels.includes(OTHER) ? [OTHER] : []]
  const choices = known.map((label, index) => h("button", {type: "button", class: "choice", onclick: () => close(label), autofocus: !index, "aria-keyshortcuts": index < 9 ? String(index + 1) : undefined},
    h("span", {}, labelText(label)), index < 9 && h("kbd", {"aria-hidden": "true"}, String(index + 1))))
  return h("div", {class: "choices", onkeydown: event => {
    const label = known[Number(event.key) - 1]
    if (!label || event.target.matches("input")) return
    event.preventDefault()
    close(label)
  }}, choices, nameForm({label: t("photos.label.new"), action: t("photos.label.go"), placeholder: t("photos.label.example"), focus: !known.length, send: async label => close(label)}))
}, {signal})

/** One photo of the library, large, with what is wrong with it and what can be done. */
export const lookAt = async (library, id) => {
  const photo = [...library.photos.values()].flat().find(each => each.id === id)
  if (!photo) return
  const labels = [...library.labels, OTHER].filter(label => label !== photo.label)
  await dialog(photo.name, close => h("div", {class: "look"},
    large(library.name, photo),
    h("div", {},
      h("p", {}, t("photos.islabel"), " ", h("b", {}, labelText(photo.label))),
      photo.problems.map(({detail}) => h("p", {class: "notice warn", lang: "en"}, detail)),
      h("p", {class: "quiet"}, t("photos.moveto.title")),
      h("div", {class: "actions"}, labels.map(label => button(labelText(label), () => { close(); library.move([id], label) }))),
      h("div", {class: "actions"}, button(t("delete"), () => { close(); library.remove([id]) }, {symbol: "trash"})))), {wide: true, signal: library.signal})
}

/** The original where the browser can show it, else the small picture. */
const large = (name, photo) => {
  const small = () => picture(path.thumbnail(name, photo.id), photo.name)
  if (key.get() || /\.(hei[cf]|tiff?)$/i.test(photo.name)) return h("div", {class: "look-picture"}, small())
  const image = h("img", {alt: photo.name, src: path.original(name, photo.id)})
  image.addEventListener("error", () => image.replaceWith(small()), {once: true})
  return h("div", {class: "look-picture"}, image)
}
