"use strict";
(function () {
  window.addEventListener("beforeprint", () => {
    for (const d of document.querySelectorAll("details[data-print]")) d.open = true;
  });
  const form = document.getElementById("filter");
  if (!form) return;
  const items = Array.from(document.querySelectorAll("[data-item]"));
  const texts = new Map();
  const count = document.getElementById("count");
  const fits = (item, name, value) => {
    const held = item.dataset[name];
    return !value || held === undefined || held.split("\n").includes(value);
  };
  const textOf = (item) => {
    if (!texts.has(item)) texts.set(item, item.textContent.toLowerCase());
    return texts.get(item);
  };
  function apply() {
    const data = new FormData(form);
    const wanted = String(data.get("search") || "").trim().toLowerCase();
    let shown = 0;
    for (const item of items) {
      const ok = ["question", "verdict", "models", "family"].every((name) => fits(item, name, data.get(name))) &&
        (!wanted || textOf(item).includes(wanted));
      item.hidden = !ok;
      if (ok) shown += 1;
    }
    for (const group of document.querySelectorAll("[data-group]")) {
      const inside = Array.from(group.querySelectorAll("[data-item]"));
      group.hidden = inside.length > 0 && inside.every((item) => item.hidden);
    }
    count.textContent = shown + " of " + items.length + " verdicts, plots and prompts shown";
  }
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply, 0));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
})();
