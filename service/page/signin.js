// The form for the key, where the service asks for one. It is kept until the tab is closed.

import {api, key, sentence} from "./api.js"
import {fill, h} from "./dom.js"
import {t} from "./text.js"

export const show = (place, {done}) => {
  const told = h("p", {id: "key-error", class: "field-error", role: "alert"})
  const field = h("input", {id: "key", type: "password", autocomplete: "current-password", required: true, autofocus: true, "aria-describedby": "key-error"})
  const submit = h("button", {class: "button primary"}, t("signin.go"))
  fill(place, h("section", {class: "signin card"}, h("h1", {}, t("signin.title")), h("p", {}, t("signin.sentence")),
    h("form", {onsubmit: async event => {
      event.preventDefault()
      submit.disabled = true
      told.textContent = ""
      key.set(field.value.trim())
      try {
        if ((await api.access()).may_ask) return done()
        throw new Error("wrong")
      } catch (error) {
        key.set("")
        told.textContent = error.message === "wrong" ? t("signin.wrong") : sentence(error)
        field.select()
      } finally {
        submit.disabled = false
      }
    }}, h("label", {for: "key"}, t("signin.key")), h("div", {class: "field-row"}, field, submit), told)))
  field.focus()
}
