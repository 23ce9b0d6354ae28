// The key of a figure: a button for each series, which switches it on and off. Classes have theirs at the top.
const GLYPHS = { circle: "●", "circle-open": "○", x: "✖", diamond: "◆", square: "■", "triangle-up": "▲" };
const STROKES = { dash: "7 3", dot: "2 3", dashdot: "7 3 2 3", longdash: "11 4" };

// Return under which name a trace can be switched off, or nothing.
function keyOf(trace) {
  if (trace.meta?.key) return trace.meta.key;
  const plain = trace.meta?.class === undefined && trace.showlegend !== false;
  return plain && /^(scatter|scatter3d|bar)$/.test(trace.type) ? trace.name : undefined;
}

function swatch(trace) {
  const grouped = trace.meta?.class !== undefined;
  const colour = grouped ? "currentColor" : trace.line?.color || trace.marker?.color || "currentColor";
  if (trace.type !== "bar" && /lines/.test(trace.mode || "lines")) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    svg.setAttribute("viewBox", "0 0 26 12");
    svg.setAttribute("aria-hidden", "true");
    const dash = STROKES[trace.line?.dash] || "";
    const ends = { x1: 0, x2: 26, y1: 6, y2: 6, stroke: colour, "stroke-width": 3, "stroke-dasharray": dash };
    for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
    svg.append(line);
    return svg;
  }
  const glyph = document.createElement("span");
  glyph.setAttribute("aria-hidden", "true");
  const symbol = Array.isArray(trace.marker?.symbol) ? "circle" : trace.marker?.symbol;
  glyph.textContent = trace.type === "bar" ? "■" : GLYPHS[symbol] || (symbol === "arrow" ? "▴" : "●");
  glyph.style.color = colour;
  return glyph;
}

// Make the key of a figure anew where a choice has changed what is drawn in it, or how it is called.
function buildKey(element) {
  const figure = drawn.get(element);
  const { off } = figure;
  const traces = new Map();
  for (const trace of framed(figure).data) {
    const name = trace.visible !== false && keyOf(trace);
    if (name && !traces.has(name)) traces.set(name, trace);
  }
  const names = JSON.stringify([theme(), ...traces.keys()]);
  if (figure.key === names) return;
  figure.key = names;
  element.querySelector(".key")?.remove();
  if (traces.size < 2) return;
  const row = document.createElement("div");
  row.className = "key";
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "Series");
  for (const [name, trace] of traces) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.setAttribute("aria-pressed", String(!off.has(name)));
    const words = document.createElement("span");
    // Names were escaped for plotly; here they are text.
    words.textContent = name.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
    button.append(swatch(trace), words);
    button.addEventListener("click", () => {
      if (!off.delete(name)) off.add(name);
      button.setAttribute("aria-pressed", String(!off.has(name)));
      draw(element);
    });
    row.append(button);
  }
  element.querySelector(".plot").before(row);
}
