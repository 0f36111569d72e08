// What the pages cannot do without script: live values, search as you type,
// keys, copying. Every page can be read and every form be sent without it.
import htmx from "htmx.org";
import "htmx-ext-sse";
import { remember } from "./back";
import { failed } from "./failed";
import { keys } from "./keys";
import { live } from "./live";
import { news } from "./news";
import { pick } from "./pick";
import { rows } from "./rows";

declare global {
  interface Window {
    htmx: typeof htmx;
  }
}
window.htmx = htmx;

remember();
keys();
rows();
pick();
failed();
live();
news(say);

// Copy buttons: the word changes for two seconds, the width does not.
document.addEventListener("click", async (event) => {
  const button = (event.target as Element).closest<HTMLButtonElement>("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy!);
  say(button.dataset.done!);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 2000);
});

// A print button is there only where something can print.
for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

// Menus close on Escape and on a click elsewhere, and give the focus back.
const openMenus = () => document.querySelectorAll<HTMLDetailsElement>("details.menu[open]");
document.addEventListener("click", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target as Node)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of openMenus()) {
    menu.open = false;
    menu.querySelector("summary")?.focus();
    event.stopImmediatePropagation();
  }
}, true);

// A choice that takes effect at once sends its own form.
document.addEventListener("change", (event) => {
  const field = event.target as HTMLElement;
  if (field.matches("[data-send]")) (field.closest("form") as HTMLFormElement).requestSubmit();
});

// After a search as you type, the count is said, not the table.
document.body.addEventListener("htmx:afterSettle", (event) => {
  const list = (event.target as Element).closest<HTMLElement>("#list");
  if (list) say(list.dataset.said!);
});

// The note about a job stays ten seconds after its end, longer while somebody is
// in it; the page of the job keeps what it says.
const stay = 10_000;
function notes(root: ParentNode) {
  const note = root.querySelector<HTMLElement>("[data-stay]");
  if (!note || note.dataset.stay) return;
  note.dataset.stay = "on";
  say(note.dataset.said!);
  const leave = () => {
    if (note.matches(":hover, :focus-within")) setTimeout(leave, stay);
    else note.remove();
  };
  setTimeout(leave, stay);
}
notes(document);
document.body.addEventListener("htmx:afterSettle", () => notes(document));

function say(text: string) {
  const region = document.getElementById("said");
  if (region) region.textContent = text;
}

// On paper nothing can be opened: what is folded is open while it is printed.
const folded: HTMLDetailsElement[] = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll<HTMLDetailsElement>("main details:not([open], .menu)")) {
    details.open = true;
    folded.push(details);
  }
});
addEventListener("afterprint", () => folded.splice(0).forEach((details) => (details.open = false)));
