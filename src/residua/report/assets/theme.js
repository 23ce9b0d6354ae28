// Light and dark: the reader's choice, else the system's.
const GREYS = { light: ["#ffffff", "#16191d"], dark: ["#0d1014", "#f2f4f7"] };

function theme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  return document.documentElement.dataset.theme || system;
}

// Colours of series are written as they are on light paper. Return one as the theme has it.
function shade(colour) {
  const lighter = (hex) => PAGE.dark[hex] ?? hex;
  return theme() === "dark" ? colour.replace(/^#[0-9A-F]{6}/, lighter) : colour;
}

// Return a part of a figure with all colours as the theme has them.
function shaded(part) {
  if (typeof part === "string") return shade(part);
  if (!part || typeof part !== "object") return part;
  if (Array.isArray(part)) return part.map(shaded);
  const words = (key) => key === "name" || key === "text";
  const entries = Object.entries(part).map(([key, value]) => [key, words(key) ? value : shaded(value)]);
  return Object.fromEntries(entries);
}

// Return the colours of a picture: "grey", or "diverging" from what hinders to what helps.
function scaleOf(name) {
  const [low, high] = GREYS[theme()];
  if (name === "grey") return [[0, low], [1, high]];
  return [[0, shade(PAGE.signs.hinders)], [0.5, colourOf("card")], [1, shade(PAGE.signs.helps)]];
}

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Give a layout the page's colours and letters; axes keep what they say themselves.
function themed(layout) {
  const [ink, line, paper] = [colourOf("ink"), colourOf("line"), colourOf("card")];
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line };
  const scene = { ...axis, backgroundcolor: paper, showbackground: false };
  const found = structuredClone(layout);
  found.paper_bgcolor = found.plot_bgcolor = paper;
  found.font = { family: "system-ui, sans-serif", size: 13, color: ink, ...found.font };
  found.hoverlabel = { bgcolor: paper, bordercolor: line, font: { color: ink } };
  for (const name of Object.keys(found)) {
    if (/^[xy]axis\d*$/.test(name)) found[name] = { ...axis, automargin: true, ...found[name] };
    if (/^scene\d*$/.test(name)) {
      for (const side of ["xaxis", "yaxis", "zaxis"]) {
        found[name][side] = { ...scene, ...found[name][side] };
      }
    }
  }
  for (const mark of [...(found.shapes || []), ...(found.annotations || [])]) {
    if (mark.line && !mark.line.color) mark.line.color = ink;
  }
  return found;
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("residua-theme", name);
  } catch {
    // A page from disk may have no storage; the choice then lasts as long as the page.
  }
  nameToggle();
  redrawAll();
}

function nameToggle() {
  const button = document.getElementById("theme");
  button.textContent = theme() === "dark" ? "Light" : "Dark";
  button.setAttribute("aria-label", `Switch to ${button.textContent.toLowerCase()} colours`);
  for (const line of document.querySelectorAll("[data-class] line")) {
    line.dataset.light ??= line.getAttribute("stroke");
    line.setAttribute("stroke", shade(line.dataset.light));
  }
}
