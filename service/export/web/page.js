const at = id => document.getElementById(id)
const element = (tag, text) => Object.assign(document.createElement(tag), {textContent: text})
const row = ([label, share]) => {
  const container = document.createElement("div")
  container.className = "row"
  container.append(element("span", label), Object.assign(document.createElement("progress"), {max: 1, value: share}))
  container.append(element("span", `${(100 * share).toFixed(1)} %`))
  return container
}

let classify, facts, last = 0
try {
  ({classify, facts} = await import("./classify.js"))
  document.title = at("model").textContent = facts.model
  at("about").textContent = `Made with handful ${facts.handful}; the network's weights: ${facts.backbone}, licence ${facts.licence}.`
  at("state").textContent = `It tells apart: ${facts.labels.join(", ")}.`
  at("file").disabled = at("camera").disabled = false
} catch (error) {
  at("state").textContent = `The model cannot be loaded (${error.message}). The folder must be served by a web server.`
}

const show = async file => {
  if (!file || !classify) return
  const mine = ++last
  URL.revokeObjectURL(at("photo").src)
  at("photo").src = URL.createObjectURL(file)
  at("photo").hidden = false
  at("answer").replaceChildren(element("p", "Looking …"))
  let shown
  try {
    const answer = await classify(file)
    const ranked = facts.labels.map((label, number) => [label, answer.probabilities[number]]).sort((a, b) => b[1] - a[1])
    shown = [element("h2", answer.unknown ? "Unknown: it resembles none of the labels" : answer.label), ...ranked.map(row)]
  } catch (error) {
    shown = [element("p", `This file cannot be read as a photo by this browser (${error.message}).`)]
  }
  if (mine === last) at("answer").replaceChildren(...shown)  // another photo may have come meanwhile
}

at("file").onchange = () => show(at("file").files[0])
at("drop").ondragover = event => { event.preventDefault(); at("drop").className = "over" }
at("drop").ondragleave = () => at("drop").className = ""
at("drop").ondrop = event => { event.preventDefault(); at("drop").className = ""; show(event.dataTransfer.files[0]) }

at("camera").onclick = async () => {
  const live = at("live")
  if (!live.srcObject) {
    try {
      live.srcObject = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}})
    } catch (error) {
      at("answer").replaceChildren(element("p", `There is no camera to use (${error.message}).`))
      return
    }
    live.hidden = false
    at("camera").textContent = "Take the photo"
    await live.play()
    return
  }
  const canvas = new OffscreenCanvas(live.videoWidth, live.videoHeight)
  canvas.getContext("2d").drawImage(live, 0, 0)
  live.srcObject.getTracks().forEach(track => track.stop())
  live.srcObject = null
  live.hidden = true
  at("camera").textContent = "Use the camera"
  show(await canvas.convertToBlob({type: "image/png"}))
}
