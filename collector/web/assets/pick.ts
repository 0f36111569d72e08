// Choosing rows of the list: how many are chosen is said beside the acts, which
// are there while there are any.
const boxes = () => [...document.querySelectorAll<HTMLInputElement>("input[data-pick]:not(:disabled)")];

export function pick() {
  document.addEventListener("change", (event) => {
    const target = event.target as HTMLInputElement;
    if (target.matches("input[data-pick-page]")) for (const box of boxes()) box.checked = target.checked;
    if (target.matches("input[data-pick], input[data-pick-page]")) count();
  });
  document.addEventListener("reset", () => setTimeout(count)); // the boxes follow the event
  addEventListener("pageshow", count); // a browser may bring back what was chosen
}

function count() {
  const all = boxes(), chosen = all.filter((box) => box.checked).length;
  const word = document.querySelector<HTMLElement>("[data-picked]");
  if (word) word.textContent = word.dataset.picked!.replace("{n}", String(chosen));
  const page = document.querySelector<HTMLInputElement>("input[data-pick-page]");
  if (page) {
    page.checked = chosen > 0 && chosen === all.length;
    page.indeterminate = chosen > 0 && chosen < all.length;
  }
}

// toggle chooses the row that has the focus, or not any more.
export function toggle(focused: Element | null) {
  focused?.closest("[data-row]")?.querySelector<HTMLInputElement>("input[data-pick]")?.click();
}

// unpick chooses nothing; false when nothing was chosen.
export function unpick(): boolean {
  if (!document.querySelector("input[data-pick]:checked")) return false;
  document.querySelector<HTMLElement>("[data-unpick]")?.click();
  return true;
}
