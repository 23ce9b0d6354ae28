// From the description of a figure and what is chosen to what plotly draws.
const NARROW = 600; // pixels
const hidden = new Set(); // classes that are switched off, in every figure
const drawn = new Map(); // by element: the figure's description, what is chosen, what is off

function setIn(target, path, value) {
  const steps = path.split(".");
  const last = steps.pop();
  steps.reduce((at, step) => (at[step] ??= {}), target)[last] = value;
}

function merge(into, patch) {
  for (const [key, value] of Object.entries(patch || {})) {
    const plain = value && typeof value === "object" && !Array.isArray(value);
    into[key] = plain ? merge(into[key] ?? {}, value) : value;
  }
  return into;
}

// Plotly reads some HTML and entities in labels, so a text is given to it escaped.
function plotted(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

// Return what a property of a trace holds: a part of an array, or a band around it.
function valuesOf(spec, source, chosen) {
  const name = source.by ? source.names[chosen[source.by]] : source.array;
  const labels = labelsOf(spec.section, name);
  const held = PAGE.sections[spec.section].arrays[name];
  let found = held ? pick(arrayOf(spec.section, name), source.at, chosen) : labels.map(plotted);
  if (source.spread) {
    const around = source.by ? source.spread[chosen[source.by]] : source.spread;
    const width = pick(arrayOf(spec.section, around), source.at, chosen);
    const edge = (sign) => found.map((v, i) => v + sign * width[i]);
    found = [...edge(1), ...edge(-1).reverse()];
  }
  if (source.mirror) found = [...found, ...[...found].reverse()];
  if (source.transpose) found = found[0].map((_, c) => found.map((row) => row[c]));
  if (source.tile) found = tiled(found, source.tile);
  return found;
}

// Return traces and layout with what the choices set in them and in the theme's colours, without data.
function framed({ spec, chosen }) {
  const data = structuredClone(spec.data);
  const layout = structuredClone(spec.layout);
  for (const { path, by, values } of spec.settings) {
    const [where, ...rest] = path.split(".");
    const target = where === "layout" ? layout : data[Number(where)];
    setIn(target, rest.join("."), values[chosen[by]]);
  }
  return { data: shaded(data), layout: shaded(layout) };
}

// Return traces and layout of a figure as they are to be drawn now.
function build({ spec, chosen, off }, width) {
  const { data, layout } = framed({ spec, chosen });
  for (const source of spec.sources) {
    setIn(data[source.trace], source.property, valuesOf(spec, source, chosen));
  }
  if (width < NARROW) {
    merge(layout, spec.narrow);
    const below = { orientation: "h", yref: "container", y: 0, yanchor: "bottom" };
    Object.assign(below, { thickness: 10, ypad: 16, len: 1, title: { side: "top" } });
    for (const trace of data) if (trace.colorbar) merge(trace, { colorbar: below });
  }
  for (const trace of data) {
    if (trace.meta?.scale) trace.colorscale = scaleOf(trace.meta.scale);
    if (trace.meta?.class !== undefined && hidden.has(trace.meta.class)) trace.visible = false;
    if (off.has(keyOf(trace))) trace.visible = false;
    if (trace.meta?.ink) setIn(trace, trace.meta.ink, colourOf("ink"));
  }
  return { data, layout: themed({ ...layout, showlegend: false, uirevision: "kept", autosize: true }) };
}

function draw(element) {
  const figure = drawn.get(element);
  const { spec } = figure;
  const plot = element.querySelector(".plot");
  if (!plot.clientWidth) return redrawWhenSeen(element);
  const narrow = isNarrow(plot);
  // Plotly keeps the room of a colour bar that has gone elsewhere: another layout needs a new plot.
  if (figure.narrow !== undefined && narrow !== figure.narrow) {
    Plotly.purge(plot);
    delete element.dataset.clicks;
  }
  figure.narrow = narrow;
  buildKey(element);
  const { data, layout } = build(figure, plot.clientWidth);
  plot.style.minHeight = `${layout.height}px`;
  const options = { responsive: true, displaylogo: false, displayModeBar: false };
  return Plotly.react(plot, data, layout, options).then(() => {
    element.dataset.drawn = "yes";
    if (spec.click && !element.dataset.clicks) listenToClicks(element, plot, spec);
  });
}

// A click on a picture chooses the nearest of what can be chosen.
function listenToClicks(element, plot, spec) {
  element.dataset.clicks = "yes";
  const across = pick(arrayOf(spec.section, spec.click.x), {}, {});
  const up = pick(arrayOf(spec.section, spec.click.y), {}, {});
  plot.on("plotly_click", ({ points: [point] }) => {
    const far = across.map((x, i) => Math.hypot(x - point.x, up[i] - point.y));
    const control = element.querySelector(`[data-choice="${spec.click.choice}"]`);
    control.value = String(far.indexOf(Math.min(...far)));
    control.dispatchEvent(new Event("input"));
  });
}

const isNarrow = (plot) => plot.clientWidth < NARROW;

function redrawAll() {
  for (const element of drawn.keys()) if (element.dataset.drawn) draw(element);
}

// A figure of a run that is not shown has no width: it is drawn when it comes near the window.
function redrawWhenSeen(element) {
  delete element.dataset.drawn;
  nearby.observe(element);
}

// Draw the figures anew whose width now asks for the other layout; all others plotly fits itself.
function redrawCrossed() {
  for (const [element, { narrow }] of drawn) {
    const plot = element.querySelector(".plot");
    if (element.dataset.drawn && isNarrow(plot) !== narrow) draw(element);
  }
}
