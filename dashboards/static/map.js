// Points to draw round. They are SVG: Plotly's WebGL compiles code at run time, which the policy of these pages forbids.
"use strict";

(async () => {
  const place = document.getElementById("map");
  const points = await (await fetch("/map/points", { headers: { Accept: "application/json" } })).json();
  const size = points.x.length > 5000 ? 4 : 7;
  const data = points.kinds.map((name, kind) => {
    const mine = points.kind.flatMap((one, n) => (one === kind ? [n] : []));
    return {
      type: "scatter", mode: "markers", name, x: mine.map((n) => points.x[n]), y: mine.map((n) => points.y[n]), customdata: mine,
      marker: { size, opacity: 0.7 }, hoverinfo: "none", unselected: { marker: { opacity: 0.15 } },
    };
  });
  const bare = { showticklabels: false, zeroline: false, showgrid: false, showline: false };
  const layout = dressed({
    dragmode: "lasso", xaxis: bare, yaxis: { ...bare, scaleanchor: "x" }, showlegend: points.kinds.length > 1,
    margin: { t: 8, r: 8, b: 8, l: 8 },
  });
  const config = { ...CONFIG, displayModeBar: true, scrollZoom: true, modeBarButtons: [["lasso2d", "select2d", "pan2d", "resetScale2d"]] };
  await Plotly.newPlot(place, data, layout, config);

  const show = (places) => put("#selected", "/map/selected", {
    method: "POST", body: new URLSearchParams({ of: points.map, places: places.join(" ") }),
  });
  place.on("plotly_selected", (event) => { if (event && event.points.length) show(event.points.map((one) => one.customdata)); });
  place.on("plotly_click", (event) => show([event.points[0].customdata]));
  place.dataset.drawn = "yes";
})();
