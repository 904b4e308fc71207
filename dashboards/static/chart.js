// Draws what data-chart describes, in the colours of the page.
"use strict";

// Fill in what all charts share, so that they are read in light and dark.
function dressed(layout = {}) {
  const style = getComputedStyle(document.documentElement), probe = document.createElement("span");
  document.body.append(probe);
  const colour = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
  const ink = colour("--ink"), line = colour("--line");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const found = {
    margin: { t: 12, r: 12, b: 40, l: 50 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, family: style.fontFamily, size: 12 }, colorway: ["#3b82c4", "#d97b1f", "#3f9b6c", "#b55ba5", "#8c8c3a", "#c2504d"],
    modebar: { bgcolor: "rgba(0,0,0,0)", color: ink, activecolor: colour("--accent") },
    legend: { orientation: "h", y: 1.12 }, hovermode: "closest", ...layout,
    xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
  };
  probe.remove();
  return found;
}

const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };

function draw() {
  for (const place of document.querySelectorAll("[data-chart]")) {
    const spec = JSON.parse(place.dataset.chart);
    Plotly.react(place, spec.data, dressed(spec.layout), CONFIG);
  }
}

// The library is four megabytes: it comes once the page has been painted, unless the page loaded it itself.
const library = document.currentScript?.dataset.library;
function start() {
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
if (window.Plotly || !library) start();
else addEventListener("load", () => setTimeout(() => {
  const script = document.createElement("script");
  script.src = library;
  script.addEventListener("load", start);
  document.head.append(script);
}));
