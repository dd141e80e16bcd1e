// What came of learning: the new version beside the one in use, and which of them answers from now on.

import {api} from "./api.js"
import {h, icon} from "./dom.js"
import {accuracyText, percent, t} from "./text.js"
import {busy, button, served, verdictMark} from "./widgets.js"

export const versionOf = job => job.result?.version ?? job.result?.model?.split(":").pop() ?? null

/** The outcome of a job as a card; nothing to say of the first version. `changed` is called after a choice. */
export const outcome = (job, model, {name, changed}) => {
  const version = String(versionOf(job) ?? "")
  const made = model.versions.find(each => each.version === version)
  if (!made || (job.kind === "train" && model.versions.length === 1)) return null
  const previous = String(job.result?.previous ?? "").split(":").pop()
  const unchanged = job.kind === "retrain" && version === previous
  const before = model.versions.find(each => each.version === previous) ?? model.versions.find(each => each.champion && each !== made)
  const title = unchanged ? t("outcome.same") : t(made.champion ? "outcome.better" : "outcome.kept", {version})
  const reason = job.result?.reason ?? made.gate?.reason
  return h("section", {class: "card outcome", tabindex: "-1"},
    h("h2", {}, icon(made.champion && !unchanged ? "check" : "chart"), h("span", {}, title)),
    !unchanged && before && before !== made && h("div", {class: "versus"}, side(before, t("outcome.before", {version: before.version})), h("span", {class: "arrow", "aria-hidden": "true"}, "→"), side(made, t("outcome.now", {version}))),
    reason && h("p", {}, h("span", {class: "quiet"}, t("outcome.reason"), " "), served(reason)),
    !made.champion && h("div", {class: "actions"}, button(t("versions.use", {version}), busy(async () => { await api.promote(name, version); await changed() }), {kind: "primary"})))
}

const side = (version, title) => h("div", {class: "side"}, h("p", {class: "quiet"}, title),
  h("b", {class: "big"}, version.accuracy === null ? "–" : percent(version.accuracy)), h("p", {}, accuracyText(version)), verdictMark(version.verdict))
