// Puts the figures that are in the page into their places, in the colours of its theme.
"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

function themed(layout) {
  const css = getComputedStyle(document.documentElement), of = name => css.getPropertyValue(name).trim();
  const own = {...layout, font: {color: of("--ink"), size: innerWidth < 480 ? 11 : 12}, autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: {bgcolor: of("--card"), bordercolor: of("--line"), font: {color: of("--ink")}, align: "left"}};
  for (const axis of ["xaxis", "yaxis"])
    own[axis] = {gridcolor: of("--line"), linecolor: of("--line"), tickcolor: of("--line"), ...layout[axis]};
  return own;
}

function draw(box) {
  const panel = box.dataset.panel;
  const key = [...document.querySelectorAll(`select[data-panel="${panel}"]`)].map(one => one.value).join("|");
  const figure = figures[panel][key];
  box.classList.toggle("empty", !figure);
  if (!figure) { if (box.data) Plotly.purge(box); box.textContent = "not known for this choice"; return; }
  if (!box.data) box.textContent = "";
  box.style.height = `${figure.layout.height}px`; // a resize takes it from the box
  box.style.minWidth = `${figure.layout.meta?.least ?? 0}px`;
  return Plotly.react(box, figure.data, themed(figure.layout), {displayModeBar: false, responsive: true});
}

const boxes = [...document.querySelectorAll(".plot")], drawAll = () => Promise.all(boxes.map(draw));
document.querySelectorAll("select[data-panel]").forEach(one => one.addEventListener("change",
  () => boxes.filter(box => box.dataset.panel === one.dataset.panel).forEach(draw)));
dark.addEventListener("change", drawAll);
addEventListener("beforeprint", () => { document.querySelectorAll("details").forEach(one => { one.open = true; }); document.documentElement.dataset.print = ""; drawAll(); });
addEventListener("afterprint", () => { delete document.documentElement.dataset.print; drawAll(); });
document.getElementById("search").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\s+/), rows = [...document.querySelectorAll("#members tbody tr")];
  for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  const hits = rows.filter(row => !row.hidden).length;
  document.getElementById("hits").textContent = hits === rows.length ? `${hits} members`
    : `${hits || "no"} of ${rows.length} members${hits ? "" : ": each word must stand in a member's row"}`;
});
// A table's rows as they came, to go back to after sorting.
for (const button of document.querySelectorAll("button[data-table]")) {
  const table = document.querySelector(`#${button.dataset.table} table`), rows = [...table.tBodies[0].rows];
  button.addEventListener("click", () => {
    table.querySelectorAll("th[aria-sort]").forEach(one => one.removeAttribute("aria-sort"));
    table.tBodies[0].append(...rows);
  });
}
// Says where a box goes on beyond its right edge.
const scrolls = [...document.querySelectorAll(".scroll")];
function hint(box) {
  const beyond = box.scrollWidth - box.clientWidth;
  box.toggleAttribute("data-wide", beyond > 1);
  box.toggleAttribute("data-more", beyond - box.scrollLeft > 1);
}
const watched = new ResizeObserver(() => requestAnimationFrame(() => scrolls.forEach(hint)));
for (const box of scrolls) {
  box.addEventListener("scroll", () => hint(box));
  for (const one of [box, ...box.children]) watched.observe(one);
}
drawAll().then(() => { document.body.dataset.drawn = boxes.length; });
