/* Figures whose layout.meta.linked is the same word: moving the slider of one moves the others to the same label. */
(() => {
  const figures = () => [...document.querySelectorAll(".plotly-graph-div")].filter((gd) => gd._fullLayout?.meta?.linked);
  const steps = (gd) => gd.layout.sliders[0].steps;

  function move(gd, label) {
    const active = steps(gd).findIndex((step) => step.label === label);
    if (active < 0 || active === gd.layout.sliders[0].active) return;
    const [changes, traces] = steps(gd)[active].args;
    Plotly.update(gd, changes, { "sliders[0].active": active }, traces);
  }

  function link(gd) {
    gd.on("plotly_sliderchange", ({ step }) =>
      figures()
        .filter((other) => other !== gd && other.layout.meta.linked === gd.layout.meta.linked)
        .forEach((other) => move(other, step.label))
    );
  }

  figures().forEach(link);
  document.addEventListener("figure-drawn", ({ target }) => target.layout.meta?.linked && link(target));
})();
