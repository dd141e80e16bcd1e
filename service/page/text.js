// Every sentence of the page, in the person's language. `text_en.js` and `text_de.js` hold the same keys.

import {en} from "./text_en.js"
import {de} from "./text_de.js"
import {SENTENCES} from "./served_de.js"

const LANGUAGE = "handful.language"
export const LANGUAGES = {en: "English", de: "Deutsch"}
const TABLES = {en, de}

const chosen = () => {
  const stored = localStorage.getItem(LANGUAGE)
  if (stored in TABLES) return stored
  return (navigator.languages ?? []).map(each => each.slice(0, 2)).find(each => each in TABLES) ?? "en"
}

export let language = chosen()

export const setLanguage = code => {
  language = code
  localStorage.setItem(LANGUAGE, code)
}

export const hasText = name => name in TABLES[language]

/** The sentence of a name; what stands in braces is filled in. Entries that depend on a number are functions. */
export const t = (name, values = {}) => {
  const entry = TABLES[language][name] ?? en[name] ?? name
  if (typeof entry === "function") return entry(values)
  return entry.replace(/\{(\w+)\}/g, (whole, key) => values[key] === undefined ? whole
    : typeof values[key] === "number" ? number(values[key]) : values[key])
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, {maximumFractionDigits: digits}).format(value)

/** A share in whole percent, but never 100 or 0 for what is only nearly so. */
export const percent = share => {
  const rounded = Math.round(100 * share)
  const honest = rounded === 100 && share < 0.9995 ? 99 : rounded === 0 && share > 0.0005 ? 1 : rounded
  return new Intl.NumberFormat(language, {style: "percent"}).format(honest / 100)
}

/** Names in one sentence: "bags, shoes and hats". */
export const list = names => new Intl.ListFormat(language, {type: "conjunction"}).format(names)

const STEPS = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]]
export const ago = iso => {
  const seconds = (Date.now() - new Date(iso)) / 1000
  const [unit, size] = STEPS.find(([, size]) => seconds >= size) ?? ["second", 1]
  if (unit === "second") return t("time.now")
  return new Intl.RelativeTimeFormat(language, {numeric: "auto"}).format(-Math.floor(seconds / size), unit)
}

export const day = iso => new Intl.DateTimeFormat(language, {dateStyle: "medium", timeStyle: "short"}).format(new Date(iso))

/** "about 20 seconds left", in steps that do not flicker. */
export const timeLeft = seconds => {
  if (seconds === null || seconds === undefined) return ""
  if (seconds < 5) return t("time.few")
  if (seconds < 90) return t("time.seconds", {n: 5 * Math.ceil(seconds / 5)})
  return t("time.minutes", {n: Math.ceil(seconds / 60)})
}

/** A label as a person reads it: photos of none of the labels lie under "other". */
export const OTHER = "other"
export const labelText = label => label === OTHER ? t("other") : label

/** The model's labels and those of its library. */
export const allLabels = (model, library) =>
  [...new Set([...model.labels, ...(library?.labels ?? []).map(({label}) => label)])].filter(label => label !== OTHER)

/** What the service says of an accuracy. */
export const accuracyText = ({accuracy, accuracy_ci95: interval}) => {
  if (accuracy === null || accuracy === undefined) return t("accuracy.none")
  const right = Math.round(100 * accuracy)
  if (!interval) return t("accuracy.plain", {right})
  const [low, high] = [Math.floor(100 * interval[0]), Math.ceil(100 * interval[1])]
  return t("accuracy.between", {right, low, high})
}

const PATTERNS = SENTENCES.map(([said, own]) => [new RegExp("^" + said.replace(/[.*+?()|]/g, "\\$&")
  .replace(/\{(\w+)\}/g, (_, name) => `(?<${name}>.*${["rest", "label", "other"].includes(name) ? "" : "?"})`).replaceAll("…", ".*?") + "$"), own])

/** A sentence of the service in the person's language; null where it is none that is known. */
export const inOwnWords = sentence => {
  if (language !== "de") return null
  if (!sentence) return ""
  for (const [pattern, own] of PATTERNS) {
    const found = pattern.exec(sentence)
    const values = {...found?.groups}
    if ("rest" in values) values.rest = inOwnWords(values.rest)
    if (found && values.rest !== null) return own.replace(/\{(\w+)\}/g, (_, name) => values[name].replace(/^(\d+)\.(\d)/, "$1,$2"))
  }
  return null
}
