/* In place of require.js, which thebe asks for before it shows a widget: the chapters' widgets are part of thebe. */
window.define = () => {};
window.require = (names, found, failed) => failed?.(new Error(`the book has no widgets from elsewhere: ${names}`));
window.require.config = () => {};
