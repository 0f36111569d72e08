// Where Esc leads: to the list that a page was opened from, as it was left, and not
// merely to what was seen before. That may be the same device with another stretch of
// its charts, the form that changed it, or the page to sign in.

// address is where a page is. What it said once about what was done is no part of that.
function address(href: string): string {
  const url = new URL(href, location.href);
  url.searchParams.delete("done");
  return url.pathname + (url.searchParams.size > 0 ? url.search : "");
}

const path = (href: string) => new URL(href, location.href).pathname;

// remember keeps the filter that each page is left with.
export function remember() {
  const keep = () => {
    // Whoever signs in next has lists of his own.
    if (location.pathname === "/sign-in") return sessionStorage.clear();
    sessionStorage.setItem("at:" + location.pathname, address(location.href));
  };
  keep();
  addEventListener("pageshow", keep);
  for (const name of ["htmx:pushedIntoHistory", "htmx:replacedInHistory"]) document.body.addEventListener(name, keep);
}

// leads is called where this page leads to another one that Esc comes back from.
export function leads(href: string) {
  sessionStorage.setItem("from:" + path(href), address(location.href));
}

// goBack leads to where this page was opened from, or else to the place that it names
// itself; to its entry in the history if there is one, which brings the row and what
// was chosen back as well.
export function goBack(named: string) {
  const to = sessionStorage.getItem("from:" + location.pathname) ?? sessionStorage.getItem("at:" + path(named)) ?? address(named);
  const past = (window as { navigation?: Past }).navigation; // browsers of 2026 on, Chromium before
  if (past) {
    const entry = past.entries().slice(0, past.currentEntry!.index).findLast((entry) => entry.url && address(entry.url) === to);
    if (entry) return void past.traverseTo(entry.key);
  } else if (history.length > 1 && document.referrer.startsWith(location.origin) && address(document.referrer) === to) {
    return history.back();
  }
  location.href = to;
}

interface Past {
  currentEntry: { index: number } | null;
  entries(): { key: string; url: string | null }[];
  traverseTo(key: string): unknown;
}
