/* Controls of figures: by keyboard too, named for screen readers, and figures whose sliders move together. */
(() => {
  const figures = () => [...document.querySelectorAll(".plotly-graph-div")].filter((gd) => gd._fullLayout);
  const STEP = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 3, PageDown: -3 };
  const REDRAWN = ["plotly_afterplot", "plotly_relayout", "plotly_restyle", "plotly_update", "plotly_sliderchange"];
  const options = { sliders: "steps", updatemenus: "buttons" };

  /* What plotly does when option `active` of a slider or menu is chosen with the mouse. */
  function choose(gd, kind, number, active) {
    const control = gd.layout[kind][number];
    const option = control[options[kind]][active];
    if (!option || active === (control.active ?? 0)) return;
    const [changes, layout, traces] = option.method === "restyle" ? [option.args[0], {}, option.args[1]] : option.args;
    Plotly.update(gd, changes, { ...layout, [`${kind}[${number}].active`]: active }, traces);
  }

  /* Figures whose layout.meta.linked is the same word: their sliders go to the same label. */
  function follow(gd, label) {
    const linked = gd.layout.meta?.linked;
    if (!linked) return;
    figures()
      .filter((other) => other !== gd && other.layout.meta?.linked === linked)
      .forEach((other) => choose(other, "sliders", 0, other.layout.sliders[0].steps.findIndex((s) => s.label === label)));
  }

  function onKey(gd, kind, number, event) {
    const control = gd.layout[kind][number], last = control[options[kind]].length - 1, now = control.active ?? 0;
    const ends = { Home: 0, End: last };
    // menus read from top to bottom
    const by = kind === "updatemenus" && event.key.match(/Up|Down/) ? -STEP[event.key] : STEP[event.key];
    const to = ends[event.key] ?? Math.min(last, Math.max(0, now + by));
    if (Number.isNaN(to)) return;
    event.preventDefault();
    choose(gd, kind, number, to);
    if (kind === "sliders") follow(gd, control.steps[to].label);
  }

  /* Give an SVG group a role and make it reachable; what its keys do is set once. */
  function equip(element, attributes, onkeydown) {
    if (!element) return;
    for (const [name, value] of Object.entries({ tabindex: 0, ...attributes })) element.setAttribute(name, value);
    element.onkeydown = onkeydown;
  }

  function equipSlider(gd, group, number) {
    const { steps, active = 0, currentvalue } = gd.layout.sliders[number];
    const name = (currentvalue?.prefix ?? "slider").replace(/[\s=:]+$/, "");
    const range = { "aria-valuemin": 0, "aria-valuemax": steps.length - 1, "aria-valuenow": active };
    const attributes = { role: "slider", "aria-label": name, ...range, "aria-valuetext": steps[active].label };
    equip(group, attributes, (event) => onKey(gd, "sliders", number, event));
  }

  function equipMenu(gd, group, number) {
    const { type, buttons, active = 0 } = gd.layout.updatemenus[number];
    if (type === "dropdown") {
      const attributes = { role: "combobox", "aria-expanded": false, "aria-label": `shown: ${buttons[active]?.label}` };
      const header = group.querySelector(".updatemenu-header");
      return equip(header, attributes, (event) => onKey(gd, "updatemenus", number, event));
    }
    group.querySelectorAll(".updatemenu-button").forEach((button, i) =>
      equip(button, { role: "button", "aria-pressed": i === active }, (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        choose(gd, "updatemenus", number, i);
      })
    );
  }

  /* Plotly draws its controls anew now and then; what stands on them is renewed each time. */
  function equipAll(gd) {
    gd.querySelectorAll(".slider-group").forEach((group, i) => equipSlider(gd, group, i));
    gd.querySelectorAll(".updatemenu-header-group").forEach((group, i) => equipMenu(gd, group, i));
  }

  document.addEventListener("figure-drawn", ({ target: gd }) => {
    equipAll(gd);
    REDRAWN.forEach((event) => gd.on(event, () => equipAll(gd)));
    gd.on("plotly_sliderchange", ({ step }) => follow(gd, step.label));
  });
})();
