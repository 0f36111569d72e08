// The mark that says whether a stream lives, in words that came with the page.
// zone is that of all times on the pages, wherever the browser is.
const zone = "Europe/Berlin";

// clock is a time of day as the page's language writes it.
export function clock(at: number): string {
  const lang = document.documentElement.lang;
  return new Date(at).toLocaleTimeString(lang === "en" ? "en-GB" : lang, { timeZone: zone, hour: "2-digit", minute: "2-digit" });
}

export type Line = "on" | "lost" | "ended";

// lineMark shows the state of a stream; heard is when something came last, for
// "as of 08:14". One change of one polite region each.
export function lineMark(mark: HTMLElement, attribute: "live" | "stream") {
  return (state: Line, heard: number) => {
    if (mark.dataset[attribute] === state) return;
    mark.dataset[attribute] = state;
    mark.querySelector("[data-live-word]")!.textContent = mark.getAttribute("data-word-" + state)!.replace("{time}", clock(heard));
  };
}
