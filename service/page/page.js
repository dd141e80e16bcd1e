const at = id => document.getElementById(id)
const line = (tag, text, role) => {
  const element = document.createElement(tag)
  element.textContent = text
  if (role) element.setAttribute("role", role)
  return element
}
const row = ({label, probability}) => {
  const container = line("div", ""), bar = line("div", "")
  container.className = "row"
  bar.className = "bar"
  bar.style.width = `${100 * probability}%`
  container.append(line("span", label), bar, line("span", `${(100 * probability).toFixed(1)} %`))
  return container
}
const call = async (path, body) => {
  const headers = at("bearer").value ? {Authorization: `Bearer ${at("bearer").value}`} : {}
  try {
    const response = await fetch(path, body ? {method: "POST", body, headers} : {headers})
    at("key").hidden = at("key").hidden && response.status !== 401
    return await response.json()
  } catch (error) {
    return {error: {message: "The service does not answer. Is it still running?"}}
  }
}
let shown
const show = async file => {
  if (!file) return
  shown = file
  at("wrong").hidden = true
  URL.revokeObjectURL(at("photo").src)
  at("photo").src = URL.createObjectURL(file)
  at("photo").hidden = false
  const body = new FormData()
  body.append("image", file)
  const answer = await call("predict", body)
  at("answer").replaceChildren(...answer.error
    ? [line("p", answer.error.message, "alert")]
    : [line("h2", answer.unknown ? "Unknown: the photo resembles no label" : answer.label), ...(answer.predictions.length > 1 ? answer.predictions.map(row) : []), line("small", answer.model)])
  if (answer.error || (await call("feedback")).error) return  // there is nothing to correct, or the service stores no corrections
  const labels = answer.predictions.map(({label}) => label)
  if (!answer.unknown) labels.push(labels.shift())  // the answer itself is the least likely correction
  const none = line("option", "something else")
  none.value = "other"  // photos of no label
  at("right").replaceChildren(...labels.map(label => line("option", label)), ...labels.includes("other") ? [] : [none])
  at("kept").textContent = ""
  at("wrong").hidden = shown !== file
}
at("wrong").onsubmit = async event => {
  event.preventDefault()
  const body = new FormData()
  body.append("image", shown)
  body.append("label", at("right").value)
  const answer = await call("feedback", body)
  at("kept").textContent = answer.error ? answer.error.message : `Stored as ${at("right").selectedOptions[0].text}.`
}
at("file").onchange = () => show(at("file").files[0])
at("drop").ondragover = event => { event.preventDefault(); at("drop").className = "over" }
at("drop").ondragleave = () => at("drop").className = ""
at("drop").ondrop = event => { event.preventDefault(); at("drop").className = ""; show(event.dataTransfer.files[0]) }
