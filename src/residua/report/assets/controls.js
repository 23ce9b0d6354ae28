// What a reader chooses: per figure a part of it, for all figures the classes and the run.
function listen(element) {
  const { spec, chosen } = drawn.get(element);
  for (const control of element.querySelectorAll("[data-choice]")) {
    control.addEventListener("input", () => {
      chosen[control.dataset.choice] = Number(control.value);
      sayChosen(control, spec);
      draw(element);
    });
    // A browser that comes back to a page keeps what was chosen.
    chosen[control.dataset.choice] = Number(control.value);
    sayChosen(control, spec);
  }
}

function sayChosen(control, spec) {
  const output = control.parentElement.querySelector("output");
  if (!output) return;
  const choice = spec.choices.find((c) => c.name === control.dataset.choice);
  output.textContent = choice.options[Number(control.value)];
  control.setAttribute("aria-valuetext", output.textContent);
}

function toggleClasses(on) {
  for (const button of document.querySelectorAll("[data-class]")) {
    const c = Number(button.dataset.class);
    const shown = on(c);
    button.setAttribute("aria-pressed", String(shown));
    if (shown) hidden.delete(c);
    else hidden.add(c);
  }
  redrawAll();
}

function listenToClasses() {
  for (const button of document.querySelectorAll("[data-class]")) {
    const c = Number(button.dataset.class);
    button.addEventListener("click", () => {
      toggleClasses((other) => (other === c ? hidden.has(c) : !hidden.has(other)));
    });
  }
  document.getElementById("all-classes")?.addEventListener("click", () => toggleClasses(() => true));
  document.getElementById("no-classes")?.addEventListener("click", () => toggleClasses(() => false));
}

function showRun(name) {
  for (const part of document.querySelectorAll("[data-run]")) part.hidden = part.dataset.run !== name;
  for (const button of document.querySelectorAll("[data-shows]")) {
    button.setAttribute("aria-pressed", String(button.dataset.shows === name));
  }
  markEdges();
  redrawCrossed();
}

function listenToRuns() {
  const buttons = [...document.querySelectorAll("[data-shows]")];
  for (const button of buttons) button.addEventListener("click", () => showRun(button.dataset.shows));
  if (buttons.length) showRun(buttons[0].dataset.shows);
}
