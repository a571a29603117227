/* Plotly figures follow the page: its light or dark theme, and its width. */
(() => {
  const CLEAR = "rgba(0,0,0,0)", INK = "#d5dae0", LINE = "#3d4650", RAISED = "#232b33", GRIP = "#5b6875";
  const NARROW = 480; // pixels of a figure below which its own margins would take half of it

  const axes = (gd) => Object.keys(gd._fullLayout).filter((key) => /^[xy]axis\d*$/.test(key));
  const each = (gd, kind) => (gd.layout[kind] || []).map((_, i) => `${kind}[${i}]`);

  /* What dark means for the parts that this figure has, as plotly's own attribute names. */
  function darkLayout(gd) {
    const layout = { paper_bgcolor: CLEAR, plot_bgcolor: CLEAR, "font.color": INK, "legend.bgcolor": CLEAR };
    Object.assign(layout, { "modebar.color": INK, "modebar.bgcolor": CLEAR });
    const set = (part, colours) => {
      for (const [name, colour] of Object.entries(colours)) layout[`${part}.${name}`] = colour;
    };
    axes(gd).forEach((axis) => set(axis, { gridcolor: LINE, zerolinecolor: LINE, linecolor: LINE, tickcolor: LINE }));
    each(gd, "updatemenus").forEach((menu) => set(menu, { bgcolor: RAISED, bordercolor: LINE }));
    each(gd, "sliders").forEach((slider) =>
      set(slider, { bgcolor: GRIP, activebgcolor: INK, bordercolor: INK, tickcolor: GRIP })
    );
    return layout;
  }

  /* On a phone: smaller text, and margins as small as the labels allow. */
  function narrowLayout(gd) {
    const layout = { "margin.l": 8, "margin.r": 8, "font.size": 11 };
    axes(gd).forEach((axis) => (layout[`${axis}.automargin`] = true));
    return layout;
  }

  /* The figure's own value of an attribute; null, which gives it back to plotly, where it sets none. */
  function own(gd, key) {
    return key.split(/[.[\]]+/).filter(Boolean).reduce((part, name) => part?.[name], gd.layout) ?? null;
  }

  /* Lay changes over the figure, and take back those that no longer apply. */
  function follow(gd) {
    const dark = document.documentElement.dataset.theme === "dark";
    const wanted = { ...(dark && darkLayout(gd)), ...(gd.clientWidth < NARROW && narrowLayout(gd)) };
    const saved = (gd.ownLayout ??= {});
    const change = {};
    for (const key of Object.keys(wanted).filter((key) => !(key in saved))) {
      saved[key] = own(gd, key);
      change[key] = wanted[key];
    }
    for (const key of Object.keys(saved).filter((key) => !(key in wanted))) {
      change[key] = saved[key];
      delete saved[key];
    }
    if (Object.keys(change).length) Plotly.relayout(gd, change);
  }

  /* Only the width: a figure's height is its own, and following it too would never come to rest. */
  function watchWidth(gd) {
    let width = gd.clientWidth;
    new ResizeObserver(() => {
      if (gd.clientWidth === width || !gd.clientWidth) return;
      width = gd.clientWidth;
      requestAnimationFrame(() => {
        follow(gd);
        Plotly.Plots.resize(gd);
      });
    }).observe(gd);
  }

  const drawn = () => [...document.querySelectorAll(".plotly-graph-div")].filter((gd) => gd._fullLayout);
  const adopt = (gd) => {
    follow(gd);
    watchWidth(gd);
  };
  drawn().forEach(adopt);
  new MutationObserver(() => drawn().forEach(follow)).observe(document.documentElement, {
    attributeFilter: ["data-theme"],
  });

  /* Figures that a cell of a live page draws later. */
  const { newPlot } = Plotly;
  Plotly.newPlot = async (...figure) => {
    const gd = await newPlot(...figure);
    adopt(gd);
    gd.dispatchEvent(new Event("figure-drawn", { bubbles: true }));
    return gd;
  };
})();
