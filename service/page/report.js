// The full report of a version: a page of its own. A new tab cannot send a key, so a ticket opens it for a minute.

import {api, key} from "./api.js"
import {h, icon} from "./dom.js"
import {t} from "./text.js"
import {busy, button} from "./widgets.js"

export const save = (content, name) => {
  const url = URL.createObjectURL(content)
  const link = h("a", {href: url, download: name})
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

const open = async place => {
  const {ticket} = await api.ticket(place)
  h("a", {href: `${place}?ticket=${ticket}`, target: "_blank", rel: "noopener"}).click()
}

export const reportLink = (place, kind = "") => key.get()
  ? button(t("report"), busy(() => open(place)), {symbol: "chart", kind})
  : h("a", {class: `button ${kind}`, href: place, target: "_blank", rel: "noopener"}, icon("chart"), h("span", {}, t("report")), h("span", {class: "visually-hidden"}, t("newtab")))
