/* The text of a drawing for those who do not see it: its title, where its controls stand, and the numbers drawn. */
(() => {
  const FEW = 6; // numbers of a trace that are all said; of more, the lowest and the highest
  const TRACES = 12; // more are not listened to
  const MANY = 400; // cells of a heat map that is a picture, not a table
  const REDRAWN = ["plotly_afterplot", "plotly_relayout", "plotly_restyle", "plotly_update"];

  const plain = (text) => String(text ?? "").replace(/<br>(?=\.)/g, "").replace(/<[^>]*>/g, " ").trim();
  const rounded = (value) => (typeof value === "number" ? String(Number(value.toPrecision(3))) : plain(value));
  const axis = (gd, trace, letter) => gd._fullLayout[`${letter}axis${(trace[`${letter}axis`] ?? letter).slice(1)}`];
  const hasNames = (found) => found?.type === "category";

  function cells(trace) {
    if (trace.z.length * (trace.z[0]?.length ?? 0) > MANY) return [];
    const place = (i, j) => `${rounded(trace.y?.[i] ?? i + 1)}, ${rounded(trace.x?.[j] ?? j + 1)}`;
    return Array.from(trace.z).flatMap((row, i) => Array.from(row, (value, j) => [place(i, j), value]));
  }

  /* The points of a trace, each as [place, number]; a bar or mark that lies on its side has its name on the y axis. */
  function points(gd, trace) {
    if (trace.z) return cells(trace);
    const lies = hasNames(axis(gd, trace, "y")) && !hasNames(axis(gd, trace, "x"));
    const [places, values] = lies ? [trace.y, trace.x] : [trace.x, trace.y];
    return Array.from(values ?? [], (value, i) => [rounded(places?.[i]), value]);
  }

  /* What tells a trace from others: its panel, its name, and whose results it has; words that all have in common go. */
  function names(gd, traces) {
    const all = traces.map((trace) => {
      const panel = gd.layout.meta?.panels?.[(trace.xaxis ?? "x") + (trace.yaxis ?? "y")];
      const { customdata, ...known } = trace.meta ?? {};
      const name = /^trace \d+$/.test(trace.name) ? "" : trace.name;
      return [...new Set([panel, name, ...Object.values(known)].filter(Boolean).map(plain))];
    });
    const common = all.length > 1 ? all.reduce((rest, own) => rest.filter((word) => own.includes(word))) : [];
    return all.map((own) => own.filter((word) => !common.includes(word)).join(", "));
  }

  /* E.g. "input 84.8; output 81.4", or the ends of many numbers. */
  function told(numbers) {
    if (numbers.length <= FEW) return numbers.map(([place, value]) => `${place} ${rounded(value)}`.trim()).join("; ");
    const sorted = [...numbers].sort(([, a], [, b]) => a - b);
    const end = ([place, value]) => `${rounded(value)} (${place})`;
    return `lowest ${end(sorted[0])}, highest ${end(sorted.at(-1))}`;
  }

  /* What the figure says now, trace by trace, e.g. "FNN, addition: input 84.8; output 81.4". */
  function said(gd) {
    const isDrawn = ({ visible, opacity = 1, hoverinfo, name }) =>
      visible === true && opacity > 0 && hoverinfo !== "skip" && name !== ""; // outlines repeat another trace
    const found = gd._fullData
      .filter(isDrawn)
      .map((trace) => [trace, points(gd, trace).filter(([, value]) => Number.isFinite(value))])
      .filter(([, numbers]) => numbers.length); // entries of the legend have none
    const who = found.length ? names(gd, found.map(([trace]) => trace)) : [];
    return found.map(([, numbers], i) => (who[i] ? `${who[i]}: ` : "") + told(numbers));
  }

  /* Where the sliders and menus stand. */
  function setting({ layout: { sliders = [], updatemenus = [] } }) {
    const chosen = sliders.map(({ steps, active = 0, currentvalue }) => (currentvalue?.prefix ?? "") + steps[active]?.label);
    return [...chosen, ...updatemenus.map(({ buttons, active = 0 }) => buttons[active]?.label)].filter(Boolean).map(plain);
  }

  function text(gd) {
    const title = gd.closest("[role=figure]")?.getAttribute("aria-label") ?? "Figure";
    const all = said(gd);
    const more = all.length > TRACES ? [`and ${all.length - TRACES} more`] : [];
    return [title, ...setting(gd), ...all.slice(0, TRACES), ...more].map((part) => `${part}.`).join(" ");
  }

  function describe(gd) {
    const drawing = gd.querySelector(".main-svg");
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", text(gd));
  }

  document.addEventListener("figure-drawn", ({ target: gd }) => {
    describe(gd);
    REDRAWN.forEach((event) => gd.on(event, () => describe(gd)));
  });
})();
