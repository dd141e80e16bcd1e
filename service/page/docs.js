const at = id => document.getElementById(id)
const make = (tag, ...content) => {
  const element = document.createElement(tag)
  element.append(...content)
  return element
}
const table = (heads, rows) => make("table",
  make("tr", ...heads.map(head => make("th", head))),
  ...rows.map(row => make("tr", ...row.map(cell => make("td", cell)))))
const nameOf = ref => ref.split("/").pop()
const link = name => {
  const element = make("a", name)
  element.href = `#${name}`
  return element
}
const joined = (parts, between) => make("span", ...parts.flatMap((part, index) => index ? [between, part] : [part]))
const kind = schema => {  // a type as text, with links to what is explained below
  if (!schema) return "anything"
  if (schema.$ref) return link(nameOf(schema.$ref))
  if (schema.anyOf) return joined(schema.anyOf.map(kind), " or ")
  if (schema.type === "array") return schema.items ? make("span", "list of ", kind(schema.items)) : "list"
  if (schema.enum) return schema.enum.map(value => JSON.stringify(value)).join(" or ")
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.format === "binary") return "file"
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "anything"
}
const fields = schema => table(["field", "type", "meaning"], Object.entries(schema.properties).map(([name, field]) => [
  make("code", name), kind(field), [(schema.required ?? []).includes(name) ? "" : "may be missing", field.description ?? ""].filter(Boolean).join("; "),
]))
const body = ([type, {schema}]) => make("div", make("p", make("code", type)), schema.properties ? fields(schema) : make("p", kind(schema)))
const answer = ([status, {description, content}]) => {
  const [type, {schema}] = Object.entries(content)[0]
  return [status, description, type === "application/json" ? kind(schema) : type]
}
const call = (path, method, {summary, parameters, requestBody, responses}, shared) => {
  const block = make("details", make("summary", make("code", `${method.toUpperCase()} ${path}`), ` ${summary}`))
  const all = [...shared ?? [], ...parameters ?? []]
  if (all.length) block.append(make("h3", "Parameters"), table(["name", "in", "type"], all.map(each => [make("code", each.name), each.in, kind(each.schema)])))
  if (requestBody) block.append(make("h3", "Body"), ...Object.entries(requestBody.content).map(body))
  block.append(make("h3", "Answers"), table(["status", "what", "body"], Object.entries(responses).map(answer)))
  return block
}
const show = async () => {
  const headers = at("bearer").value ? {Authorization: `Bearer ${at("bearer").value}`} : {}
  let document
  try {
    const response = await fetch("openapi.json", {headers})
    at("key").hidden = at("key").hidden && response.status !== 401
    document = await response.json()
  } catch (error) {
    document = {error: {message: "The service does not answer. Is it still running?"}}
  }
  if (document.error) {
    const message = make("p", document.error.message)
    message.setAttribute("role", "alert")
    return at("calls").replaceChildren(message)
  }
  const calls = Object.entries(document.paths).flatMap(([path, {parameters, ...methods}]) =>
    Object.entries(methods).map(([method, operation]) => call(path, method, operation, parameters)))
  const types = Object.entries(document.components.schemas).flatMap(([name, schema]) => {
    const head = make("h3", name)
    head.id = name
    return [head, schema.description ?? "", schema.properties ? fields(schema) : make("p", kind(schema))]
  })
  at("calls").replaceChildren(...calls, make("h2", "Types"), ...types)
}
at("key").onsubmit = event => { event.preventDefault(); show() }
show()
