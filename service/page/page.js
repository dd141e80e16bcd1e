// Where the person is (the hash of the address), who they are (a key or none), and the frame around each screen.

import {api, Failure, key, onSignIn, sentence} from "./api.js"
import {fill, h, icon} from "./dom.js"
import {show as improve} from "./improve.js"
import {show as label} from "./label.js"
import {show as models} from "./models.js"
import {show as photos} from "./photos.js"
import {show as signIn} from "./signin.js"
import {show as train} from "./train.js"
import {show as attempt} from "./try.js"
import {show as use} from "./use.js"
import {language, LANGUAGES, setLanguage, t} from "./text.js"
import {button} from "./widgets.js"

const SCREENS = {  // name -> [what shows it, its mark, whether it needs the right to change]
  photos: [photos, "photos", true],
  train: [train, "spark", true],
  label: [label, "check", true],
  try: [attempt, "eye", false],
  improve: [improve, "chart", true],
  use: [use, "code", false],
}
const main = document.getElementById("main"), top = document.getElementById("top")
let access = null, current = new AbortController(), visited = ""

const route = () => {
  let parts = []
  try {
    parts = location.hash.replace(/^#?\/?/, "").split("/").map(decodeURIComponent)
  } catch { /* not an address of ours */ }
  if (parts[0] !== "m" || !parts[1]) return {screen: "models"}
  return {screen: parts[2] in SCREENS ? parts[2] : access?.may_change ? "photos" : "try", name: parts[1], rest: parts[3]}
}

const address = (name, screen) => `#/m/${encodeURIComponent(name)}/${screen}`

const languages = () => h("select", {id: "language", "aria-label": t("language"), onchange: event => {
  setLanguage(event.target.value)
  start()
}}, Object.entries(LANGUAGES).map(([code, name]) => h("option", {value: code, selected: code === language, lang: code}, name)))

const frame = ({screen, name}) => {
  const steps = Object.entries(SCREENS).filter(([, [, , changing]]) => access?.may_change || !changing)
  fill(top,
    h("button", {type: "button", class: "skip", onclick: () => main.focus()}, t("skip")),
    h("div", {class: "bar-top"},
      h("a", {class: "brand", href: "#/models"}, h("span", {class: "brand-mark", "aria-hidden": "true"}, h("i"), h("i"), h("i"), h("i"), h("i")), "handful"),
      name && h("span", {class: "crumb"}, h("a", {href: "#/models"}, t("models")), h("span", {"aria-hidden": "true"}, "›"), h("b", {}, name)),
      h("span", {class: "bar-end"}, languages(),
        key.get() && button(t("signout"), () => { key.set(""); access = null; start() }, {kind: "small"}))),
    name && h("nav", {class: "steps", "aria-label": t("steps")}, steps.map(([each, [, symbol]]) =>
      h("a", {href: address(name, each), "aria-current": each === screen ? "page" : undefined}, icon(symbol), h("span", {}, t(`step.${each}`))))))
}

/** What a screen says when it cannot be shown. */
const trouble = error => {
  const gone = error instanceof Failure && error.code === "model_unknown"
  return h("section", {class: "empty", role: "alert"}, h("span", {class: "empty-mark"}, icon("warn")),
    h("h1", {}, t(gone ? "gone.title" : "trouble")), h("p", {}, sentence(error)),
    h("div", {class: "actions"}, gone ? h("a", {class: "button primary", href: "#/models"}, t("models.all")) : button(t("again"), () => start(), {kind: "primary"})))
}

const start = async () => {
  current.abort()
  const mine = current = new AbortController()
  const {signal} = mine
  document.documentElement.lang = language
  document.body.classList.add("loading")
  try {
    access ??= await api.access()
    if (signal.aborted) return
    const here = route()
    if (!access.may_ask) {
      fill(top)
      frame({screen: "signin"})
      document.title = `${t("signin.title")} · handful`
      return signIn(fill(main), {done: () => { access = null; start() }})
    }
    frame(here)
    const place = h("div", {class: `screen ${here.screen}`})
    const context = {...here, place, access, signal, address, reload: start, go: hash => { location.hash = hash }}
    const moved = visited !== location.hash
    visited = location.hash
    document.title = [here.name && t(`step.${here.screen}`), here.name ?? t("models"), "handful"].filter(Boolean).join(" · ")
    if (moved) fill(main, place)
    const show = here.name ? SCREENS[here.screen] : [models]
    const allowed = access.may_change || !show[2]
    await (allowed ? show[0](context) : SCREENS.try[0](context))
    if (signal.aborted) return
    fill(main, place)
    if (moved) {
      scrollTo(0, 0)
      main.focus({preventScroll: true})
    }
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return
    if (!(error instanceof Failure)) console.error(error)
    fill(main, trouble(error))
  } finally {
    if (current === mine) document.body.classList.remove("loading")
  }
}

onSignIn(() => { if (access?.may_ask) { access = null; key.set(""); start() } })
addEventListener("hashchange", start)
start()
