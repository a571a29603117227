/* Views of a figure: its buttons choose the results that all figures of the page show, where they have them. */
(() => {
  const viewOf = (group) => group.querySelector("[data-shows][aria-pressed=true]").dataset.shows;

  /* The caption of a part of a group, which stands in an output of its own. */
  const captionOf = (part) => document.getElementById(`${part.querySelector(".book-figure").id}-caption`)?.parentElement;

  function show(group, view) {
    const parts = [...group.querySelectorAll("[data-view]")];
    if (!parts.some((part) => part.dataset.view === view)) return;
    for (const button of group.querySelectorAll("[data-shows]"))
      button.setAttribute("aria-pressed", button.dataset.shows === view);
    for (const part of parts) {
      const [plot, caption] = [part.querySelector(".plotly-graph-div"), captionOf(part)];
      part.hidden = part.dataset.view !== view;
      if (caption) caption.hidden = part.hidden; // where a page runs code, it comes a little later
      if (!part.hidden && plot._fullLayout) Plotly.Plots.resize(plot); // drawn unseen, it has no width of its own
    }
  }

  const groups = () => document.querySelectorAll(".views");
  const showAll = (view) => groups().forEach((group) => show(group, view));

  /* A link to a figure of a view that is not shown. */
  function follow() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const part = target && target.closest("[data-view][hidden]");
    if (!part) return;
    showAll(part.dataset.view);
    target.scrollIntoView();
  }

  groups().forEach((group) => show(group, viewOf(group)));
  follow();
  addEventListener("hashchange", follow);
  document.addEventListener("figure-drawn", ({ target }) => {
    const part = target.closest("[data-view]");
    const caption = part && captionOf(part);
    if (caption) caption.hidden = part.hidden;
  });

  /* What the reader looks at stays where it is, though figures above become higher or lower. */
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-shows]");
    if (!button) return;
    const before = button.getBoundingClientRect().top;
    showAll(button.dataset.shows);
    scrollBy({ top: button.getBoundingClientRect().top - before, behavior: "instant" });
  });
})();
