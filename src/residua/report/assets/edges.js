// What can be scrolled sideways fades at the side where there is more of it.
const scrolled = () => document.querySelectorAll(".row, .scroll");

function markEdges() {
  for (const part of scrolled()) {
    const rest = part.scrollWidth - part.clientWidth - part.scrollLeft;
    part.toggleAttribute("data-more", rest > 2);
    part.toggleAttribute("data-before", part.scrollLeft > 2);
  }
  const bar = document.querySelector(".bar");
  // A heading that is gone to must not lie under the bar, which may be one row high or four.
  document.documentElement.style.scrollPaddingTop = `${(bar?.offsetHeight ?? 0) + 12}px`;
}

function listenToEdges() {
  for (const part of scrolled()) part.addEventListener("scroll", markEdges, { passive: true });
  markEdges();
}
