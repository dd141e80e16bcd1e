// How a program uses the model: commands to copy, for this host and this model.

import {api, blob, path} from "./api.js"
import {fill, h, icon} from "./dom.js"
import {showJob, whyNot} from "./jobs.js"
import {reportLink, save} from "./report.js"
import {t} from "./text.js"
import {busy, button, copyable, toast, untrained} from "./widgets.js"

export const show = async context => {
  const {place, name, signal, access} = context
  const model = await api.model(name, signal)
  if (!model.champion) {
    return fill(place, untrained("use", access.may_change ? "untrained.how" : "first.waiting"))
  }
  const {default: preset} = await api.models(signal)
  const base = new URL(".", location.href.split("#")[0]).href.replace(/\/$/, ""), guarded = access.key_needed
  const ours = `${base}/models/${encodeURIComponent(name)}/predict`
  fill(place, h("h1", {}, t("use.title", {name})), h("p", {class: "lead"}, t("use.sentence")),
    guarded && h("p", {class: "notice"}, icon("warn"), h("span", {}, t("use.key"))),
    block("curl", t("use.curl"), curl(ours, guarded)),
    block("Python", t("use.python"), python(ours, guarded)),
    block("BentoML", t(preset && name !== preset ? "use.bentoml.default" : "use.bentoml", {name: preset ?? ""}), bentoml(base, guarded)),
    access.may_change && file(name, signal),
    block(t("use.terminal"), t("use.terminal.what"), terminal(name)),
    h("section", {class: "card"}, h("h2", {}, t("use.more")), h("div", {class: "actions"},
      h("a", {class: "button", href: "docs", target: "_blank", rel: "noopener"}, icon("code"), h("span", {}, t("use.docs")), h("span", {class: "visually-hidden"}, t("newtab"))),
      model.versions.find(({champion}) => champion)?.report && access.may_change && reportLink(path.report(name, model.champion)))))
}

const file = (name, signal) => {
  const work = h("div", {"aria-live": "polite"})
  const make = async () => {
    const begun = await api.export(name), job = begun.finished_at ? begun : await showJob(work, begun, signal)
    const why = whyNot(job)
    if (why) return toast(why, {bad: job.state !== "cancelled"})
    save(await blob(path.file(job.job), signal), `${name}-${job.result.model.split(":").pop()}.onnx`)
    fill(work, h("p", {}, t("use.file.checked", {n: job.result.checked.photos})))
  }
  return h("section", {class: "card"}, h("h2", {}, t("use.file")), h("p", {class: "quiet"}, t("use.file.what")), work,
    h("div", {class: "actions"}, button(t("use.file.make"), busy(make), {symbol: "download"})))
}

const block = (title, what, code) => h("section", {class: "card"}, h("h2", {}, title), h("p", {class: "quiet"}, what), copyable(code, title))

const curl = (address, guarded) => [
  guarded ? "export HANDFUL_API_KEY=…" : "",
  `curl ${guarded ? '-H "Authorization: Bearer $HANDFUL_API_KEY" ' : ""}-F image=@photo.jpg ${quoted(address)}`,
].filter(Boolean).join("\n")

const python = (address, guarded) => `import ${guarded ? "os, " : ""}requests

with open("photo.jpg", "rb") as photo:
    response = requests.post(
        "${address}",
        files={"image": photo},${guarded ? '\n        headers={"Authorization": f"Bearer {os.environ[\'HANDFUL_API_KEY\']}"},' : ""}
    )
answer = response.json()
print(answer["label"] or "unknown", answer["confidence"])`

const bentoml = (base, guarded) => `${guarded ? "import os\n" : ""}from pathlib import Path

import bentoml

with bentoml.SyncHTTPClient("${base}"${guarded ? ', token=os.environ["HANDFUL_API_KEY"]' : ""}) as client:
    print(client.predict(image=Path("photo.jpg")))`

const terminal = name => `handful classify photos/ --model ${name} --out answers.csv
handful explain photo.jpg --model ${name} --out why.png
handful retrain new-photos/ --model ${name}`

const quoted = address => /^[\w:/.%-]+$/.test(address) ? address : `'${address}'`
