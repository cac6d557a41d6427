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
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const row of document.querySelectorAll("#members tbody tr"))
    row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
});
drawAll().then(() => { document.body.dataset.drawn = boxes.length; });
