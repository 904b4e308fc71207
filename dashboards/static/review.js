// One pair after the other: a accepts, r rejects, s skips, u undoes. A verdict is sent until the server says it has it.
"use strict";

(() => {
  const item = document.getElementById("item"), person = document.getElementById("person");
  const trouble = document.getElementById("trouble"), said = document.getElementById("said");
  const writes = item.dataset.writes === "yes", count = new Intl.NumberFormat("en");
  const set = (id, n) => { document.getElementById(id).textContent = count.format(n); };
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  let busy = false, done = 0, asked = 0;

  person.value = localStorage.getItem("person") || person.value || "reviewer";
  person.addEventListener("change", () => {
    localStorage.setItem("person", person.value.trim());
    item.replaceChildren();  // what is shown is another's
    next();
  });
  const who = () => person.value.trim() || "reviewer";

  function progress(state) {
    set("left", state.left); set("waiting", state.waiting); set("written", state.written); set("done", done);
    const why = state.trouble ? `${state.trouble} Your verdicts are written down and will be stated as soon as that ends.`
      : state.last_refusal ? `A verdict was refused: ${state.last_refusal}` : "";
    trouble.hidden = !why;
    trouble.textContent = why;
  }

  // Send, and again while the server is away or busy: nothing a person said is dropped on the way.
  async function send(path, fields) {
    for (let wait = 500, renewed = false; ; wait = Math.min(wait * 2, 10000)) {
      try {
        const answer = await fetch(path, {
          method: "POST", body: new URLSearchParams({ person: who(), ...fields }), credentials: "same-origin",
          headers: { "X-CSRF-Token": csrf(), Accept: "application/json" },
        });
        if (answer.ok) return await answer.json();
        if (answer.status === 403 && !renewed) {  // the server was started anew meanwhile
          const again = new DOMParser().parseFromString(await (await fetch("/review", { headers: { Accept: "text/html" } })).text(), "text/html");
          document.querySelector("meta[name=csrf]").content = again.querySelector("meta[name=csrf]").content;
          renewed = true;
          continue;
        }
        const why = await answer.json().catch(() => ({ message: `the server said ${answer.status}` }));
        if (answer.status < 500) throw new Error(why.message || "the server refused");
        said.textContent = `${why.message}; trying again`;
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;  // TypeError: the network
        said.textContent = "The server does not answer; trying again. Keep this page open.";
      }
      await pause(wait);
    }
  }

  // What was asked for last counts, whichever answer comes last.
  async function show(path) {
    const number = ++asked, content = await part(path);
    if (number === asked) item.innerHTML = content;
  }
  const next = () => show(`/review/next?${new URLSearchParams({ person: who() })}`);
  const current = () => item.querySelector("[data-pair]")?.dataset.pair;

  async function act(what) {
    if (busy || !writes) return;
    const pair = current();
    if (what !== "undo" && !pair) return;
    busy = true;
    item.classList.add("busy");
    try {
      if (what === "undo") {
        const answer = await send("/review/undo", {});
        if (answer.pair_id) { done = Math.max(done - 1, 0); await show(`/review/pair/${answer.pair_id}`); }
        progress(answer);
        said.textContent = answer.pair_id ? `Undone: this pair is ${answer.message}.` : answer.message;
      } else {
        const answer = what === "skip" ? await send("/review/skip", { pair_id: pair }) : await send("/review/verdict", { pair_id: pair, say: what });
        if (what !== "skip") done += 1;
        progress(answer);
        said.textContent = { accept: "Accepted.", reject: "Rejected.", skip: "Skipped; it comes back at the end." }[what];
        await next();
      }
    } catch (error) {
      said.textContent = `Not done: ${error.message}`;
    }
    item.classList.remove("busy");
    busy = false;
  }

  const KEYS = { a: "accept", r: "reject", s: "skip", u: "undo" };
  for (const what of Object.values(KEYS)) {
    const button = document.getElementById(what);
    button.disabled = !writes;
    button.addEventListener("click", () => act(what));
  }
  addEventListener("keydown", (event) => {
    if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const what = KEYS[event.key.toLowerCase()];
    if (what) { event.preventDefault(); act(what); }
  });

  setInterval(async () => {
    if (busy || document.hidden) return;
    try { progress(await (await fetch("/review/progress", { headers: { Accept: "application/json" } })).json()); } catch { /* said when it matters */ }
  }, 2000);
  next();
})();
