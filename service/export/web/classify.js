// One photo -> one answer, computed in this browser by the exported model. Nothing is sent anywhere.
import * as ort from "./ort.wasm.min.mjs"

const here = new URL("./", import.meta.url).href
ort.env.wasm.wasmPaths = here
ort.env.wasm.numThreads = 1  // more need headers that a static host rarely sends

export const facts = await (await fetch(`${here}model.json`)).json()
const session = await ort.InferenceSession.create(`${here}model.onnx`, {executionProviders: ["wasm"]})

// {label, unknown, score, probabilities} of a file; label is null where the photo resembles none of the labels
export const classify = async file => {
  const {pixels, width, height} = await decode(file)
  const images = new ort.Tensor("uint8", pixels, [1, height, width, 3])
  const outputs = await session.run({images})
  const probabilities = [...outputs.probabilities.data], unknown = Boolean(outputs.unknown.data[0])
  const best = probabilities.indexOf(Math.max(...probabilities))
  return {label: unknown ? null : facts.labels[best], unknown, score: outputs.unknown_score.data[0], probabilities}
}

// Upright RGB in sRGB; transparent pixels are blended with white
export const decode = async file => {
  const bitmap = await createImageBitmap(file, {imageOrientation: "from-image"})
  const {width, height} = bitmap
  const canvas = new OffscreenCanvas(width, height)
  const context = canvas.getContext("2d", {willReadFrequently: true, colorSpace: "srgb"})
  context.fillStyle = "#fff"
  context.fillRect(0, 0, width, height)
  context.drawImage(bitmap, 0, 0)
  bitmap.close()
  const {data} = context.getImageData(0, 0, width, height)
  const start = new Uint8Array(await file.slice(0, 2).arrayBuffer())
  return reduced(data, width, height, start[0] === 0xff && start[1] === 0xd8 ? factor(width, height) : 1)
}

// handful decodes a large JPEG at a half, a quarter or an eighth; a browser cannot, so its pixels are averaged
const factor = (width, height) => {
  const most = Math.floor(Math.min(width, height) / facts.min_decode_side)
  return [8, 4, 2].find(each => each <= most) ?? 1
}

const reduced = (rgba, width, height, by) => {
  const columns = Math.ceil(width / by), rows = Math.ceil(height / by)
  const pixels = new Uint8Array(rows * columns * 3)
  for (let row = 0, out = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, out += 3) {
      const bottom = Math.min(height, (row + 1) * by), right = Math.min(width, (column + 1) * by)
      let red = 0, green = 0, blue = 0
      for (let y = row * by; y < bottom; y++)
        for (let x = column * by, from = 4 * (y * width + x); x < right; x++, from += 4) {
          red += rgba[from]
          green += rgba[from + 1]
          blue += rgba[from + 2]
        }
      const count = (bottom - row * by) * (right - column * by)
      pixels[out] = red / count + 0.5
      pixels[out + 1] = green / count + 0.5
      pixels[out + 2] = blue / count + 0.5
    }
  return {pixels, width: columns, height: rows}
}
