/* "Download data": what a figure draws, as comma-separated values, made here without any request; and links in full. */
(() => {
  const TYPES = { i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array };
  Object.assign(TYPES, { f4: Float32Array, f8: Float64Array });
  const MEASURES = ["x", "y", "z"];

  /* Lists as they are; numbers that plotly.py has written as bytes, as lists again. */
  function list(values) {
    if (!values?.bdata) return values;
    const bytes = Uint8Array.from(atob(values.bdata), (letter) => letter.charCodeAt(0));
    const flat = [...new TYPES[values.dtype](bytes.buffer)];
    const inner = String(values.shape ?? "").split(",").slice(1).map(Number);
    return inner.reduceRight(
      (rest, size) => Array.from({ length: rest.length / size }, (_, i) => rest.slice(i * size, (i + 1) * size)),
      flat
    );
  }

  const panel = (gd, { xaxis = "x", yaxis = "y" }) => gd.layout.meta?.panels?.[xaxis + yaxis];
  const isVisible = ({ visible = true, opacity = 1 }) => visible === true && opacity > 0;

  /* Where the figure's sliders and menus stand. */
  function setting(gd) {
    const sliders = (gd.layout.sliders ?? []).map(
      ({ steps, active = 0, currentvalue }) => (currentvalue?.prefix ?? "") + steps[active].label
    );
    const menus = (gd.layout.updatemenus ?? []).map(({ buttons, active = 0 }) => buttons[active]?.label);
    return [...sliders, ...menus].join("; ");
  }

  /* The points of a trace, each as {column: value}. */
  function points(trace) {
    const [x, y, z, text, custom] = ["x", "y", "z", "text", "customdata"].map((name) => list(trace[name]));
    const deviation = list(trace.error_y?.array);
    const names = trace.meta?.customdata;
    const detail = (value) =>
      Array.isArray(value)
        ? Object.fromEntries(value.map((one, i) => [names?.[i] ?? `detail ${i + 1}`, one]))
        : { detail: value };
    if (!z)
      return Array.from({ length: Math.max(x?.length ?? 0, y?.length ?? 0) }, (_, i) => ({
        x: x?.[i],
        y: y?.[i],
        deviation: deviation?.[i],
        text: Array.isArray(text) ? text[i] : text,
        ...detail(custom?.[i]),
      }));
    return z.flatMap((row, i) =>
      row.map((value, j) => ({
        x: x?.[j] ?? j,
        y: y?.[i] ?? i,
        z: value,
        text: text?.[i]?.[j],
        ...detail(custom?.[i]?.[j]),
      }))
    );
  }

  function rows(gd) {
    const controls = setting(gd);
    return gd.data
      .filter((trace) => trace.name !== "") // outlines, which repeat another trace
      .flatMap((trace) => {
        const { customdata, ...known } = trace.meta ?? {};
        const common = { panel: panel(gd, trace), trace: trace.name, ...known, setting: controls };
        return points(trace)
          .filter((point) => MEASURES.some((name) => point[name] != null)) // entries of the legend have no point
          .map((point) => ({ ...common, visible: isVisible(trace) ? "yes" : "no", ...point }));
      });
  }

  function cell(value) {
    const missing = value == null || Number.isNaN(value);
    const whole = (text) => text.replace(/<br>(?=\.)/g, "").replace(/<br>/g, " "); // long names are broken at dots
    const text = missing ? "" : whole(String(value));
    return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  }

  /* Columns that are empty everywhere are left out. */
  function csv(gd) {
    const all = rows(gd);
    const names = [...new Set(all.flatMap(Object.keys))];
    const columns = names.filter((name) => all.some((row) => cell(row[name]) !== ""));
    return [columns, ...all.map((row) => columns.map((name) => row[name]))].map((row) => row.map(cell).join(",")).join("\n");
  }

  function save(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /* Where this copy of the book is; without scripts, a link names the page alone. */
  for (const link of document.querySelectorAll(".figure-address")) link.textContent = link.href;

  document.addEventListener("click", ({ target }) => {
    const id = target.closest(".figure-data")?.dataset.figure;
    const gd = id && document.getElementById(id).querySelector(".plotly-graph-div");
    const page = location.pathname.split("/").pop().replace(/\.html$/, "");
    if (gd) save(`${page}-${id.replace(/^fig-/, "")}.csv`, csv(gd));
  });
})();
