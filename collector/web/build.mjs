// Makes what the pages need from locked npm packages: the script, the icons
// and the font. The style sheet is written by hand and lives in style/, so
// that a program built without npm still shows proper pages.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";

const out = "static";
await mkdir(out, { recursive: true });

await build({
  entryPoints: ["assets/app.ts", "assets/chart.ts"],
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome123", "firefox120", "safari17.5"], // the first with light-dark()
  legalComments: "none",
  logLevel: "warning",
});

// Name on the page -> name at Lucide.
const icons = {
  accessibility: "accessibility",
  activity: "activity",
  api: "braces",
  battery: "battery-medium",
  check: "check",
  claim: "qr-code",
  chevron: "chevron-down",
  clock: "calendar-clock",
  close: "x",
  copy: "copy",
  cpu: "cpu",
  disk: "hard-drive",
  finding: "triangle-alert",
  keyboard: "keyboard",
  laptop: "laptop",
  memory: "memory-stick",
  menu: "menu",
  network: "network",
  next: "chevron-right",
  out: "log-out",
  people: "users",
  person: "circle-user",
  printer: "printer",
  question: "chart-column",
  record: "scroll-text",
  school: "school",
  search: "search",
  settings: "settings",
  shield: "shield-check",
  system: "monitor-cog",
  temperature: "thermometer",
  update: "package-check",
};
const symbols = await Promise.all(
  Object.entries(icons).map(async ([id, name]) => {
    const svg = await readFile(`node_modules/lucide-static/icons/${name}.svg`, "utf8");
    const body = svg.slice(svg.indexOf(">", svg.indexOf("<svg")) + 1, svg.lastIndexOf("</svg>"));
    return `<symbol id="${id}" viewBox="0 0 24 24">${body.replace(/\s+/g, " ").trim()}</symbol>`;
  }),
);
await writeFile(`${out}/icons.svg`, `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join("")}</svg>\n`);

const font = "node_modules/@fontsource-variable/inter/files";
await copyFile(`${font}/inter-latin-wght-normal.woff2`, `${out}/inter.woff2`);
await copyFile(`${font}/inter-latin-ext-wght-normal.woff2`, `${out}/inter-ext.woff2`);
