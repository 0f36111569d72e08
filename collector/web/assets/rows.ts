// A row opens by a click anywhere on it, and the way back leads to the row.
export function rows() {
  const place = () => "row:" + location.pathname + location.search;

  document.addEventListener("click", (event) => {
    const target = event.target as Element;
    const link = target.closest<HTMLAnchorElement>("[data-row] a[data-open]")
      ?? (target.closest("a, button, input, select, label") ? null
        : target.closest("[data-row]")?.querySelector<HTMLAnchorElement>("a[data-open]"));
    if (!link || String(getSelection()) !== "") return;
    sessionStorage.setItem(place(), link.getAttribute("href")!);
    if (!link.contains(target)) link.click();
  });

  addEventListener("pageshow", () => {
    const href = sessionStorage.getItem(place());
    if (!href) return;
    sessionStorage.removeItem(place());
    document.querySelector<HTMLElement>(`[data-row] a[href="${CSS.escape(href)}"]`)?.focus();
  });
}
