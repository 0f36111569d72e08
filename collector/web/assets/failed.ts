// What a page fetches by itself can fail: no line, no answer, an answer that is an
// error. Then what stands on the page is older than what was asked for, and the page
// says so, since when, and offers to ask again. It asks by itself once the line is
// back. Whoever is signed out is led to the sign-in page by the answer.
import htmx from "htmx.org";
import { clock } from "./mark";

// parts are what the reader takes for the state of things.
const parts = "#list, #readings, #job, #note";

// Suggestions of a field and counts that come late are extras: without them nothing on
// the page is old. A count says so in its own place; suggestions have none.
const suggestions = "datalist", counts = ".views .n[hx-get]";

type Why = "offline" | "late" | "server" | "refused";

interface Asked {
  elt: HTMLElement;
  target: HTMLElement;
  successful?: boolean;
  xhr: XMLHttpRequest;
}

export function failed() {
  const box = document.getElementById("failed");
  if (!box) return;
  let made = Date.now(); // when what is shown came
  let asker: HTMLElement | undefined;
  let missed: HTMLElement | undefined; // the list of suggestions that the box is about

  const of = (event: Event, which: string) => {
    const asked = (event as CustomEvent).detail as Asked;
    return asked.target?.matches?.(which) ? asked : undefined;
  };
  const part = (event: Event) => of(event, parts);
  const show = (asked: Asked, why: Why) => {
    const id = asked.target.id;
    asker = asked.elt;
    missed = undefined;
    document.getElementById(id)?.classList.add("old");
    box.querySelector("[data-why]")!.textContent = box.getAttribute("data-word-" + why)!;
    box.querySelector("[data-as-of]")!.textContent = box.dataset.wordAsOf!.replace("{time}", clock(made));
    box.hidden = false;
  };
  const without = (event: Event) => {
    const count = of(event, counts);
    if (count) {
      const word = document.createElement("span");
      word.className = "hide";
      word.textContent = box.dataset.wordCount!;
      count.target.replaceChildren("–", word);
      count.target.title = box.dataset.wordCount!;
    }
    const asked = of(event, suggestions);
    if (!asked || (!box.hidden && !missed)) return; // what is old is worse
    asker = asked.elt;
    missed = asked.target;
    box.querySelector("[data-why]")!.textContent = box.dataset.wordSuggestions!;
    box.querySelector("[data-as-of]")!.textContent = box.dataset.wordType!;
    box.hidden = false;
  };
  const hide = () => {
    asker = missed = undefined;
    if (box.contains(document.activeElement)) document.getElementById("main")?.focus({ preventScroll: true });
    box.hidden = true;
    for (const old of document.querySelectorAll(".old")) old.classList.remove("old");
  };
  const ask = (who: HTMLElement) => htmx.ajax("get", who.getAttribute("hx-get")!, { source: who });
  const again = () => {
    if (asker?.isConnected) ask(asker);
  };

  document.body.addEventListener("htmx:beforeRequest", (event) => {
    const asked = part(event);
    // What asks every second would be busy for ever.
    if (asked && !asked.elt.getAttribute("hx-trigger")?.startsWith("every")) asked.target.setAttribute("aria-busy", "true");
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    const count = of(event, counts);
    if (count?.successful) count.target.removeAttribute("title");
    const came = of(event, suggestions);
    if (came?.successful && came.target === missed) hide();
    const asked = part(event);
    if (!asked) return;
    asked.target.removeAttribute("aria-busy");
    if (!asked.successful) return;
    made = Date.now();
    if (!box.hidden) hide();
  });
  document.body.addEventListener("htmx:sendError", (event) => {
    const asked = part(event);
    if (asked) show(asked, "offline");
  });
  document.body.addEventListener("htmx:timeout", (event) => {
    const asked = part(event);
    if (asked) show(asked, "late");
  });
  document.body.addEventListener("htmx:responseError", (event) => {
    const asked = part(event);
    if (asked) show(asked, asked.xhr.status >= 500 || asked.xhr.status === 429 ? "server" : "refused");
  });
  for (const name of ["sendError", "timeout", "responseError"]) document.body.addEventListener("htmx:" + name, without);
  box.querySelector("button")!.addEventListener("click", again);
  addEventListener("online", () => {
    again();
    for (const count of document.querySelectorAll<HTMLElement>(counts)) if (count.title) ask(count);
  });
}
