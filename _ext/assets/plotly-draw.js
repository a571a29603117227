/* Draws the page's figures from top to bottom, and lets the page scroll between two of them. */
(async () => {
  for (const draw of window.undrawnFigures ?? []) {
    await draw();
    await new Promise((resume) => setTimeout(resume));
  }
})();
