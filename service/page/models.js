// The models of this machine: what each tells apart, how good it is, and where to go on.

import {api, path} from "./api.js"
import {fill, grouped, h, icon} from "./dom.js"
import {picture} from "./pictures.js"
import {accuracyText, ago, labelText, t} from "./text.js"
import {askName, button, dialog, menu, nameForm, toast, verdictMark} from "./widgets.js"

const PICTURES = 4
const LABELS = 6

export const show = async context => {
  const {place, signal} = context
  const {models, default: preset, may_change: mayChange = context.access.may_change} = await api.models(signal)
  if (!models.length) return fill(place, first(context, mayChange))
  fill(place,
    h("div", {class: "head"}, h("h1", {}, t("models")), mayChange && button(t("models.new"), () => create(context), {kind: "primary", symbol: "add"})),
    h("ul", {class: "model-list", role: "list"}, models.map(model => card(model, preset, mayChange, context))))
}

const first = ({go, address}, mayChange) => h("section", {class: "first"},
  h("div", {class: "hand", "aria-hidden": "true"}, h("i"), h("i"), h("i"), h("i"), h("i")),
  h("h1", {}, t("first.title")), h("p", {class: "lead"}, t("first.sentence")),
  mayChange ? h("div", {class: "card"}, nameForm({
    label: t("first.name"), hint: t("first.hint"), action: t("first.go"), focus: true, placeholder: t("first.example"),
    send: async name => go(address((await api.create(name)).name, "photos")),
  })) : h("p", {}, t("first.waiting")),
  h("ol", {class: "ways"}, ["photos", "train", "try"].map((each, index) =>
    h("li", {}, h("b", {"aria-hidden": "true"}, String(index + 1)), h("span", {}, t(`first.${each}`))))))

const create = ({go, address, signal}) => dialog(t("models.new"), close => nameForm({
  label: t("first.name"), hint: t("first.hint"), action: t("first.go"), focus: true, placeholder: t("first.example"),
  send: async name => {
    const made = await api.create(name)
    close()
    go(address(made.name, "photos"))
  },
}), {signal})

const card = (model, preset, mayChange, context) => {
  const {address, reload} = context
  const trained = model.champion !== null
  const shown = model.labels.slice(0, LABELS), more = model.labels.length - shown.length
  const start = trained ? mayChange ? "try" : "try" : "photos"
  return h("li", {class: "model card"},
    strip(model, context),
    h("div", {class: "model-body"},
      h("h2", {}, h("a", {class: "cover", href: address(model.name, start)}, model.name)),
      h("p", {class: "labels"}, shown.map(labelText).join(" · "), more > 0 && ` · +${more}`, !model.labels.length && t("models.unlabelled")),
      h("p", {class: "accuracy"}, trained ? accuracyText(model) : t(model.photos ? "models.untrained" : "models.empty", {n: model.photos})),
      h("p", {class: "foot"}, verdictMark(model.verdict), model.changed_at && h("span", {class: "quiet"}, ago(model.changed_at)),
        model.name === preset && trained && h("span", {class: "tag", title: t("models.default.why")}, t("models.default")))),
    mayChange && menu(t("models.more", {name: model.name}), [
      {label: t("rename"), symbol: "pen", run: () => askName(t("models.rename", {name: model.name}), {
        label: t("first.name"), value: model.name, action: t("rename"),
        send: async name => { if (name !== model.name) await api.rename(model.name, name); reload() },
      })},
      {label: t("delete"), symbol: "trash", run: async () => {
        const {undo} = await api.remove(model.name)
        reload()
        toast(t("models.deleted", {name: model.name}), {undo, undone: reload})
      }},
    ].map(each => ({...each, run: safely(each.run)}))))
}

const safely = run => async () => {
  try {
    await run()
  } catch (error) {
    toast(error.message, {bad: true})
  }
}

/** A few of its photos: those of the library, else those that the version kept. */
const strip = (model, {access, signal}) => {
  const element = h("div", {class: "strip", "aria-hidden": "true"}, h("span", {class: "no-picture"}, icon("photos")))
  const put = places => places.length && !signal.aborted && fill(element, places.map(place => picture(place)))
  const load = async () => {
    if (model.photos) {
      const {photos} = await api.photos(model.name, {limit: 60}, signal)
      return put(spread(photos).map(({id}) => path.thumbnail(model.name, id)))
    }
    if (!model.champion) return
    const {thumbnails} = await api.pictures(model.name, model.champion, 60, signal)
    put(spread(thumbnails).map(({thumbnail}) => thumbnail.replace(/^\//, "")))
  }
  if (access.may_change) load().catch(() => {})
  return element
}

/** A few, of as many labels as there are. */
const spread = photos => {
  const byLabel = [...grouped(photos, ({label}) => label).values()]
  const mixed = Array.from({length: PICTURES}, (_, row) => byLabel.map(column => column[row])).flat().filter(Boolean)
  return mixed.slice(0, PICTURES)
}
