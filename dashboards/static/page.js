// Forms and links with data-into replace a part of the page instead of loading another; data-ask asks first.
"use strict";

const csrf = () => document.querySelector("meta[name=csrf]").content;

// Fetch a part of a page. Refusals come as parts too: what was wrong is shown where the answer would have been.
async function part(url, options = {}) {
  const headers = { "X-Fragment": "1", "X-CSRF-Token": csrf(), Accept: "text/html", ...options.headers };
  let answer;
  try {
    answer = await fetch(url, { ...options, headers, credentials: "same-origin" });
  } catch {
    return notice("The server does not answer.");
  }
  if (answer.status === 401) { location.href = "/login"; return ""; }
  const text = await answer.text();
  if ((answer.headers.get("content-type") || "").startsWith("text/html")) return text;
  try { return notice(JSON.parse(text).message); } catch { return notice(`The server said ${answer.status}.`); }
}

function notice(text) {
  const box = document.createElement("div");
  box.className = "notice bad";
  box.setAttribute("role", "alert");
  box.textContent = text;
  return box.outerHTML;
}

let latest = 0;

async function put(into, url, options) {
  const target = document.querySelector(into), mine = ++latest;
  target.classList.add("busy");
  const text = await part(url, options);
  if (mine !== latest) return false;  // something newer was asked for meanwhile
  target.innerHTML = text;  // made by our own templates, which escape
  target.classList.remove("busy");
  return true;
}

document.addEventListener("submit", async (event) => {
  const form = event.target, button = event.submitter;
  if (button && button.dataset.ask && !confirm(button.dataset.ask)) { event.preventDefault(); return; }
  if (!form.dataset.into) return;
  event.preventDefault();
  const fields = new FormData(form);
  if (form.method === "post") {
    const body = form.enctype === "multipart/form-data" ? fields : new URLSearchParams(fields);
    await put(form.dataset.into, form.action, { method: "POST", body });
    return;
  }
  const url = new URL(form.action);
  for (const [name, value] of fields) if (value) url.searchParams.append(name, value);
  if (await put(form.dataset.into, url)) history.pushState({ into: form.dataset.into }, "", url);
});

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-into]");
  if (!link || !link.dataset.into || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (await put(link.dataset.into, link.href)) {
    history.pushState({ into: link.dataset.into }, "", link.href);
    document.querySelector(link.dataset.into).scrollIntoView({ block: "nearest" });
  }
});

// Parts that are asked for again and again while somebody looks; data-every is seconds, 0 asks once.
for (const place of document.querySelectorAll("[data-live]")) {
  const every = Number(place.dataset.every) * 1000;
  (async function again() {
    if (!document.hidden) {
      const open = place.querySelector("details")?.open, text = await part(place.dataset.live);
      if (!place.contains(document.activeElement)) place.innerHTML = text;  // made by our own templates, which escape
      if (open) place.querySelector("details")?.setAttribute("open", "");
    }
    if (every) setTimeout(again, every);
  })();
}

document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

addEventListener("popstate", () => location.reload());
