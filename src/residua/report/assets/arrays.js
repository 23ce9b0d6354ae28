// The labelled arrays that the page holds, and parts of them. Nothing is computed from them.
const PAGE = JSON.parse(document.getElementById("residua-data").textContent);
const TYPES = { f4: Float32Array, f8: Float64Array, i4: Int32Array };
const decoded = new Map();

// Return an array of a section: its dimensions, shape, strides and values in C order.
function arrayOf(section, name) {
  const key = `${section} ${name}`;
  if (!decoded.has(key)) {
    const stored = PAGE.sections[section].arrays[name];
    const bytes = Uint8Array.from(atob(stored.data), (c) => c.charCodeAt(0));
    const strides = stored.shape.map((_, d) => stored.shape.slice(d + 1).reduce((a, b) => a * b, 1));
    const values = new TYPES[stored.type](bytes.buffer);
    decoded.set(key, { dims: stored.dims, shape: stored.shape, strides, values });
  }
  return decoded.get(key);
}

function labelsOf(section, dim) {
  return PAGE.sections[section].labels[dim];
}

// Return the part of an array that remains free, nested. An index is a number, "@choice" (the chosen
// one), "<@choice" (all up to the chosen one), or a choice with the number that each option means.
function pick(array, at, chosen) {
  const visit = (d, offset) => {
    if (d === array.dims.length) return array.values[offset];
    const index = at[array.dims[d]];
    const step = array.strides[d];
    if (Array.isArray(index)) return visit(d + 1, offset + index[1][chosen[index[0]]] * step);
    if (typeof index === "number") return visit(d + 1, offset + index * step);
    if (typeof index === "string" && index.startsWith("@")) {
      return visit(d + 1, offset + chosen[index.slice(1)] * step);
    }
    const end = typeof index === "string" ? chosen[index.slice(2)] + 1 : array.shape[d];
    return Array.from({ length: end }, (_, i) => visit(d + 1, offset + i * step));
  };
  return visit(0, 0);
}

// Return pictures (n, row, column) side by side in one, with room between them.
function tiled(pictures, [columns, above]) {
  const [rows, wide] = [pictures[0].length, pictures[0][0].length];
  const lines = Math.ceil(pictures.length / columns);
  const whole = Array.from({ length: lines * (rows + above) }, () =>
    new Array(columns * (wide + 1) - 1).fill(null),
  );
  pictures.forEach((picture, k) => {
    const top = Math.floor(k / columns) * (rows + above) + above;
    const left = (k % columns) * (wide + 1);
    picture.forEach((line, r) => line.forEach((v, c) => (whole[top + r][left + c] = v)));
  });
  return whole;
}
