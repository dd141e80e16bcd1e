// What several screens share: buttons, dialogs, menus, messages with undo, empty states.

import {api, sentence} from "./api.js"
import {fill, h, icon, unique} from "./dom.js"
import {inOwnWords, t} from "./text.js"

const TOAST_SECONDS = 7
const MOST_FILES = 20  // that a message names

export const button = (label, onclick, {kind = "", symbol, disabled, describedby, ...more} = {}) =>
  h("button", {type: "button", class: `button ${kind}`, onclick, disabled, "aria-describedby": describedby, ...more},
    symbol && icon(symbol), h("span", {}, label))

export const iconButton = (label, symbol, onclick, more = {}) =>
  h("button", {type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...more}, icon(symbol))

/** Sets a button to work once at a time; what fails is said. */
export const busy = work => async event => {
  const element = event?.currentTarget
  if (element?.getAttribute("aria-busy") === "true") return
  element?.setAttribute("aria-busy", "true")
  try {
    await work(event)
  } catch (error) {
    if (error.name !== "AbortError") toast(sentence(error), {bad: true})
  } finally {
    element?.removeAttribute("aria-busy")
  }
}

/** A message at the foot of the page; with `undo`, a token, it can be taken back. */
export const toast = (message, {undo, undone, bad} = {}) => {
  const place = document.getElementById("toasts")
  const element = h("div", {class: bad ? "toast bad" : "toast", role: bad ? "alert" : undefined}, h("span", {}, message))
  const remove = () => element.remove()
  if (undo) {
    element.append(h("button", {type: "button", class: "button", onclick: busy(async () => {
      await api.undo(undo)
      remove()
      await undone?.()
      toast(t("undone"))
    })}, icon("undo"), h("span", {}, t("undo"))))
  }
  element.append(iconButton(t("close"), "close", remove))
  fill(place, element)
  const leave = () => element.matches(":hover, :focus-within") ? setTimeout(leave, 2000) : remove()
  setTimeout(leave, 1000 * TOAST_SECONDS * (bad || undo ? 2 : 1))
}

/** Says something to a screen reader alone. */
export const say = message => { document.getElementById("said").textContent = message }

/** A native dialog; `content(close)` gives its children. Resolves with what `close` was given, or null. */
export const dialog = (title, content, {wide, signal} = {}) => new Promise(resolve => {
  const id = unique("title")
  const element = h("dialog", {class: wide ? "dialog wide" : "dialog", "aria-labelledby": id})
  let result = null
  const close = value => { result = value ?? null; element.close() }
  element.append(
    h("div", {class: "dialog-head"}, h("h2", {id}, title), iconButton(t("close"), "close", () => close())),
    h("div", {class: "dialog-body"}, content(close)))
  element.addEventListener("click", event => { if (event.target === element) close() })
  element.addEventListener("close", () => { element.remove(); resolve(result) })
  signal?.addEventListener("abort", () => close())
  document.body.append(element)
  element.showModal()
  element.querySelector("[autofocus]")?.focus()
})

/** Asks for a name. `send` may raise; the sentence then stands under the field. */
export const askName = (title, {label, value = "", action, send, hint}) => dialog(title, close => nameForm({
  label, value, action, hint, focus: true, send: async name => close(await send(name) ?? name),
}))

/** A field and a button. `send` gets the name, without blanks around it. */
export const nameForm = ({label, value = "", action, send, hint, focus, placeholder}) => {
  const id = unique("field"), error = unique("error")
  const field = h("input", {id, value, placeholder, required: true, maxlength: 100, autocomplete: "off", spellcheck: "false",
    "aria-describedby": error, autofocus: focus})
  const told = h("p", {id: error, class: "field-error", role: "alert"})
  const submit = h("button", {class: "button primary"}, action)
  return h("form", {class: "name-form", onsubmit: async event => {
    event.preventDefault()
    if (!field.value.trim() || submit.disabled) return
    submit.disabled = true
    told.textContent = ""
    try {
      await send(field.value.trim())
      field.value = ""
    } catch (problem) {
      told.textContent = sentence(problem)
      field.focus()
    } finally {
      submit.disabled = false
    }
  }}, h("label", {for: id}, label), hint && h("p", {class: "quiet"}, hint), h("div", {class: "field-row"}, field, submit), told)
}

/** A message that stays until it is closed, with the files that it is about, and something that can be done. */
export const notice = (kind, message, files = [], action) => {
  const element = h("div", {class: `notice ${kind}`}, icon(kind === "warn" ? "warn" : "check"), h("div", {}, h("p", {}, message),
    files.length > 0 && h("ul", {}, files.slice(0, MOST_FILES).map(({name, message: why}) => h("li", {}, h("b", {}, name), why && ` ${why}`)), files.length > MOST_FILES && h("li", {}, "…")),
    action && action(() => element.remove())), iconButton(t("close"), "close", () => element.remove()))
  return element
}

/** A button that opens a short list of actions: [{label, symbol, run}]. */
export const menu = (label, actions) => {
  const id = unique("menu")
  const opener = iconButton(label, "more", () => show(opener.getAttribute("aria-expanded") !== "true"),
    {"aria-haspopup": "menu", "aria-expanded": "false", "aria-controls": id})
  const items = actions.filter(Boolean).map(({label: text, symbol, run}) => h("button", {
    type: "button", role: "menuitem", tabindex: "-1", onclick: event => { show(false, true); run(event) },
  }, icon(symbol), h("span", {}, text)))
  const panel = h("div", {class: "menu", role: "menu", id, "aria-label": label, hidden: true}, items)
  const show = (open, back) => {
    panel.hidden = !open
    opener.setAttribute("aria-expanded", String(open))
    if (open) items[0].focus()
    else if (back) opener.focus()
  }
  const wrapper = h("div", {class: "menu-wrapper", onkeydown: event => {
    if (panel.hidden) return
    const index = items.indexOf(document.activeElement)
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key]
    if (step) items[(index + step + items.length) % items.length].focus()
    else if (event.key === "Escape") show(false, true)
    else return
    event.preventDefault()
    event.stopPropagation()
  }, onfocusout: event => { if (!wrapper.contains(event.relatedTarget)) show(false) }}, opener, panel)
  return wrapper
}

export const empty = (symbol, title, message, ...actions) => h("section", {class: "empty"},
  h("span", {class: "empty-mark"}, icon(symbol)), h("h2", {}, title), h("p", {}, message), actions.length > 0 && h("div", {class: "actions"}, actions))

/** A screen on which nothing can be done yet. */
export const nothing = (title, ...why) => [h("h1", {class: "visually-hidden"}, title), empty(...why)]
export const untrained = (step, why, href, go = "untrained.go") => nothing(t(`step.${step}`), "spark", t("untrained"), t(why), href && h("a", {class: "button primary", href}, t(go)))

/** A verdict as a mark with words, never by colour alone. */
export const verdictMark = verdict => {
  if (!verdict) return null
  const symbol = {good: "check", not_yet: "chart", guessing: "warn"}[verdict.level]
  return h("span", {class: `verdict ${verdict.level}`}, icon(symbol), t(`verdict.${verdict.level}`))
}

/** What the service says; where the page has no words of its own for it, in the service's, which are English. */
export const served = message => {
  const own = inOwnWords(message)
  return own ? h("span", {}, own) : h("span", {lang: "en"}, message)
}

/** An input of files behind a visible button. */
export const filePicker = (label, chosen, {symbol = "upload", kind = "", folder, multiple = true} = {}) => {
  const input = h("input", {type: "file", class: "visually-hidden", tabindex: "-1", "aria-hidden": "true", multiple,
    accept: folder ? undefined : "image/*,.heic,.heif,.avif,.tif,.tiff", onchange: () => {
      const files = [...input.files]
      input.value = ""
      chosen(files)
    }})
  if (folder) input.webkitdirectory = true
  return h("span", {class: folder ? "file-picker folder" : "file-picker"}, button(label, () => input.click(), {symbol, kind}), input)
}

/** A chip that filters, with how many there are. */
export const filters = (label, choices, chosen, choose) => h("div", {class: "chips", role: "group", "aria-label": label},
  choices.map(([value, text, count]) => h("button", {type: "button", class: "chip", "aria-pressed": String(value === chosen),
    onclick: () => choose(value)}, h("span", {}, text), h("b", {}, String(count)))))

export const copyable = (code, label) => {
  const copy = button(t("copy"), async () => {
    try {
      await navigator.clipboard.writeText(code)
      fill(copy, icon("check"), h("span", {}, t("copied")))
      say(t("copied"))
    } catch {
      getSelection().selectAllChildren(shown)
    }
    setTimeout(() => fill(copy, h("span", {}, t("copy"))), 2500)
  }, {kind: "small", "aria-label": `${t("copy")}: ${label}`})
  const shown = h("code", {}, code)
  return h("div", {class: "copyable"}, h("pre", {tabindex: "0", "aria-label": label, role: "region"}, shown), copy)
}
