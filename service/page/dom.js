// Elements, without a string of HTML anywhere: what comes from outside is always text.

const SVG = "http://www.w3.org/2000/svg"

/** An element: `h("p", {class: "quiet", onclick}, "text", child)`. False, null and undefined children are left out. */
export const h = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) set(element, name, value)
  element.append(...children.flat(9).filter(child => child !== null && child !== undefined && child !== false))
  return element
}

const set = (element, name, value) => {
  if (value === undefined || value === null || value === false) return
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
  else if (name === "value" || name === "srcObject" || name === "checked") element[name] = value
  else element.setAttribute(name === "class" ? "class" : name, value === true ? "" : value)
}

const ICONS = {
  add: "M12 5v14M5 12h14",
  back: "M15 5l-7 7 7 7",
  bag: "M6 8h12l1 12H5L6 8zM9 8V6a3 3 0 0 1 6 0v2",
  camera: "M4 8h3l2-3h6l2 3h3v11H4zM12 10a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z",
  chart: "M5 20V11M12 20V4M19 20v-6",
  check: "M5 12.5l4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6L6 18",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6z",
  folder: "M3 6h6l2 2.5h10V19H3z",
  heat: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  pen: "M5 19l1-4L16.5 4.5l3 3L9 18z",
  photos: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.01",
  spark: "M12 3l2 6.5 6.5 2.5-6.5 2.5L12 21l-2-6.5L3.5 12 10 9.5z",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l1 13h8l1-13",
  undo: "M8 5L4 9l4 4M4 9h10a5.5 5.5 0 0 1 0 11h-3",
  upload: "M12 16V5M7 9.5L12 4.5l5 5M5 20h14",
  warn: "M12 4l9.5 16h-19zM12 10v4.5M12 17.4h.01",
}

/** A drawing that a screen reader passes over. */
export const icon = name => {
  const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path")
  const attributes = {viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true", focusable: "false"}
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value)
  path.setAttribute("d", ICONS[name])
  svg.append(path)
  return svg
}

/** Puts children into a place, in the stead of what was there. */
export const fill = (place, ...children) => {
  place.replaceChildren(...children.flat(9).filter(Boolean))
  return place
}

/** A ring that is filled by a share, as a drawing. */
export const ring = share => {
  const svg = document.createElementNS(SVG, "svg")
  svg.setAttribute("viewBox", "0 0 120 120")
  for (const part of ["", "part"]) {
    const circle = document.createElementNS(SVG, "circle")
    const attributes = {cx: 60, cy: 60, r: 53, pathLength: 100, class: part, ...part ? {"stroke-dasharray": `${100 * share} 100`, transform: "rotate(-90 60 60)"} : {}}
    for (const [key, value] of Object.entries(attributes)) circle.setAttribute(key, value)
    svg.append(circle)
  }
  return svg
}

let count = 0
/** A name that no other element has. */
export const unique = prefix => `${prefix}-${++count}`

/** A Map of a key's value to the things that have it, in order. */
export const grouped = (things, keyOf) => {
  const groups = new Map()
  for (const each of things) groups.set(keyOf(each), [...groups.get(keyOf(each)) ?? [], each])
  return groups
}
