import { goBack, leads } from "./back";
import { toggle, unpick } from "./pick";

// Single keys, as ui.md 6 names them. They rest in fields and while a modifier
// is held, and can be switched off (WCAG 2.1.4): then <html data-keys="off">.
export function keys() {
  // Enter in the search field of the list opens the device that is called so, or the
  // only one that is left, as soon as the list shows it.
  let opening = "";
  const open = () => {
    const search = document.querySelector<HTMLInputElement>("input[data-search]");
    const wanted = opening;
    opening = "";
    if (!wanted || search?.value.trim() !== wanted) return;
    const links = [...document.querySelectorAll<HTMLElement>("[data-row] a[data-open]")];
    const link = links.find((link) => link.textContent!.trim().toLowerCase() === wanted.toLowerCase()) ?? (links.length === 1 ? links[0] : undefined);
    link?.click();
  };
  document.body.addEventListener("htmx:afterSettle", (event) => {
    if ((event.target as Element).closest("#list")) open();
  });
  let armed = 0; // when "g" was pressed; the second key has a second and a half

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target as HTMLElement;
    const search = document.querySelector<HTMLInputElement>("input[data-search]");

    if (event.key === "Enter" && target === search && search.form?.id === "filters") opening = search.value.trim();
    if (event.key === "Escape") {
      if (target.matches("input, select, textarea")) return target.blur();
      if (unpick()) return;
      const back = document.querySelector<HTMLAnchorElement>("a[data-back]");
      if (back) goBack(back.href);
      return;
    }
    if (document.documentElement.dataset.keys === "off") return;
    if (target.matches("input, select, textarea, [contenteditable]")) return;

    const second = Date.now() - armed < 1500;
    armed = 0;
    if (second) {
      const page = document.querySelector<HTMLAnchorElement>(`a[data-go="${CSS.escape(event.key)}"]`);
      if (page) return page.click();
    }
    switch (event.key) {
      case "/":
        if (search) {
          event.preventDefault();
          search.focus();
          search.select();
        }
        break;
      case "?":
        if (location.pathname !== "/keys") leads("/keys");
        location.href = "/keys";
        break;
      case "j":
        move(1);
        break;
      case "k":
        move(-1);
        break;
      case "x":
        toggle(document.activeElement);
        break;
      case "n":
      case ".":
        document.querySelector<HTMLAnchorElement>('a[data-news]:not([data-n="0"])')?.click();
        break;
      case "g":
        if (!second) armed = Date.now();
        break;
    }
  });
}

function move(step: number) {
  const links = [...document.querySelectorAll<HTMLElement>("[data-row] a[data-open]")];
  if (links.length === 0) return;
  const here = links.findIndex((link) => link.closest("[data-row]")!.contains(document.activeElement));
  const next = here < 0 ? 0 : Math.min(Math.max(here + step, 0), links.length - 1);
  links[next].focus();
}
