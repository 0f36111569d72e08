// The state of the live stream in words. htmx-ext-sse opens the stream, puts
// the values in place and comes back after a break; this part only watches:
// the server beats every 2 s, so 5 s of silence is a broken line that the browser
// has not noticed. 5 s without a stream is told to the reader.
import { lineMark } from "./mark";

const silence = 5_000;
const patience = 5_000;

export function live() {
  const mark = document.querySelector<HTMLElement>("[data-live]");
  if (!mark) return;
  const tell = lineMark(mark, "live");
  let heard = Date.now();
  let lost = 0;
  let note = "[data-live-ended]";
  let source: EventSource | undefined;

  const show = (state: "on" | "lost" | "ended") => {
    if (mark.dataset.live === state) return;
    tell(state, heard);
    document.documentElement.classList.toggle("stale", state !== "on");
    document.querySelector<HTMLElement>(note)?.toggleAttribute("hidden", state !== "ended");
  };
  const alive = () => {
    heard = Date.now();
    lost = 0;
    if (mark.dataset.live !== "ended") show("on");
  };

  document.body.addEventListener("htmx:sseOpen", (event) => {
    source = (event as CustomEvent).detail.source as EventSource;
    source.addEventListener("beat", alive);
    source.addEventListener("over", () => {
      note = "[data-live-over]"; // the look, not the session
    });
    alive();
  });
  document.body.addEventListener("htmx:sseMessage", alive);
  document.body.addEventListener("htmx:sseError", () => {
    lost ||= Date.now();
  });
  document.body.addEventListener("htmx:sseClose", (event) => {
    if ((event as CustomEvent).detail?.type === "message") show("ended");
  });
  setInterval(() => {
    if (mark.dataset.live === "ended") return;
    const now = Date.now();
    if (now - heard > silence && source && source.readyState === EventSource.OPEN) {
      lost ||= now - patience;
      heard = now;
      // The extension comes back after an error on a closed stream; a silent
      // line makes none itself.
      source.close();
      source.dispatchEvent(new Event("error"));
    }
    if (lost && now - lost >= patience) show("lost");
  }, 1000);
}
