"use strict";
(async function () {
  const at = (id) => document.getElementById(id);
  const section = at("compare");
  if (!section) return;
  const bytes = Uint8Array.from(atob(at("packed").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const campaigns = JSON.parse(await new Response(stream).text());
  const selects = [at("before"), at("now")];
  for (const select of selects) campaigns.forEach((c, i) => {
    const option = document.createElement("option");
    option.value = String(i);
    option.textContent = c.label;
    select.append(option);
  });
  const told = new URLSearchParams(location.hash.slice(1));
  selects.forEach((s, i) => {
    const wanted = Number(told.get(s.id));
    s.value = String(told.has(s.id) && campaigns[wanted] ? wanted : i === 0 ? Math.min(1, campaigns.length - 1) : 0);
  });
  const short = (text) => (text === "" || isNaN(Number(text)) ? "–" : String(Number(Number(text).toPrecision(3))));
  function row(key, before, now) {
    const line = document.createElement("tr");
    const changed = before && now ? (before[3] === now[3] ? "no" : "yes") : before ? "not asked now" : "new";
    const cells = [...key, before ? before[3] : "–", before ? short(before[4]) : "–", now ? now[3] : "–", now ? short(now[4]) : "–", changed];
    cells.forEach((text, i) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      if (i === 4 || i === 6) cell.className = "number";
      if (i === 7 && text !== "no") cell.className = "changed";
      line.append(cell);
    });
    return line;
  }
  function draw() {
    const [a, b] = selects.map((s) => campaigns[Number(s.value)]), rows = new Map();
    const name = (v) => JSON.stringify(v.slice(0, 3));
    for (const v of a.verdicts) rows.set(name(v), [v, null]);
    for (const v of b.verdicts) rows.set(name(v), [(rows.get(name(v)) || [null])[0], v]);
    at("rows").replaceChildren(...[...rows].map(([key, [before, now]]) => row(JSON.parse(key), before, now)));
    at("said").textContent = a.sha256 === b.sha256 ? "Both are of the very same answers." : "The answers of the two differ.";
    history.replaceState(null, "", "#before=" + selects[0].value + "&now=" + selects[1].value);
  }
  for (const select of selects) select.addEventListener("input", draw);
  section.hidden = false;
  draw();
})();
