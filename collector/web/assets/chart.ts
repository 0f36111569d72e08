// The charts of a device page, drawn by uPlot. Everything that they show also
// stands in a table beside each; without script only that is there.
import uPlot from "uplot";

interface Plot {
  t: number[];
  lo: number[];
  mid: number[];
  hi: number[];
  unit: string;
  step: number; // seconds between two points
  from: number;
  to: number;
  level: boolean;
  share: boolean;
  limit?: number;
  limitWord?: string;
  before: [number, number][];
  off: [number, number][];
  none: [number, number][];
  lang: string;
  day: boolean;
}

const zone = "Europe/Berlin";
const height = 116;

// colour gives what a token is now: a probe's computed colour, since a custom
// property comes as it was written, light-dark() and all.
function colour(token: string): string {
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.className = "probe-" + token;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

// whole puts a gap between points that do not follow each other.
function whole(p: Plot): [number[], (number | null)[], (number | null)[], (number | null)[]] {
  const t: number[] = [], lo: (number | null)[] = [], mid: (number | null)[] = [], hi: (number | null)[] = [];
  p.t.forEach((at, i) => {
    if (i > 0 && at - p.t[i - 1] > p.step) {
      t.push(p.t[i - 1] + p.step);
      lo.push(null);
      mid.push(null);
      hi.push(null);
    }
    t.push(at);
    lo.push(p.lo[i]);
    mid.push(p.mid[i]);
    hi.push(p.hi[i]);
  });
  return [t, lo, mid, hi];
}

function draw(box: HTMLElement): uPlot {
  const p = JSON.parse(box.dataset.plot!) as Plot;
  const text = colour("text-2"), line = colour("line"), accent = colour("chart-1"), crit = colour("crit-solid"), dark = colour("surface-2"), control = colour("control");
  const figure = new Intl.NumberFormat(p.lang, { maximumFractionDigits: 1 });
  const write = (n: number) => figure.format(n) + (p.unit === "%" && p.lang === "en" ? "%" : "\u00a0" + p.unit);
  const locale = p.lang === "en" ? "en-GB" : p.lang, month = p.lang === "en" ? "short" : "2-digit";
  const when = new Intl.DateTimeFormat(locale, { timeZone: p.day ? "UTC" : zone, weekday: "short", day: "2-digit", month, ...(p.day ? {} : { hour: "2-digit", minute: "2-digit" }) });
  const axisTime = new Intl.DateTimeFormat(locale, p.to - p.from > 2 * 86400 ? { timeZone: p.day ? "UTC" : zone, day: "2-digit", month } : { timeZone: zone, hour: "2-digit", minute: "2-digit" });
  const data = whole(p);
  const at = box.parentElement!.querySelector<HTMLElement>(".at")!;

  const bands = (u: uPlot) => {
    const { ctx } = u;
    const { left, top, width, height: tall } = u.bbox;
    const span = ([from, to]: [number, number]): [number, number] => {
      const a = Math.max(u.valToPos(from, "x", true), left), b = Math.min(u.valToPos(to, "x", true), left + width);
      return [a, Math.max(b - a, 0)];
    };
    ctx.save();
    ctx.fillStyle = dark;
    for (const off of p.off) {
      const [x, w] = span(off);
      ctx.fillRect(x, top, w, tall);
    }
    ctx.strokeStyle = control;
    ctx.lineWidth = 1;
    // Edges tell a band from the page where its shade does not.
    for (const off of p.off) {
      const [x, w] = span(off);
      if (w > 0) ctx.strokeRect(x + 0.5, top + 0.5, Math.max(w - 1, 0), tall - 1);
    }
    // Before the device was here there is no band, only its dotted outline.
    ctx.save();
    ctx.setLineDash([devicePixelRatio, 3 * devicePixelRatio]);
    for (const before of p.before) {
      const [x, w] = span(before);
      if (w > 0) ctx.strokeRect(x + 0.5, top + 0.5, Math.max(w - 1, 0), tall - 1);
    }
    ctx.restore();
    for (const none of p.none) {
      const [x, w] = span(none);
      ctx.save();
      ctx.beginPath();
      ctx.rect(x, top, w, tall);
      ctx.clip();
      ctx.beginPath();
      for (let d = -tall; d < w; d += 7 * devicePixelRatio) {
        ctx.moveTo(x + d, top + tall);
        ctx.lineTo(x + d + tall, top);
      }
      ctx.stroke();
      ctx.restore();
    }
    ctx.restore();
  };
  // The limit, and for a level a dotted bridge over what is not known.
  const lines = (u: uPlot) => {
    const { ctx } = u;
    const { left, top, width, height: tall } = u.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, tall);
    ctx.clip();
    if (p.limit !== undefined) {
      const y = u.valToPos(p.limit, "y", true);
      ctx.strokeStyle = crit;
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(left, y);
      ctx.lineTo(left + width, y);
      ctx.stroke();
      ctx.fillStyle = crit;
      ctx.font = `${11 * devicePixelRatio}px Inter, sans-serif`;
      ctx.textAlign = "left";
      ctx.textBaseline = y - top > 16 * devicePixelRatio ? "bottom" : "top";
      ctx.fillText(p.limitWord!, left + 4 * devicePixelRatio, y);
    }
    if (p.level) {
      ctx.strokeStyle = accent;
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      for (let i = 1; i < p.t.length; i++) {
        if (p.t[i] - p.t[i - 1] <= p.step) continue;
        ctx.moveTo(u.valToPos(p.t[i - 1], "x", true), u.valToPos(p.mid[i - 1], "y", true));
        ctx.lineTo(u.valToPos(p.t[i], "x", true), u.valToPos(p.mid[i], "y", true));
      }
      ctx.stroke();
    }
    ctx.restore();
  };
  const say = (u: uPlot) => {
    const i = u.cursor.idx;
    const x = u.cursor.left != null && u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : NaN;
    // The nearest value may be far away: a band has its own word.
    const there = i != null && data[2][i] != null && !(Math.abs(x - data[0][i]) > p.step);
    if (!there) {
      const among = (bands: [number, number][]) => bands.some(([a, b]) => x >= a && x < b);
      at.textContent = among(p.before) ? box.dataset.wordBefore! : among(p.off) ? box.dataset.wordOff! : among(p.none) ? box.dataset.wordNone! : "";
      return;
    }
    at.textContent = write(data[2][i]!) + " · " + when.format(new Date(data[0][i] * 1000)) + (p.lang === "de" && !p.day ? " Uhr" : "");
  };
  const axis = { stroke: text, font: "11px Inter, sans-serif", grid: { stroke: line, width: 1 }, ticks: { show: false } };
  const u = new uPlot({
    width: box.clientWidth,
    height,
    legend: { show: false },
    cursor: { sync: { key: "device" }, points: { size: 6 }, drag: { x: false, y: false }, y: false },
    scales: {
      x: { time: false, range: [p.from, p.to] },
      y: { range: (_, low, high) => p.share ? [0, 100] : [0, Math.max(high, p.limit ?? 0, 1) * 1.1] },
    },
    axes: [
      { ...axis, size: 22, space: 70, values: (_, marks) => marks.map((m) => axisTime.format(new Date(m * 1000))), splits: (u, _, low, high) => ticks(low, high, p, u.width - 80) },
      { ...axis, size: 58, space: 34, values: (_, marks) => marks.map((m) => write(m)) },
    ],
    series: [
      {},
      { show: false },
      { stroke: accent, width: 2, spanGaps: false, points: { show: p.day || p.t.length < 3, size: 5, fill: accent } },
      { show: false },
    ],
    hooks: { drawClear: [bands], draw: [lines], setCursor: [say] },
  }, data as uPlot.AlignedData, box);
  box.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    let i = (u.cursor.idx ?? (step > 0 ? -1 : data[0].length)) + step;
    while (i > 0 && i < data[0].length - 1 && data[2][i] == null) i += step;
    i = Math.min(Math.max(i, 0), data[0].length - 1);
    at.setAttribute("aria-live", "polite");
    u.setCursor({ left: u.valToPos(data[0][i], "x"), top: 0 });
  };
  return u;
}

// steps of the time axis, in seconds; a date or time of day needs 52 px.
const steps = [4, 8, 12, 24, 2 * 24, 3 * 24, 7 * 24, 14 * 24].map((hours) => hours * 3600);
const labelRoom = 52;

// ticks are midnights, or whole hours of a day, as many as have room.
function ticks(low: number, high: number, p: Plot, width: number): number[] {
  const days = (high - low) / 86400;
  const least = days > 14 ? 7 * 86400 : days > 2 ? 86400 : 4 * 3600;
  const room = ((high - low) * labelRoom) / Math.max(width, labelRoom);
  const every = steps.find((step) => step >= least && step >= room) ?? steps[steps.length - 1];
  const shift = p.day ? 0 : offset(low); // of the zone, so that a day begins at its midnight
  const out: number[] = [];
  for (let t = Math.ceil((low + shift) / every) * every - shift; t <= high; t += every) out.push(t);
  return out;
}

function offset(at: number): number {
  const there = new Date(at * 1000).toLocaleString("en-US", { timeZone: zone }), utc = new Date(at * 1000).toLocaleString("en-US", { timeZone: "UTC" });
  return (Date.parse(there) - Date.parse(utc)) / 1000;
}

const drawn = new Map<HTMLElement, uPlot>();
const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) drawn.get(target as HTMLElement)?.setSize({ width: contentRect.width, height });
});
function all() {
  for (const [box, u] of drawn) {
    u.destroy();
    sizes.unobserve(box);
    drawn.delete(box);
  }
  for (const box of document.querySelectorAll<HTMLElement>("[data-plot]")) {
    drawn.set(box, draw(box));
    sizes.observe(box);
  }
}
all();
// What is drawn has the colours of the moment: anew with another theme, and for paper.
for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)", "print"]) matchMedia(query).addEventListener("change", all);
new MutationObserver(all).observe(document.documentElement, { attributeFilter: ["data-theme"] });
document.body.addEventListener("htmx:afterSettle", (event) => {
  if ((event.target as Element).querySelector("[data-plot]")) all();
});
