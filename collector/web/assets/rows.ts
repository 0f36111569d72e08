import { leads } from "./back";

// A row opens by a click anywhere on it, and the way back leads to the row.
export function rows() {
  across();
  const place = () => "row:" + location.pathname + location.search;

  document.addEventListener("click", (event) => {
    const target = event.target as Element;
    const link = target.closest<HTMLAnchorElement>("[data-row] a[data-open]")
      ?? (target.closest("a, button, input, select, label") ? null
        : target.closest("[data-row]")?.querySelector<HTMLAnchorElement>("a[data-open]"));
    if (!link || String(getSelection()) !== "") return;
    sessionStorage.setItem(place(), link.getAttribute("href")!);
    leads(link.href);
    if (!link.contains(target)) link.click();
  });

  addEventListener("pageshow", () => {
    const href = sessionStorage.getItem(place());
    if (!href) return;
    sessionStorage.removeItem(place());
    document.querySelector<HTMLElement>(`[data-row] a[href="${CSS.escape(href)}"]`)?.focus();
  });
}

// across lets a table scroll in its own region where it needs more room than there
// is, and only there: what scrolls keeps the heads to itself, and takes the focus.
function across() {
  const fit = (region: HTMLElement) => {
    const table = region.firstElementChild as HTMLElement;
    const wide = table.offsetWidth > region.clientWidth;
    region.classList.toggle("scrolls", wide);
    region.toggleAttribute("tabindex", wide);
    if (wide) region.tabIndex = 0;
  };
  const sizes = new ResizeObserver((entries) => entries.forEach((e) => fit(e.target as HTMLElement)));
  const all = () => document.querySelectorAll<HTMLElement>("[data-across]").forEach((region) => {
    fit(region);
    sizes.observe(region);
  });
  all();
  document.body.addEventListener("htmx:afterSettle", all);
}
