"use strict";
(async function () {
  const PAGE = 20, RUN = 4, LONGEST = 1500;
  const at = (id) => document.getElementById(id);
  const form = at("controls"), list = at("list"), count = at("count"), more = at("more");
  const made = (tag, text, name) => {
    const e = document.createElement(tag);
    if (text !== undefined) e.textContent = text;
    if (name) e.className = name;
    return e;
  };
  async function unpacked() {
    const bytes = Uint8Array.from(atob(at("packed").textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }
  let data;
  try { data = await unpacked(); } catch (e) {
    count.textContent = "This browser cannot unpack the answers; harness export writes them as a table.";
    return;
  }
  const key = "notes " + data.sha256;
  let notes = {}, found = [], shown = 0;
  try { notes = JSON.parse(localStorage.getItem(key)) || {}; } catch (e) { /* kept in this page alone */ }
  const keep = () => { try { localStorage.setItem(key, JSON.stringify(notes)); } catch (e) { /* as above */ } };

  const option = (select, value, text) => { const o = made("option", text); o.value = value; select.append(o); };
  const field = (name) => form.elements.namedItem(name);
  option(field("family"), "", "all");
  for (const f of [...new Set(data.prompts.map((p) => p[1]))].sort()) option(field("family"), f, f);
  option(field("by"), "", "nothing");
  data.pairs.forEach((pair, i) => {
    const names = data.models[pair.suspect][0] + " and " + data.models[pair.candidate][0];
    for (const channel of Object.keys(pair.channels)) option(field("by"), i + " " + channel, channel + ", " + names);
  });
  for (const name of ["a", "b", "c"]) {
    if (name === "c") option(field(name), "", "none");
    data.models.forEach((m, i) => option(field(name), String(i), m[0] + (m[1] ? " (" + m[1] + ")" : "")));
  }
  const role = (wanted, otherwise) => { const i = data.models.findIndex((m) => m[1] === wanted); return String(i < 0 ? otherwise : i); };
  const first = data.pairs[0];
  const usual = {
    search: "", family: "", by: field("by").options.length > 1 ? field("by").options[1].value : "", order: first ? "for" : "file",
    a: first ? String(first.suspect) : role("suspect", 0), b: first ? String(first.candidate) : role("candidate", Math.min(1, data.models.length - 1)),
    c: role("control", ""), mark: "shared",
  };
  function restore() {
    const told = new URLSearchParams(location.hash.slice(1));
    for (const name of Object.keys(usual)) {
      field(name).value = told.has(name) ? told.get(name) : usual[name];
      if (field(name).selectedIndex === -1) field(name).value = usual[name];
    }
  }
  function remember() {
    const told = new URLSearchParams();
    for (const name of Object.keys(usual)) if (field(name).value !== usual[name]) told.set(name, field(name).value);
    history.replaceState(null, "", "#" + told.toString());
  }

  const words = (text) => text.match(/\S+\s*|^\s+/g) || [];
  const bare = (word) => word.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "");
  function sharedRuns(own, other) {
    const marks = new Array(own.length).fill(false), runs = new Set();
    const a = own.map(bare), b = other.map(bare);
    for (let i = 0; i + RUN <= b.length; i++) runs.add(b.slice(i, i + RUN).join(" "));
    for (let i = 0; i + RUN <= a.length; i++) if (runs.has(a.slice(i, i + RUN).join(" "))) marks.fill(true, i, i + RUN);
    return marks;
  }
  function ownWords(own, other) { // what the longest common subsequence leaves out
    const a = own.map(bare), b = other.map(bare), n = a.length, m = b.length;
    const best = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1));
    for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--) best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    const marks = new Array(n).fill(true);
    for (let i = 0, j = 0; i < n && j < m;) {
      if (a[i] === b[j]) { marks[i] = false; i++; j++; } else if (best[i + 1][j] >= best[i][j + 1]) i++; else j++;
    }
    return marks;
  }
  function marked(text, other) {
    const how = field("mark").value, box = readable("Answer");
    if (!text) { box.textContent = "(no answer)"; return box; }
    const own = words(text).slice(0, LONGEST);
    if (other === undefined || how === "none") { box.textContent = text; return box; }
    const marks = (how === "own" ? ownWords : sharedRuns)(own, words(other).slice(0, LONGEST));
    for (let i = 0; i < own.length;) {
      let j = i;
      while (j < own.length && marks[j] === marks[i]) j++;
      const part = own.slice(i, j).join("");
      box.append(marks[i] ? made(how === "own" ? "span" : "mark", part, how === "own" ? "own" : "") : part);
      i = j;
    }
    if (words(text).length > LONGEST) box.append(words(text).slice(LONGEST).join(""));
    return box;
  }
  function readable(label) { // a box that may scroll is reached by the keyboard
    const box = made("div", undefined, "answer");
    box.dir = "auto"; box.tabIndex = 0; box.setAttribute("role", "group"); box.setAttribute("aria-label", label);
    return box;
  }
  const answerOf = (p, m) => data.answers[p][m] || [];
  const textOf = (p, m) => { const s = answerOf(p, m).find((x) => x[1]); return s ? s[1] : ""; };
  function folded(summary, content) {
    const d = made("details");
    d.append(made("summary", summary), content);
    return d;
  }
  function side(p, m, other) {
    const box = made("div"), samples = answerOf(p, m);
    box.append(made("h4", data.models[m][0]));
    if (samples.length === 0) box.append(made("p", "not asked, or no answer", "small soft"));
    samples.forEach((s, i) => {
      const [outcome, text, thought, tokens] = [s[0] || "", s[1] || "", s[2] || "", s[3] || []];
      const part = made("div");
      if (outcome !== "ok") part.append(made("p", outcome, "small soft"));
      part.append(marked(text, i === 0 ? other : undefined));
      if (thought) {
        const box = readable("Thoughts");
        box.textContent = thought;
        part.append(folded("What it thought first", box));
      }
      if (tokens.length) part.append(folded("First token", made("p", tokens.map((t) => JSON.stringify(t[0]) + " " + t[1] + " %").join(", "), "small")));
      box.append(i === 0 ? part : folded("Sample " + (i + 1), part));
    });
    return box;
  }
  function partsOf(p) {
    const out = [];
    for (const pair of data.pairs) for (const [channel, shares] of Object.entries(pair.channels)) {
      const share = shares.find((s) => s[0] === p);
      if (share) out.push(channel + (data.pairs.length > 1 ? ", " + data.models[pair.suspect][0] : "") + ": " + (share[1] > 0 ? "+" : "") + share[1].toFixed(3));
    }
    return out;
  }
  function article(p) {
    const [id, family, text] = data.prompts[p], box = made("article", undefined, "prompt"), sides = made("div", undefined, "columns");
    box.dataset.prompt = id;
    const head = made("h3", id + " ");
    head.append(made("span", family, "tag"));
    const question = made("div", text, "question");
    question.dir = "auto"; question.tabIndex = 0; question.setAttribute("role", "group"); question.setAttribute("aria-label", "Prompt");
    const parts = made("ul", undefined, "parts");
    for (const line of partsOf(p)) parts.append(made("li", line));
    const a = Number(field("a").value), reference = textOf(p, a);
    sides.append(side(p, a));
    for (const name of ["b", "c"]) if (field(name).value !== "") sides.append(side(p, Number(field(name).value), reference));
    const label = made("label", "My note"), note = made("textarea");
    note.value = notes[id] || "";
    note.addEventListener("input", () => { if (note.value) notes[id] = note.value; else delete notes[id]; keep(); });
    label.append(note);
    box.append(head, question);
    if (parts.childElementCount) box.append(parts);
    box.append(sides, label);
    return box;
  }
  function select() {
    const wanted = field("search").value.trim().toLowerCase(), family = field("family").value;
    found = data.prompts.map((_, i) => i).filter((i) => {
      const [id, own, text] = data.prompts[i];
      if (family && own !== family) return false;
      if (!wanted) return true;
      const said = ["a", "b", "c"].filter((n) => field(n).value !== "").map((n) => textOf(i, Number(field(n).value)));
      return [id, text, notes[id] || "", ...said].some((t) => t.toLowerCase().includes(wanted));
    });
    const by = field("by").value, order = field("order").value;
    if (by && order !== "file") {
      const space = by.indexOf(" "), shares = new Map(data.pairs[Number(by.slice(0, space))].channels[by.slice(space + 1)]);
      const sign = order === "for" ? -1 : 1, last = (i) => !shares.has(i);
      found.sort((i, j) => last(i) - last(j) || sign * ((shares.get(i) || 0) - (shares.get(j) || 0)) || i - j);
    }
  }
  function grow() {
    const next = found.slice(shown, shown + PAGE);
    list.append(...next.map(article));
    shown += next.length;
    more.hidden = shown >= found.length;
    count.textContent = shown + " of " + found.length + " prompts that fit, " + data.prompts.length + " in all";
  }
  function draw() { remember(); select(); list.replaceChildren(); shown = 0; grow(); }
  let soon;
  form.addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(draw, 150); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", grow);
  window.addEventListener("hashchange", () => { restore(); draw(); });
  at("save").addEventListener("click", () => {
    const text = JSON.stringify({ campaign: data.campaign, responses_sha256: data.sha256, notes }, null, 1);
    const link = made("a"), url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.href = url; link.download = "notes.json"; link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  at("load").addEventListener("change", async (event) => {
    try {
      const read = JSON.parse(await event.target.files[0].text());
      if (read.responses_sha256 !== data.sha256) throw new Error("other answers");
      for (const [id, note] of Object.entries(read.notes)) notes[id] = String(note);
      keep(); draw();
    } catch (e) { count.textContent = "These notes are not about these answers, or no notes at all."; }
    event.target.value = ""; // the same file may be read again
  });
  restore(); draw();
})();
