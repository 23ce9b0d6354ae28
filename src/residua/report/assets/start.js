// Figures are drawn when they come near the window, so that a long page opens at once.
const nearby = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      nearby.unobserve(target);
      draw(target);
    }
  },
  { rootMargin: "300px" },
);

try {
  const kept = localStorage.getItem("residua-theme");
  if (kept) document.documentElement.dataset.theme = kept;
} catch {
  // No storage: the system's colours.
}
document.getElementById("theme").addEventListener("click", () => {
  setTheme(theme() === "dark" ? "light" : "dark");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  nameToggle();
  redrawAll();
});
nameToggle();
listenToClasses();
listenToRuns();
for (const element of document.querySelectorAll("figure[id]")) {
  const spec = PAGE.figures[element.id];
  const chosen = Object.fromEntries(spec.choices.map((c) => [c.name, c.start]));
  drawn.set(element, { spec, chosen, off: new Set() });
  listen(element);
  buildKey(element);
  for (const button of element.querySelectorAll("[data-download]")) {
    button.addEventListener("click", () => download(element, button.dataset.download));
  }
  nearby.observe(element);
}
addEventListener("beforeprint", () => {
  for (const element of drawn.keys()) draw(element);
});
addEventListener("resize", () => {
  redrawCrossed();
  markEdges();
});
listenToEdges();
document.documentElement.dataset.ready = "yes";
