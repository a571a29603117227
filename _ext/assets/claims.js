/* The table of claims: sorted by its heads, filtered by verdict and by words; without this script it is a plain table.
   The figure of all claims leads to their chapters. */
(() => {
  const table = document.querySelector("table.claims");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows];

  function element(tag, attributes, ...children) {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  }

  /* Heads: a button each, so that the keyboard reaches it; aria-sort tells readers of the screen. */
  function sortBy(head, column) {
    const down = head.ariaSort === "ascending";
    const numeric = head.dataset.sort === "number";
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => (numeric ? value(a) - value(b) : value(a).localeCompare(value(b)));
    for (const other of table.tHead.rows[0].cells) if (other.dataset.sort) other.ariaSort = "none";
    head.ariaSort = down ? "descending" : "ascending";
    body.append(...[...rows].sort((a, b) => (down ? compare(b, a) : compare(a, b))));
  }
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.dataset.sort) return;
    head.ariaSort = column === 0 ? "ascending" : "none";
    const button = element("button", { type: "button", onclick: () => sortBy(head, column) }, ...head.childNodes);
    head.append(button);
  });

  /* Filters: rows must have the verdict at one of their scales, and all the words. */
  const found = [...new Set(rows.flatMap((row) => row.dataset.verdicts.split("|")))];
  const options = ["all verdicts", ...found].map((name, i) => element("option", { value: i ? name : "" }, name));
  const verdict = element("select", { ariaLabel: "Show claims with this verdict" }, ...options);
  const words = element("input", { type: "search", placeholder: "words, e.g. LSTM", ariaLabel: "Show claims with these words" });
  const shown = element("output", {});
  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const has = !verdict.value || row.dataset.verdicts.split("|").includes(verdict.value);
      row.hidden = !has || !wanted.every((word) => text.includes(word));
    }
    shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
  }
  verdict.oninput = words.oninput = filter;
  table.before(element("div", { className: "claims-filter" }, verdict, words, shown));
  filter();

  /* The figure of all claims: a mark or a label leads to the chapter, by the link in the claim's row. */
  const follow = (id) => table.querySelector(`#${id} a`).click();

  function equip(gd) {
    for (const label of gd.querySelectorAll(".annotation")) {
      const id = gd.layout.annotations[label.dataset.index].y;
      if (!table.querySelector(`[id="${id}"]`)) continue; // a word at the figure's edge
      label.setAttribute("role", "link");
      label.setAttribute("tabindex", 0);
      label.onclick = () => follow(id);
      label.onkeydown = ({ key }) => key === "Enter" && follow(id);
    }
  }

  document.addEventListener("figure-drawn", ({ target: gd }) => {
    if (!gd.closest("[id^=fig-claims]")) return;
    equip(gd);
    for (const event of ["plotly_afterplot", "plotly_relayout"]) gd.on(event, () => equip(gd));
    gd.on("plotly_click", ({ points }) => follow(points[0].y));
  });
})();
