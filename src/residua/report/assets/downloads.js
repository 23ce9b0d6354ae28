// The data of a figure as CSV and its picture as SVG or PNG, made from what the page holds.
function save(name, content, type) {
  const link = document.createElement("a");
  link.href = typeof content === "string" && content.startsWith("data:")
    ? content
    : URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
}

function cell(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  const text = typeof value === "number" ? String(Number(value.toPrecision(9))) : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const table = (rows) => rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";

// One row a value: the variable, its place in every dimension, the value.
function arraysAsRows(spec) {
  const arrays = spec.variables
    .filter((name) => PAGE.sections[spec.section].arrays[name]) // labels are no values
    .map((name) => [name, arrayOf(spec.section, name)])
    .filter(([name, { dims }]) => dims.join() !== name); // nor is the place along a dimension
  const dims = [...new Set(arrays.flatMap(([, a]) => a.dims))];
  const rows = [["variable", ...dims, "value"]];
  for (const [name, { dims: own, shape, strides, values }] of arrays) {
    values.forEach((value, k) => {
      const place = {};
      own.forEach((dim, d) => {
        const index = Math.floor(k / strides[d]) % shape[d];
        place[dim] = labelsOf(spec.section, dim)?.[index] ?? index;
      });
      rows.push([name, ...dims.map((dim) => place[dim]), value]);
    });
  }
  return rows;
}

// Return what is chosen in a figure, for its picture: a pair of words for each choice.
function choicesOf({ spec, chosen }) {
  return spec.choices.map(({ name, label, options }) => [label, options[chosen[name]]]);
}

function slug(text) {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 40);
}

async function download(element, kind) {
  const { spec } = drawn.get(element);
  if (kind === "csv") {
    save(`${spec.file}.csv`, table(arraysAsRows(spec)), "text/csv");
    return;
  }
  const { data, layout } = build(drawn.get(element), 1000);
  const words = choicesOf(drawn.get(element));
  const below = plotted(words.map(([label, option]) => `${label}: ${option}`).join(", "));
  const text = `${spec.title}<br><span style="font-size:12px">${below}</span>`;
  layout.title = { text, x: 0.01, font: { size: 16 } };
  layout.margin = { ...layout.margin, t: 75 };
  layout.showlegend = true;
  layout.legend = { itemsizing: "constant", ...layout.legend };
  const size = { width: 1000, height: layout.height + 40 };
  const image = await Plotly.toImage({ data, layout }, { format: kind, scale: 2, ...size });
  const name = [spec.file, ...words.map(([label, option]) => slug(`${label} ${option}`))].join("-");
  save(`${name}.${kind}`, image, "");
}
