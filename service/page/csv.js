// The answers as a table, with the columns of `handful classify`.

const FORMULA = /^[=+\-@\t\r]/  // a spreadsheet would compute what a stranger named a file

const field = value => {
  const text = String(value ?? "")
  const safe = typeof value === "string" && FORMULA.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

/** Items as in try.js; labels are the model's. */
export const csvOf = (items, labels) => {
  const rows = items.filter(({answer, error}) => answer || error !== undefined).map(({path, answer, error}) => {
    const shares = new Map((answer?.predictions ?? []).map(({label, probability}) => [label, probability]))
    return [path, answer?.label ?? "", answer?.confidence ?? "", answer ? answer.unknown : "", error ?? "", ...labels.map(label => shares.get(label) ?? "")]
  })
  const head = ["path", "label", "confidence", "unknown", "error", ...labels.map(label => `probability_${label}`)]
  return [head, ...rows].map(row => row.map(field).join(",")).join("\r\n") + "\r\n"
}
