// A threshold to move: what falls is counted from numbers the page already has, which pairs they are is asked for.
"use strict";

(() => {
  const section = document.getElementById("threshold");
  if (!section) return;
  const steps = JSON.parse(section.dataset.steps), slider = document.getElementById("place");
  const bars = section.querySelectorAll(".histogram rect"), perBar = (steps.edges.length - 1) / bars.length;
  const say = (id, text) => { document.getElementById(id).textContent = text; };
  const count = new Intl.NumberFormat("en");
  let waiting;

  function move() {
    const place = Number(slider.value), edge = steps.edges[place];
    say("at", edge.toFixed(3));
    say("falls", count.format(steps.falls[place]));
    say("kept", count.format(steps.kept[place]));
    slider.setAttribute("aria-valuetext", `${edge.toFixed(3)}: ${steps.falls[place]} pairs fall`);
    bars.forEach((bar, n) => bar.classList.toggle("under", (n + 1) * perBar <= place + 0.5));
  }

  function ask() {
    const about = new URLSearchParams({ scorer: section.dataset.scorer, threshold: steps.edges[Number(slider.value)] });
    put("#wall", `/correspondence/wall?${about}`);
    history.replaceState(null, "", `/correspondence?${about}`);
  }

  slider.addEventListener("input", () => { move(); clearTimeout(waiting); waiting = setTimeout(ask, 150); });
  move();
})();
