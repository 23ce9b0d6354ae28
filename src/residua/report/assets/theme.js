// Light and dark: the reader's choice, else the system's.
const SCALES = {
  light: {
    diverging: [[0, "#D55E00"], [0.5, "#ffffff"], [1, "#0072B2"]],
    grey: [[0, "#ffffff"], [1, "#16191d"]],
  },
  dark: {
    diverging: [[0, "#F0883E"], [0.5, "#1b2027"], [1, "#56B4E9"]],
    grey: [[0, "#0d1014"], [1, "#f2f4f7"]],
  },
};

function theme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  return document.documentElement.dataset.theme || system;
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
}
