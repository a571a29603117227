/* The Live button of a page that `make serve` sends: its code becomes editable and runs in a kernel of its own.

   thebe brings the editors, the connection to the kernel, and what shows outputs. */
(() => {
  const { src, dataset } = document.currentScript;
  const SERVER = new URL("..", src).href;
  const FIGURES = ["plotly.min.js", "plotly-theme.js", "plotly-controls.js", "plotly-alt.js", "plotly-data.js", "plotly-views.js", "plotly-draw.js"];
  const STATES = {
    starting: "Starting a kernel",
    restarting: "Restarting the kernel",
    autorestarting: "Restarting the kernel",
    idle: "Ready",
    busy: "Running",
    unknown: "No answer from the kernel: Restart starts another",
    dead: "The kernel has ended: Restart starts another",
  };
  let thebe, session, bar, state;
  let chain = false; // whether cells run one after another
  let count = 0;

  /* A cell of the page. `ran` is the code that the kernel ran for it last, `order` says when. */
  class Cell {
    constructor(node) {
      this.node = node;
      this.forget();
    }

    forget() {
      this.ran = null;
      this.order = 0;
    }

    /* Lay it out for thebe: where its code is, and a place for outputs, in which the page's own stay until it runs. */
    prepare() {
      const code = this.node.querySelector(".cell_input pre");
      code.dataset.executable = "";
      code.parentElement.querySelectorAll("button.copybtn").forEach((button) => button.remove());
      this.printed = this.node.querySelector(":scope > .cell_output");
      this.output = element("div", { className: "cell_output live-output" });
      this.output.dataset.output = "";
      this.node.append(this.output);
      this.node.classList.add("live-cell");
    }

    edit(code) {
      this.code = code;
      const editor = this.node.querySelector(".CodeMirror").CodeMirror;
      const here = () => run(due(this));
      editor.setOption("extraKeys", { ...editor.getOption("extraKeys"), "Shift-Enter": here, "Ctrl-Enter": here });
      editor.on("change", () => this.node.classList.toggle("live-changed", this.changed));
      const button = element("button", { className: "btn btn-sm live-run", textContent: "Run", onclick: here });
      button.title = "Run this cell, and first those above it that it needs (Shift-Enter)";
      this.output.before(button);
    }

    get changed() {
      return this.ran !== null && this.ran !== this.code.source;
    }

    /* Run it; true if it ended without an error. */
    async run() {
      const code = this.code.source;
      this.output.style.minHeight = `${(this.printed || this.output).offsetHeight}px`; // the page must not jump
      this.printed?.remove();
      this.printed = null;
      this.node.classList.add("live-running");
      const result = await this.code.execute(code);
      this.node.classList.remove("live-running", "live-changed");
      this.output.style.minHeight = "";
      this.ran = code;
      this.order = ++count;
      const ended = result && !result.error;
      if (!ended) this.forget();
      return ended;
    }
  }

  function element(name, properties) {
    return Object.assign(document.createElement(name), properties);
  }

  const cells = [...document.querySelectorAll("div.cell")]
    .filter((node) => node.querySelector(".cell_input pre"))
    .map((node) => new Cell(node));

  /* What must run so that `last` sees what a run from the top would give: from the first cell on that has not run, was
     changed since, or ran before one above it ran again. */
  function due(last) {
    const end = cells.indexOf(last);
    const stale = cells.findIndex((cell, i) => cell.ran !== cell.code.source || (i && cell.order < cells[i - 1].order));
    return cells.slice(stale < 0 ? end : Math.min(stale, end), end + 1);
  }

  async function run(wanted) {
    if (state !== "idle") return;
    chain = true;
    show("busy");
    for (const cell of wanted) if (!(await cell.run())) break;
    chain = false;
    show(session?.kernel?.status ?? "dead");
  }

  function show(now) {
    state = chain && now === "idle" ? "busy" : now;
    bar.dataset.state = state;
    bar.querySelector("[role=status]").textContent = STATES[state];
    document.querySelectorAll(".live-all, .live-run").forEach((button) => (button.disabled = state !== "idle"));
    bar.querySelector(".live-stop").disabled = state !== "busy";
    bar.querySelector(".live-restart").disabled = state === "starting";
  }

  async function connect() {
    show("starting");
    cells.forEach((cell) => cell.forget());
    const page = location.pathname.split("/").pop().replace(/\W/g, "-");
    // A path of its own: the same path again would hand back the kernel of another page, with its state.
    const path = `book/live-${page}-${Date.now()}.ipynb`;
    session = await thebe.server.startNewSession(thebe.notebook.rendermime, { path, kernelName: "python3" });
    thebe.notebook.attachSession(session);
    const { kernel } = session;
    const setup = await (await fetch(`${SERVER}live/kernel.py`)).text();
    await kernel.requestExecute({ code: setup, silent: true }).done;
    const follow = (status) => kernel === session?.kernel && show(status);
    kernel.statusChanged.connect((_, status) => follow(status));
    kernel.disposed.connect(() => follow("dead"));
    show("idle");
  }

  async function restart() {
    const old = session;
    session = null;
    old?.manager.removeWidgetFactories();
    old?.shutdown().catch(() => {}); // it may have ended already
    await connect().catch(report);
  }

  function load(url) {
    return new Promise((loaded, failed) => {
      document.head.append(element("script", { src: url, onload: loaded, onerror: failed }));
    });
  }

  async function start() {
    cells.forEach((cell) => cell.prepare());
    document.head.append(element("link", { rel: "stylesheet", href: `${SERVER}live/thebe/thebe.css` }));
    await load(`${SERVER}live/thebe/index.js`);
    // A page without figures may get some.
    for (const script of window.Plotly ? [] : FIGURES) await load(`${SERVER}read/_static/vendor/${script}`);
    thebe = await window.thebe.bootstrap({
      requestKernel: false,
      useBinder: false,
      mountStatusWidget: false,
      mountActivateWidget: false,
      mountRunButton: false,
      mountRunAllButton: false,
      mountRestartButton: false,
      mountRestartAllButton: false,
      codeMirrorConfig: { lineNumbers: false, viewportMargin: Infinity },
      mathjaxUrl: "",
      mathjaxConfig: "",
      serverSettings: { baseUrl: SERVER, token: dataset.token, appendToken: true },
    });
    // The page's MathJax; without any, thebe's labels stay empty.
    thebe.notebook.rendermime.latexTypesetter = { typeset: (node) => window.MathJax?.typesetPromise?.([node]) };
    cells.forEach((cell, i) => cell.edit(thebe.notebook.cells[i]));
    await connect();
  }

  function mount() {
    history.replaceState(null, "", location.pathname + location.hash); // no token where it could be copied from
    const button = (name, textContent, title, onclick) =>
      element("button", { className: `btn btn-sm live-${name}`, textContent, title, onclick });
    bar = element("div", { className: "live-bar" });
    const live = button("start", "Live", "Edit and run the code of this page", async () => {
      live.replaceWith(
        button("all", "Run all", "Run all cells from the top", () => run(cells)),
        button("stop", "Stop", "Interrupt what is running", () => session.kernel.interrupt()),
        button("restart", "Restart", "Begin anew, with a kernel that has run nothing", restart),
        element("span", { role: "status" })
      );
      await start().catch(report);
    });
    bar.append(live);
    bar.style.top = `${document.querySelector(".bd-header-article")?.offsetHeight ?? 0}px`;
    document.querySelector(".bd-article h1").after(bar);
  }

  function report(error) {
    STATES.failed = `No kernel: ${error.message || error}`;
    show("failed");
  }

  if (!cells.length) return;
  mount();
  // A page that is left needs its kernel no more.
  addEventListener("pagehide", () => {
    if (!session) return;
    const headers = { Authorization: `token ${dataset.token}` };
    fetch(`${SERVER}api/sessions/${session.id}`, { method: "DELETE", keepalive: true, headers });
  });
})();
