// "3 new": how many devices of this page's question changed since it was made. The
// number waits in a place that is kept for it; nothing else moves, and the page
// shows them when the reader asks for them.
import { lineMark } from "./mark";

const patience = 5_000; // a break that is shorter is not told
const silence = 5_000; // the server beats every 2 s
const again = 30_000; // after an answer that is no stream
const calm = 10_000; // between two messages

// refused says whether the session is over.
async function refused(href: string): Promise<boolean> {
  const stop = new AbortController();
  try {
    const answer = await fetch(href, { signal: stop.signal, headers: { Accept: "text/event-stream" } });
    return answer.status === 401 || answer.status === 403;
  } catch {
    return false;
  } finally {
    stop.abort();
  }
}

export function news(say: (text: string) => void) {
  let source: EventSource | undefined;
  let href = "";
  let heard = 0;
  let lost = 0;
  let saidAt = 0;
  let waiting = "";

  const link = () => document.querySelector<HTMLAnchorElement>("a[data-news]");
  const show = (state: "on" | "lost" | "ended") => {
    const mark = document.querySelector<HTMLElement>("[data-stream]");
    if (mark) lineMark(mark, "stream")(state, heard);
  };
  const alive = () => {
    heard = Date.now();
    lost = 0;
    show("on");
  };
  const close = () => {
    source?.close();
    source = undefined;
  };
  const open = () => {
    close();
    href = link()?.dataset.news ?? "";
    if (!href) return;
    const mine = (source = new EventSource(href));
    mine.onopen = alive;
    mine.addEventListener("beat", alive);
    mine.addEventListener("news", (event) => {
      alive();
      const { n, word } = JSON.parse(event.data) as { n: number; word: string };
      const place = link();
      if (!place || place.dataset.news !== href) return;
      place.dataset.n = String(n);
      place.querySelector("[data-news-word]")!.textContent = word;
      waiting = n > 0 ? word : "";
    });
    mine.addEventListener("end", () => {
      close();
      show("ended");
    });
    mine.onerror = async () => {
      if (mine !== source) return;
      lost ||= Date.now();
      // The browser gives up after an answer that is no stream, and says not why.
      if (mine.readyState === EventSource.CLOSED && (await refused(href)) && mine === source) {
        close();
        show("ended");
      }
    };
  };

  setInterval(() => {
    const now = Date.now();
    if (waiting && now - saidAt >= calm) {
      say(waiting);
      saidAt = now;
      waiting = "";
    }
    if (!source) return;
    if (source.readyState === EventSource.OPEN && now - heard > silence) {
      lost ||= now - patience; // a broken line that the browser has not noticed
      open();
    } else if (source.readyState === EventSource.CLOSED && lost && now - lost > again) {
      lost = now - patience;
      open();
    }
    if (lost && now - lost >= patience) show("lost");
  }, 1000);

  // Another filter brings another question.
  document.body.addEventListener("htmx:afterSettle", () => {
    if ((link()?.dataset.news ?? "") !== href) open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
}
