"use strict";
// What a mark of a figure tells: under the mouse, under a finger, and by the arrow keys where a figure has the focus.
(function () {
  const box = document.createElement("div");
  box.className = "tip";
  box.hidden = true;
  box.setAttribute("aria-live", "polite");
  document.body.append(box);
  let on = null;
  function hide() {
    if (on) on.classList.remove("on");
    on = null;
    box.hidden = true;
  }
  function show(mark) {
    hide();
    on = mark;
    mark.classList.add("on");
    box.textContent = mark.dataset.tip;
    box.hidden = false;
    const at = mark.getBoundingClientRect(), own = box.getBoundingClientRect(), wide = document.documentElement.clientWidth;
    const left = Math.max(4, Math.min(at.left + at.width / 2 - own.width / 2, wide - own.width - 4));
    const above = at.top - own.height - 8;
    box.style.left = left + window.scrollX + "px";
    box.style.top = (above > 0 ? above : at.bottom + 8) + window.scrollY + "px";
  }
  // A finger is wider than a mark: the nearest within its reach.
  function near(figure, x, y, reach) {
    let best = null, least = reach;
    for (const mark of figure.querySelectorAll("[data-tip]")) {
      const r = mark.getBoundingClientRect();
      if (!r.width && !r.height) continue;
      const away = Math.hypot(Math.max(r.left - x, 0, x - r.right), Math.max(r.top - y, 0, y - r.bottom));
      if (away <= least) [best, least] = [mark, away - 1e-6];
    }
    return best;
  }
  for (const figure of document.querySelectorAll(".drawn")) {
    for (const svg of figure.querySelectorAll("svg")) { // the browser would show the figure's title over what a mark tells
      const [title, desc] = svg.querySelectorAll(":scope > title, :scope > desc");
      svg.setAttribute("aria-label", title.textContent + ". " + desc.textContent);
      svg.removeAttribute("aria-labelledby");
      title.remove();
    }
    figure.addEventListener("pointermove", (e) => {
      if (e.pointerType !== "mouse") return;
      const mark = e.target.closest("[data-tip]");
      if (mark && mark !== on) show(mark);
      else if (!mark) hide();
    });
    figure.addEventListener("pointerleave", (e) => { if (e.pointerType === "mouse") hide(); });
    figure.addEventListener("click", (e) => {
      const mark = e.target.closest("[data-tip]") || near(figure, e.clientX, e.clientY, 16);
      if (mark) show(mark);
      else hide();
    });
    figure.addEventListener("keydown", (e) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
      const marks = Array.from(figure.querySelectorAll("[data-tip]")).filter((m) => m.checkVisibility());
      if (e.key === "Escape") return hide();
      if ((!step && e.key !== "Home" && e.key !== "End") || !marks.length) return;
      e.preventDefault();
      const at = marks.indexOf(on);
      const next = e.key === "Home" || (step > 0 && at < 0) ? 0 : e.key === "End" || at < 0 ? marks.length - 1 : at + step;
      const mark = marks[(next + marks.length) % marks.length];
      mark.scrollIntoView({ block: "nearest", inline: "nearest" });
      show(mark);
    });
    figure.addEventListener("blur", hide);
  }
  document.addEventListener("pointerdown", (e) => { if (!e.target.closest(".drawn")) hide(); });
})();
