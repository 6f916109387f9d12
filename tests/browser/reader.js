// What a reader sees of the notebook on top, asked of the page itself.
(() => {
  const TOP = ".jp-NotebookPanel:not(.lm-mod-hidden)";
  const AREAS = ".jp-OutputArea-output, .jp-MarkdownOutput";
  const NO_CONTROLS = /^(Error displaying widget|\w+\(children=\(|\w+(Slider|Dropdown|Upload)\()/;

  const all = (where, selector) => [...where.querySelectorAll(selector)];
  const top = () => document.querySelector(TOP);
  const words = (node) => JSON.stringify(node.innerText.trim().replace(/\s+/g, " ").slice(0, 60));

  // What is still to come: empty as soon as the whole notebook is on the page.
  function pending() {
    const panel = top();
    if (!panel) return ["no notebook"];
    const model = jupyterapp.shell.currentWidget?.content?.model;
    const cells = all(panel, ".jp-Cell");
    if (!model || cells.length !== model.cells.length) return ["cells that are not on the page"];
    const undone = (cell) => !cell.querySelector(".jp-MarkdownOutput")?.childElementCount;
    return [
      ...all(panel, ".jp-MarkdownCell").filter(undone).map((x) => `unrendered: ${words(x)}`),
      ...all(panel, AREAS).filter(raw).map((x) => `mathematics as text: ${words(x)}`),
      ...all(panel, "img").filter((x) => !x.complete).map((x) => `image not loaded: ${x.alt}`),
      ...all(panel, ".js-plotly-plot").filter((x) => !x.querySelector(".main-svg"))
        .map(() => "figure not drawn"),
      ...all(panel, ".jp-OutputArea-output").filter((x) => x.textContent === "Loading widget...")
        .map(() => "controls not drawn"),
    ];
  }

  // Dollars in text, not in code.
  function raw(area) {
    if (!/Markdown|Latex/.test(area.className)) return false;
    const copy = area.cloneNode(true);
    all(copy, "code, pre, mjx-container").forEach((x) => x.remove());
    return /\$[^$\n]*[\\^_][^$\n]*\$/.test(copy.textContent);
  }

  // What would have to be scrolled sideways, or cannot be seen at all.
  function cutOff(area) {
    const end = area.getBoundingClientRect().right + 1;
    const inside = all(area, "*").filter((x) => !x.closest("svg, mjx-assistive-mml, .cm-editor"));
    const wide = inside.filter((x) => x.getBoundingClientRect().width > 1 && (
      x.matches("img, table, canvas, video, mjx-container, .js-plotly-plot")
        ? x.getBoundingClientRect().right > end
        : scrolls(x)));
    const found = wide[0] ?? area;
    return scrolls(area) || wide.length
      ? [`cut off: ${found.tagName.toLowerCase()} of ${found.scrollWidth} px in `
         + `${scrolls(found) ? found.clientWidth : area.clientWidth}: ${words(found)}`]
      : [];
  }

  const scrolls = (x) =>
    x.scrollWidth > x.clientWidth + 1 && x.clientWidth > 1
    && getComputedStyle(x).overflowX !== "visible";

  function faults() {
    const panel = top();
    const areas = all(panel, AREAS).filter((x) => !x.parentElement.closest(AREAS));
    const broken = all(panel, "img[src]").filter((x) => x.complete && !x.naturalWidth);
    return [
      ...pending(),
      ...areas.flatMap(cutOff),
      ...all(panel, "a[href^='mailto:']").map((x) => `mail: ${words(x)}`),
      ...all(panel, "[data-mime-type='application/vnd.jupyter.stderr']").map((x) =>
        `error or warning: ${x.innerText.trim().split("\n").at(-1)}`),
      ...areas.filter((x) => NO_CONTROLS.test(x.textContent.trim()))
        .map((x) => `controls as text: ${words(x)}`),
      ...broken.map((x) => `image broken: ${x.alt}`),
    ];
  }

  // From top to end, a screen at a time, with everything unfolded.
  async function readThrough() {
    const scroller = top().querySelector(".jp-WindowedPanel-outer");
    all(top(), "details").forEach((x) => { x.open = true; });
    const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    for (let y = 0; y < scroller.scrollHeight; y += scroller.clientHeight) {
      scroller.scrollTop = y;
      await painted();
    }
    scroller.scrollTop = 0;
  }

  // What the controls in an output stand for: all of it but the controls themselves.
  function state(output) {
    const copy = output.cloneNode(true);
    all(copy, ".widget-slider, .widget-dropdown, .widget-text, .widget-upload").forEach((x) => x.remove());
    return copy.innerText + all(copy, "img").map((x) => x.src).join(" ");
  }

  async function open(path, kernel) {
    const kernelPreference = kernel ? {} : { shouldStart: false, canStart: false };
    const widget = await jupyterapp.commands.execute("docmanager:open", { path, kernelPreference });
    await widget.context.ready;
    await widget.revealed;
    if (kernel) await widget.context.sessionContext.ready;
  }

  async function close() {
    const widget = jupyterapp.shell.currentWidget;
    await widget.context.sessionContext.shutdown();
    widget.context.model.dirty = false;  // or a dialogue would ask
    widget.close();
  }

  // All cells, or those down to a number.
  async function run(until) {
    const all = until === null || until === undefined;
    if (!all) jupyterapp.shell.currentWidget.content.activeCellIndex = until;
    for (const command of all ? ["run-all-cells"] : ["run-all-above", "run-cell"])
      await jupyterapp.commands.execute(`notebook:${command}`);
  }

  window.reader = { open, close, run, pending, faults, readThrough, state };
})();
