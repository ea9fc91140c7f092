// One figure: a Vega-Lite specification to SVG. Text is measured by a table, alike on every machine, and with room for a
// reader whose font is wide.
const NARROW = " !'(),./:;I[]`fijlrt{|}\u2019\u2026", WIDE = "MW@mw%\u2014";
const em = (c) => (c.codePointAt(0) >= 0x1100 ? 1 : NARROW.includes(c) ? 0.36 : WIDE.includes(c) ? 1 : c >= "A" && c <= "Z" ? 0.73 : 0.63);
vega.textMetrics.width = (item, text) => {
  const shown = text === undefined || text === null ? "" : String(text);
  const wide = Array.from(shown).reduce((sum, c) => sum + em(c), 0) * (item.fontSize || 11) * (item.fontWeight > 400 ? 1.1 : 1);
  return item.limit > 0 ? Math.min(wide, item.limit) : wide;
};
globalThis.drawn = globalThis.failed = null;
globalThis.draw = (spec) => {
  drawn = failed = null;
  const logger = vega.logger(vega.None);
  const compiled = vegaLite.compile(spec, { logger }).spec;
  new vega.View(vega.parse(compiled), { renderer: "none", logger }).toSVG()
    .then((svg) => { drawn = svg; }, (error) => { failed = String(error); });
};
